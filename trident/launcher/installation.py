"""Which Triton there is to start, and what it needs around it.

NVIDIA's container has a ``tritonserver`` on ``PATH``, with backends of its own. Elsewhere the wheel ``nvidia-pytriton``
carries one whose only backends are Python and ensemble; for that a backend directory is assembled, with the Python
backend, the stub that fits this interpreter, and the stand-in for the onnxruntime backend.
"""

from __future__ import annotations

import compileall
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import trident
from trident.background import SERVER_VARIABLES
from trident.errors import SetupError

PACKAGE_ROOT = Path(trident.__file__).resolve().parent.parent
"""The folder that holds the ``trident`` package: the repository's root, or site-packages."""

_WHEEL = "nvidia-pytriton"


@dataclass(frozen=True, slots=True)
class Installation:
    """A Triton server on this machine."""

    executable: Path
    backends: Path | None
    """Backend directory to hand over; None where the server has its own."""
    library_folders: tuple[Path, ...]
    """What its processes need on ``LD_LIBRARY_PATH``."""

    def environment(self, inherited: dict[str, str]) -> dict[str, str]:
        """The environment variables of the server's processes, on top of the ``inherited`` ones."""
        env = dict(inherited)
        # The stub is an embedded interpreter: it finds its packages through the python that comes first on PATH.
        env["PATH"] = _joined(Path(sys.executable).parent, env.get("PATH"))
        env.pop("PYTHONHOME", None)
        if "site-packages" not in PACKAGE_ROOT.parts:
            env["PYTHONPATH"] = _joined(PACKAGE_ROOT, env.get("PYTHONPATH"))
        env["PYTHONDONTWRITEBYTECODE"] = "1"  # the bundled stub ignores it: see compile_models
        for variable, value in SERVER_VARIABLES.items():
            env.setdefault(variable, value)
        for folder in reversed(self.library_folders):
            env["LD_LIBRARY_PATH"] = _joined(folder, env.get("LD_LIBRARY_PATH"))
        return env


def find_installation(workspace: Path) -> Installation:
    """The ``tritonserver`` on ``PATH``, else the wheel's.

    Args:
        workspace: An existing folder of this server's own, for the backend directory.

    Raises:
        SetupError: There is none, or the machine lacks something that it needs.
    """
    on_path = shutil.which("tritonserver")
    if on_path is not None:
        return Installation(Path(on_path), None, ())
    return _bundled(workspace)


def _bundled(workspace: Path) -> Installation:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise SetupError(f"there is no tritonserver on PATH, nor the wheel that brings one: pip install {_WHEEL}")
    package = Path(spec.submodule_search_locations[0])
    server = package / "tritonserver"
    if not (server / "bin" / "tritonserver").is_file():
        raise SetupError(
            f"the wheel {_WHEEL} holds no tritonserver for {platform.system()} {platform.machine()}: "
            "use Linux on x86-64 or arm64, or NVIDIA's container"
        )
    _check_numpy(importlib.metadata.version("numpy"))
    backends = assemble_backends(workspace / "backends", server, _stand_in())
    libraries = (package.parent / "nvidia_pytriton.libs", *_libpython_folder())
    return Installation(server / "bin" / "tritonserver", backends, libraries)


def _check_numpy(version: str) -> None:
    """Under numpy 2 the bundled stub reads BYTES tensors wrongly and dies."""
    if int(version.partition(".")[0]) >= 2:
        raise SetupError(
            f"numpy {version} does not work with the bundled Triton server, which needs numpy below 2: "
            'pip install "numpy<2"'
        )


def _libpython_folder() -> tuple[Path, ...]:
    """The folder of the shared libpython that the stub links to; none if the loader finds it by itself."""
    return find_libpython({k: str(v) for k, v in sysconfig.get_config_vars().items()}, Path(sys.base_prefix))


def find_libpython(config: dict[str, str], base_prefix: Path) -> tuple[Path, ...]:
    """Look for ``libpython3.x.so.1.0`` where builds of Python put it.

    Args:
        config: ``sysconfig.get_config_vars()``.
        base_prefix: ``sys.base_prefix``.

    Raises:
        SetupError: This Python has no shared library.
    """
    library = f"libpython{config['py_version_short']}.so.1.0"
    places = [Path(config[key]) for key in ("LIBDIR", "LIBPL") if config.get(key)]
    if config.get("LIBDIR") and config.get("MULTIARCH"):
        places.insert(1, Path(config["LIBDIR"]) / config["MULTIARCH"])
    for folder in (*places, base_prefix / "lib"):
        if (folder / library).exists():
            return (folder,)
    raise SetupError(
        f"this Python has no shared library {library}, which Triton's Python backend needs: install the package "
        f"libpython{config['py_version_short']} (Debian, Ubuntu), or build Python with --enable-shared"
    )


def _stand_in() -> Path:
    folder = PACKAGE_ROOT / "backends" / "onnxruntime"
    if not (folder / "model.py").is_file():
        raise SetupError(f"{folder} is missing: start the server from a clone of the repository")
    return folder


def assemble_backends(target: Path, server: Path, stand_in: Path) -> Path:
    """Make a backend directory: ``python/`` with the stub that fits this interpreter, and ``onnxruntime/``.

    Args:
        target: Folder to make.
        server: The wheel's ``tritonserver`` folder.
        stand_in: The folder of the onnxruntime stand-in.

    Raises:
        SetupError: The wheel has no stub for this version of Python.
    """
    stubs = server / "python_backend_stubs"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = stubs / version / "triton_python_backend_stub"
    if not stub.is_file():
        known = sorted((p.name for p in stubs.iterdir()), key=lambda v: [int(n) for n in v.split(".")])
        raise SetupError(
            f"the bundled Triton server has no stub for Python {version}, only for {known[0]} to {known[-1]}"
        )
    # Copies, not links: Triton refuses what leads out of the backend directory.
    python = target / "python"
    python.mkdir(parents=True)
    for file in (*(server / "backends" / "python").iterdir(), stub):
        if file.is_file():
            shutil.copy(file, python)
    (python / stub.name).chmod(0o755)
    shutil.copytree(stand_in, target / "onnxruntime", ignore=shutil.ignore_patterns("__pycache__", "*.md"))
    return target


def compile_models(repository: Path) -> None:
    """Compile the Python models' code before Triton looks at it.

    A ``__pycache__`` that appears in a model's folder counts as a change of the model. The bundled stub runs an
    isolated interpreter, which ignores ``PYTHONDONTWRITEBYTECODE`` and would write it while it loads; what is there and
    up to date it leaves alone. Where the folder cannot be written, the stub cannot either, and a model whose code does
    not compile is named by Triton when it is loaded.
    """
    for code in repository.glob("*/*/model.py"):
        compile_version(code.parent)


def compile_version(folder: Path) -> None:
    """The same for the folder of one version; one of a network has nothing to compile."""
    for code in folder.glob("*.py"):
        compileall.compile_file(code, quiet=2)


def _joined(first: Path, rest: str | None) -> str:
    return f"{first}{os.pathsep}{rest}" if rest else str(first)
