"""A process that looks like one of Triton's Python backend, for tests of what is found by its command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from trident.supervisor.leftovers import STUB

_CODE = "import sys; print('runs', flush=True); sys.stdin.read()\n"


@contextmanager
def stub_process(version: Path, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run one for a version's folder, and give its process id. Its own folder is the repository's parent.

    Args:
        version: Such as ``models/fusion/1``; its ``model.py`` is overwritten.
        environment: All of its variables, but for those that an interpreter needs.
    """
    home = version.parents[2]
    executable = home / STUB
    if not executable.is_symlink():
        executable.symlink_to(sys.executable)
    (version / "model.py").write_text(_CODE)
    needed = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    with subprocess.Popen(
        [executable, version / "model.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**needed, **(environment or {})},
        cwd=home,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()
