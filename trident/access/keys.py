"""The admin key of a server: made when it starts, kept where this user's commands find it, gone when it stops.

A server's key lies in ``$XDG_STATE_HOME/trident/admin`` (``~/.local/state/trident/admin``), mode 0600 in a folder of
mode 0700, under the address that the server listens on. Who asks a server on this machine looks there by the address
that is asked; a file elsewhere is named by the variable ``TRIDENT_ADMIN_KEY_FILE`` or by ``--admin-key-file``.

No message, log line or ``repr`` of this module shows a key.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import re
import secrets
import stat
from pathlib import Path
from typing import NamedTuple

from trident.errors import SetupError

KEY_FILE_VARIABLE = "TRIDENT_ADMIN_KEY_FILE"
"""Environment variable that names the file with the key, for the server and for those who ask it."""
KEY_NAME = "trident-admin"
GRPC_HEADER = f"triton-grpc-protocol-{KEY_NAME}"
"""The header that carries the key over gRPC; Triton puts the prefix before the name."""
KEY_ADVICE = (
    "it wants the server's admin key: ask as the user who runs the server, on its machine, or name the key's file with "
    f"--admin-key-file or {KEY_FILE_VARIABLE}"
)
"""What to do where a call was refused for want of the key."""

_KEY_BYTES = 32
_ATTEMPTS = 5
_KEY = re.compile(r"[!-~]{16,256}")
_EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - a file's name
_OTHERS = stat.S_IRWXO
_PORT = re.compile(r"(?P<host>\[[^\]]+\]|[^:/]+):(?P<port>\d+)")


class Found(NamedTuple):
    """A key that belongs to an address."""

    key: str
    by_address: bool
    """Whether it is that of a server of this user on this machine, found by its address."""

    def __repr__(self) -> str:
        return f"Found(key=…, by_address={self.by_address})"


class KeyFile:
    """The file that holds the key of one running server. ``of`` makes it."""

    def __init__(self, path: Path, key: str, handle: int | None) -> None:
        self.path = path
        self.key = key
        self._handle = handle
        """Held open, and locked: that tells it from one whose server was killed. None for one that was there before."""

    def __repr__(self) -> str:
        return f"KeyFile({str(self.path)!r})"

    @classmethod
    def of(cls, named: Path | None, host: str, port: int) -> KeyFile:
        """The key for a server that is about to listen on an address.

        A ``named`` file that is there, for example a mounted secret, gives the key, and stays as it is. Otherwise a new
        key is made, and written to the named file or, without one, to the usual place.

        Args:
            named: Where the operator wants it.
            host: What the gRPC side binds to.
            port: Its port.

        Raises:
            SetupError: The file cannot be read or written, or others may read it.
        """
        if named is not None and named.exists():
            return cls(named, read_key(named), None)
        path = usual_file(host, port) if named is None else named
        for attempt in range(_ATTEMPTS):
            try:
                if named is None:
                    _prepare(path.parent)
                return cls._made(path)
            except OSError as exc:
                # Another server's end may remove the empty folder in between.
                if named is None and isinstance(exc, FileNotFoundError) and attempt + 1 < _ATTEMPTS:
                    continue
                raise SetupError(
                    f"admin key: cannot write {path}: {exc.strerror or exc}; name another file with --admin-key-file, "
                    f"or {KEY_FILE_VARIABLE}"
                ) from exc
        raise AssertionError("the last attempt returns or raises")

    @classmethod
    def _made(cls, path: Path) -> KeyFile:
        key = secrets.token_urlsafe(_KEY_BYTES)
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
        handle = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(handle, f"{key}\n".encode("ascii"))
            unfinished.rename(path)
        except OSError:
            os.close(handle)
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
        return cls(path, key, handle)

    def remove(self) -> None:
        """Delete the file, unless the operator had made it. Harmless when that is done."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        with contextlib.suppress(OSError):
            ours, there = os.fstat(handle), self.path.stat()
            if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino):  # not that of a server that came after
                self.path.unlink()
        os.close(handle)
        with contextlib.suppress(SetupError):
            if self.path.parent == usual_folder():
                _remove_if_empty(self.path.parent)


def clear_left() -> None:
    """Remove this user's keys whose servers' launchers were killed; those of running ones stay."""
    with contextlib.suppress(SetupError):
        folder = usual_folder()
        _clear(folder)
        _remove_if_empty(folder)


