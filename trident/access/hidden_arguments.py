"""Starts a program with an argument that no other user of the machine gets to see.

Every user may read the command line of every process, and Triton takes the value that opens its restricted calls
nowhere else. What others can read is the memory that held the arguments when the program began; the environment beside
it is for the same user alone. So the arguments go out with a mark in the key's place, the true ones go along in the
environment, and before the program's first instruction its pointers to the arguments are turned to them: the program is
started as one that is traced (``PTRACE_TRACEME``), stops when it has been loaded, is changed, and let go.

Where a machine does not allow that, as with tracing forbidden altogether, the program gets the plain arguments, and
``VISIBLE`` is said on standard output, among Triton's own lines.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from trident.access.marks import HIDDEN, PLACEHOLDER, SECRET_VARIABLE, VISIBLE

_TRACEME, _PEEKDATA, _POKEDATA, _DETACH = 0, 2, 5, 17
_WORD = 8
_CARRIER = "TRIDENT_ARGUMENT_"
_START_OF_STACK = 28
"""Field of /proc/PID/stat: where argc lies, and behind it the pointers to the arguments and to the environment."""
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


class _NotPossible(Exception):
    """This machine, or this program, does not let its arguments be hidden."""


def start(command: Sequence[str], prepare: Callable[[], None]) -> subprocess.Popen[bytes]:
    """Start a program, with the secret in the environment variable ``SECRET_VARIABLE`` wherever the mark stands.

    The variable is taken out of this process's environment, and is not handed on.

    Args:
        command: The program and its arguments; ``PLACEHOLDER`` stands for the secret.
        prepare: Called in the new process before it becomes the program. This process must have one thread only.
    """
    secret = os.environ.pop(SECRET_VARIABLE, None)
    if secret is None:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=prepare)  # noqa: PLW1509 - one thread
    try:
        return _hidden(command, secret, prepare)
    except _NotPossible as exc:
        moment = time.strftime("%m%d %H:%M:%S")
        # As Triton writes it, so that it is read as a warning.
        os.write(1, f"W{moment}.000000 {os.getpid()} guard:1] {VISIBLE} ({exc})\n".encode())
        plain = [word.replace(PLACEHOLDER, secret) for word in command]
        return subprocess.Popen(plain, stdin=subprocess.DEVNULL, preexec_fn=prepare)  # noqa: PLW1509


def _hidden(command: Sequence[str], secret: str, prepare: Callable[[], None]) -> subprocess.Popen[bytes]:
    shown = [word.replace(PLACEHOLDER, HIDDEN) for word in command]
    carried = {
        index: (f"{_CARRIER}{index}", word.replace(PLACEHOLDER, secret))
        for index, word in enumerate(command)
        if PLACEHOLDER in word
    }
    answer, asks = os.pipe()

    def in_new_process() -> None:
        prepare()
        traced = _libc.ptrace(_TRACEME, 0, None, None) == 0
        os.write(asks, b"y" if traced else b"n")

    try:
        program = subprocess.Popen(
            shown,
            stdin=subprocess.DEVNULL,
            env={**dict(carried.values()), **os.environ},
            preexec_fn=in_new_process,  # noqa: PLW1509 - one thread
        )
        if os.read(answer, 1) != b"y":
            program.kill()
            program.wait()
            raise _NotPossible("tracing is not allowed here")
    finally:
        os.close(answer)
        os.close(asks)
    try:
        _await_stop(program)
        _turn_pointers(program.pid, len(shown), carried)
        if _libc.ptrace(_DETACH, program.pid, None, None) != 0:
            raise _NotPossible("it could not be let go")
    except _NotPossible:
        program.kill()
        program.wait()
        raise
    return program


def _await_stop(program: subprocess.Popen[bytes]) -> None:
    """Wait until the new program is loaded: then a traced process stops, before it begins."""
    _, status = os.waitpid(program.pid, 0)
    if not os.WIFSTOPPED(status):
        program.returncode = os.waitstatus_to_exitcode(status)
        raise _NotPossible("it ended before it began")


def _turn_pointers(pid: int, count: int, carried: dict[int, tuple[str, str]]) -> None:
    """Let the pointers to the arguments by number lead to the values of environment variables instead."""
    stack = _start_of_stack(pid)
    if _read(pid, stack) != count:
        # As with a script, whose interpreter is the program and gets its own arguments.
        raise _NotPossible("it is not a program that takes its own arguments")
    values = _values(pid, stack + _WORD * (count + 2), {name: index for index, (name, _) in carried.items()})
    if values.keys() != carried.keys():
        raise _NotPossible("its environment is not where it should be")
    for index, place in values.items():
        if _libc.ptrace(_POKEDATA, pid, stack + _WORD * (1 + index), place) != 0:
            raise _NotPossible("its memory cannot be written")


def _start_of_stack(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The second field, the program's name, may hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        if (place := int(fields[_START_OF_STACK - 3])) > 0:
            return place
    raise _NotPossible("the system does not tell where its arguments are")


def _values(pid: int, pointers: int, wanted: dict[str, int]) -> dict[int, int]:
    """Where the values of the ``wanted`` variables begin, by their numbers; they stand first in the environment."""
    found: dict[int, int] = {}
    for place in range(pointers, pointers + _WORD * len(wanted), _WORD):
        text = _read(pid, place)
        if not text:
            break
        head = b"".join(struct.pack("=q", _read(pid, text + offset)) for offset in range(0, 4 * _WORD, _WORD))
        name, separator, _ = head.partition(b"=")
        index = wanted.get(name.decode("ascii", errors="replace")) if separator else None
        if index is not None:
            found[index] = text + len(name) + 1
    return found


def _read(pid: int, place: int) -> int:
    """One word of a stopped process's memory, signed."""
    ctypes.set_errno(0)
    word: int = _libc.ptrace(_PEEKDATA, pid, place, None)
    if word == -1 and ctypes.get_errno():
        raise _NotPossible("its memory cannot be read")
    return word
