"""What was measured on, with, and by which command: all that one needs to measure the same again."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from trident.access.restrictions import without_key
from trident.errors import SetupError
from trident_client import ClientError, TridentClient

ROOT = Path(__file__).resolve().parents[1]
DIRTY = "-dirty"
"""Stands behind a commit where files differ from it."""

_WRITTEN_BY_RESULTS = "benchmarks/RESULTS.md"
"""The one file that may differ from the commit: it is made of reports."""
_LIBRARIES = (
    *("trident-ensemble", "nvidia-pytriton", "onnxruntime", "numpy", "scipy", "opencv-python-headless", "simplejpeg"),
    *("pillow", "grpcio", "tritonclient", "protobuf", "locust", "gevent", "scikit-learn", "pycocotools"),
)
_INSTRUCTIONS = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimddp", "i8mm", "bf16", "sve"),
)
"""What makes networks fast, in the kernel's words, of x86 and of Arm."""
_VARIABLES = ("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "ORT_", "GRPC_", "MALLOC_", "CUDA_", "LD_PRELOAD")
"""Environment variables that change how fast things are begin so. None of them holds a secret."""
_PROC, _QUOTA = Path("/proc"), Path("/sys/fs/cgroup/cpu.max")


def commit(clone: Path = ROOT) -> str | None:
    """The commit of this clone, marked where files differ from it or are not in it; None outside of a clone."""
    asked = _git(clone, "rev-parse", "--show-toplevel", "HEAD")
    top, _, head = (asked or "").strip().partition("\n")
    if not head or Path(top).resolve() != clone.resolve():  # unpacked inside of somebody else's clone
        return None
    changed = _git(clone, "status", "--porcelain", "--", ".", f":(exclude){_WRITTEN_BY_RESULTS}")
    return None if changed is None else head + (DIRTY if changed else "")


def _git(clone: Path, *arguments: str) -> str | None:
    """What git says; None if it fails, or is not installed. Takes no lock, so that it disturbs no other git."""
    try:
        asked = subprocess.run(
            ["git", "--no-optional-locks", *arguments], cwd=clone, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return asked.stdout if asked.returncode == 0 else None


def _cpuinfo(*names: str) -> str:
    """The first value of any of the names in the kernel's description of the processor; empty if there is none."""
    file = _PROC / "cpuinfo"
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return ""


def processor() -> str:
    """What the processor calls itself."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """The hardware that this process may use, and the system on it.

    ``cpu_limit``, in cores, is there where a container's quota is set.
    """
    flags = set(_cpuinfo("flags", "Features").split())
    found = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
        "accelerators": _accelerators(),
        "platform": platform.platform(),
    }
    with contextlib.suppress(OSError, ValueError):  # no such quota: "max", or no such file
        quota, period = map(float, _QUOTA.read_text(encoding="utf-8").split())
        found["cpu_limit"] = round(quota / period, 2)
    return found


def _accelerators() -> list[str]:
    """The models of NVIDIA's devices, as their driver tells them."""
    found = []
    for file in sorted(_PROC.glob("driver/nvidia/gpus/*/information")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "Model":
                found.append(value.strip())
    return found


def circumstances(command: str) -> dict[str, Any]:
    """Commit, machine, versions, command, date, environment, and how busy the machine was.

    To be taken before anything else is done, so that the load average is the machine's and not the benchmark's. What a
    server was started with is ``served_by``'s to tell.
    """
    versions = {}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "command": command,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "python": platform.python_version(),
        "versions": versions,
        "environment": {name: value for name, value in sorted(_started_with().items()) if name.startswith(_VARIABLES)},
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def _started_with() -> Mapping[str, str]:
    """The environment that this process was started with: libraries set variables when they are imported."""
    try:
        words = (_PROC / "self" / "environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return os.environ
    return dict(word.split("=", 1) for word in words if "=" in word)


def command_line(module: str) -> str:
    """How this process was called, as one would type it."""
    return shlex.join([".venv/bin/python", "-m", module, *sys.argv[1:]])


def served_by(url: str, key_file: Path | None = None) -> dict[str, Any]:
    """What answers at ``url``: the server's flags, its version, and the version and digest of every component.

    It asks the server to analyse a small picture, so that the digests are those of what really answers: call it before
    or after a measurement, not in the middle.

    Args:
        url: ``host:port`` of its gRPC port.
        key_file: With its admin key; None for where the client looks by itself.

    Returns:
        ``flags``: the arguments of its process, None if it is not a process of this machine that can be looked at.
        ``triton``: name and version. ``release``: version and digest by component. ``notes``: what could not be found.

    Raises:
        SetupError: It cannot be reached, or refuses to say.
    """
    try:
        with TridentClient(url, admin_key_file=key_file) as client:
            status = client.status()
            port = client.url.rpartition(":")[2]
    except ClientError as error:
        raise SetupError(f"served by: expected a server at {url}, got: {error}") from error
    release = {
        model.name: {
            "version": model.pinned,
            "digest": next((one.digest for one in model.versions if one.version == model.pinned), None),
        }
        for model in status.models
        if model.pinned is not None
    }
    return {
        "flags": _server_flags(port),
        "triton": f"{status.name} {status.version}",
        "release": release,
        "notes": list(status.notes),
    }


def _server_flags(port: str) -> list[str] | None:
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or ()
        if process.info["name"] == "tritonserver" and f"--grpc-port={port}" in words:
            return without_key(words[1:])
    return None