def read_key(file: Path) -> str:
    """The key in a file.

    Raises:
        SetupError: It cannot be read, everybody may read it, or it holds no key. No message shows what it holds.
    """
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        text = file.read_text(encoding="ascii").strip()
    except OSError as exc:
        raise SetupError(f"admin key: cannot read {file}: {exc.strerror or exc}") from exc
    except UnicodeDecodeError:
        raise _no_key(file) from None
    if mode & _OTHERS:
        raise SetupError(f"admin key: {file} is open to every user of this machine ({mode:04o}): chmod 600 it")
    if not _KEY.fullmatch(text):
        raise _no_key(file)
    return text


def find_key(target: str, named: str | os.PathLike[str] | None = None) -> Found | None:
    """The key of the server at an address, if it is known here.

    Args:
        target: What gRPC dials, as ``127.0.0.1:8001``.
        named: The file with the key, where the caller says so.

    Returns:
        The key in the file that the caller or ``TRIDENT_ADMIN_KEY_FILE`` names; else that of this user's server which
        listens there; None where there is neither.

    Raises:
        SetupError: The file is there and cannot be used.
    """
    if file_named := named or os.environ.get(KEY_FILE_VARIABLE):
        return Found(read_key(Path(file_named)), by_address=False)
    match = _PORT.fullmatch(target.removeprefix("dns:///"))
    if match is None:
        return None
    try:
        folder = usual_folder()
    except SetupError:
        return None
    for host in _bound_names(match["host"]):
        file = folder / _file_name(host, int(match["port"]))
        if file.is_file():
            return Found(read_key(file), by_address=True)
    return None


def admin_headers(target: str, *, encrypted: bool, named: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """The gRPC header that opens what is restricted at an address; empty where no key is known.

    Looked up at each call: a server that was started again has another key.

    Args:
        target: What gRPC dials.
        encrypted: Whether the connection is. A key is not sent to another machine otherwise.
        named: The file with the key, where the caller says so.

    Raises:
        SetupError: The key's file cannot be used, or the key would be sent in plain text.
    """
    found = find_key(target, named)
    if found is None:
        return {}
    if not (encrypted or found.by_address or is_local(target)):
        raise SetupError(
            f"admin key: not sent to {target} in plain text: ask over TLS, or on the server's own machine, or say "
            f"--header {GRPC_HEADER}=… if nobody can listen on the way"
        )
    return {GRPC_HEADER: found.key}


def is_local(target: str) -> bool:
    """Whether what is sent to an address stays on this machine."""
    if target.startswith("unix:"):
        return True
    match = _PORT.fullmatch(target.removeprefix("dns:///"))
    return match is not None and _is_loopback(match["host"])


def usual_folder() -> Path:
    """Where the keys of this user's servers are.

    Raises:
        SetupError: This user has no home.
    """
    state = Path(os.environ.get("XDG_STATE_HOME", "").strip())
    if not state.is_absolute():  # as the specification of that variable has it
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError as exc:
            raise SetupError(
                "admin key: this user has no home folder to keep it in: name a file with --admin-key-file, or "
                f"{KEY_FILE_VARIABLE}"
            ) from exc
    return state / "trident" / "admin"


def usual_file(host: str, port: int) -> Path:
    """The file for a server that listens on an address. Raises SetupError as ``usual_folder``."""
    return usual_folder() / _file_name(host, port)


def _file_name(host: str, port: int) -> str:
    return f"{host.strip('[]')}-{port}.key"


def _bound_names(host: str) -> list[str]:
    """What a server may have bound to that is reached under this name; only names of this machine get others."""
    plain = host.strip("[]")
    others = ("127.0.0.1", "localhost", _EVERY_ADDRESS) if _is_loopback(host) else ()
    return list(dict.fromkeys((plain, *others)))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _prepare(folder: Path) -> None:
    """Make the usual folder this user's alone, and clear away the keys of servers that were killed. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise SetupError(f"admin key: {folder} belongs to somebody else: name another file with --admin-key-file")
    folder.chmod(0o700)
    _clear(folder)


def _clear(folder: Path) -> None:
    for file in folder.glob("*.key"):
        with contextlib.suppress(OSError):  # it has just been removed, or its server holds it
            handle = os.open(file, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.unlink()
            finally:
                os.close(handle)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()  # unless other servers run
        folder.parent.rmdir()  # unless something else is kept there


def _no_key(file: Path) -> SetupError:
    return SetupError(f"admin key: expected 16 to 256 printable ASCII characters without spaces in {file}, got others")
