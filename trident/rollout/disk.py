"""The model repository on disk, as a rollout reads and changes it.

Whatever is done here, the repository is one that a server can start from at every moment: the ensemble's configuration
pins versions that their components serve, and changes by one rename.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.atomic import replace_text, sync_file, sync_folder
from trident.contract import CALLED, COMPONENTS, ENSEMBLE, NETWORKS, RECOGNIZER, STEPS
from trident.entities.called_networks import NETWORKS_FILE, Networks, read_networks
from trident.errors import SetupError
from trident.layout import CODE_FILE
from trident.model_config import (
    CONFIG_NAME,
    check_is_there,
    network_file,
    pinned_step,
    read_config,
    served_versions,
)
from trident.pbtxt import with_pins, with_served_versions
from trident.rollout.release import check_component

ORIGIN_FILE = "origin.json"
"""In the folder of a recognizer version that a rollout has made: from which version its code is."""
MADE_BY = "trident rollout"

# Not a number: Triton takes it for no version.
_UNFINISHED = ".unfinished-"
_NOT_CODE = ("__pycache__", NETWORKS_FILE, ORIGIN_FILE)


class Repository:
    """A model repository that holds the components of Trident.

    Args:
        path: Its folder.

    Raises:
        SetupError: There is no such folder.
    """

    def __init__(self, path: Path) -> None:
        check_is_there(path)
        self.path = path.absolute()

    def __str__(self) -> str:
        return str(self.path)

    def config(self, model: str) -> ModelConfig:
        """The configuration of one model. Raises SetupError."""
        return read_config(self.path / model / CONFIG_NAME)

    def folder(self, component: str, version: int) -> Path:
        """Where a version lies, or would."""
        return self.path / component / str(version)

    def file(self, component: str, version: int) -> Path:
        """The file that makes a version one: ``model.onnx`` or ``model.py``. Raises SetupError."""
        check_component(component)
        config = self.config(component)
        if component in NETWORKS:
            return network_file(self.path / component, version, config)
        return self.folder(component, version) / (config.default_model_filename or CODE_FILE)

    def versions(self, component: str) -> tuple[int, ...]:
        """The versions of a component that are on disk, lowest first. Raises SetupError."""
        name = self.file(component, 1).name
        return tuple(number for number, folder in self._numbered(component) if (folder / name).is_file())

    def served(self, component: str) -> tuple[int, ...]:
        """The versions that a server loads when it starts, lowest first. Raises SetupError."""
        return tuple(sorted(served_versions(self.config(component))))

    def networks(self, version: int) -> Networks:
        """What a version of the entity recognizer calls.

        Raises:
            SetupError: There is no such version, or its ``networks.json`` cannot be understood.
        """
        return read_networks(self.folder(RECOGNIZER, version))

    def release(self) -> dict[str, int]:
        """The version of every component that answers after a start.

        Raises:
            SetupError: A step of the ensemble is missing or pins no version, or a file cannot be understood.
        """
        ensemble = self.config(ENSEMBLE)
        pins = {name: pinned_step(ensemble, name) for name in STEPS}
        pins |= self.networks(pins[RECOGNIZER]).versions
        return {name: pins[name] for name in COMPONENTS}

    def serve(self, component: str, versions: Iterable[int]) -> None:
        """Say which versions of a component a server loads, in its ``config.pbtxt``, in one rename.

        Args:
            component: Its name.
            versions: All of them; the one that answers must be among them.

        Raises:
            SetupError: A version is not on disk, the one that answers is left out, or the file cannot be changed; it
                is then as it was.
        """
        wanted = tuple(sorted(set(versions)))
        there = self.versions(component)
        if missing := sorted(set(wanted) - set(there)):
            known = ", ".join(map(str, there)) or "none"
            raise SetupError(
                f"versions of {component} to serve: expected some of those on disk ({known}), got {missing}"
            )
        answering = self.release()[component]
        if answering not in wanted:
            raise SetupError(
                f"versions of {component} to serve: expected {answering} among them, which answers, got {list(wanted)}"
            )
        file = self.path / component / CONFIG_NAME
        self._write(file, with_served_versions(self._text(file), wanted, str(file)))

    def pin(self, pins: Mapping[str, int]) -> None:
        """Move the ensemble's pins, all in one rename: what a server that starts, or loads the ensemble, follows.

        Args:
            pins: The version of each step that moves. Networks behind the recognizer move with its version.

        Raises:
            SetupError: A version would not be served, or the file cannot be changed; it is then as it was.
        """
        for name, version in pins.items():
            if name in CALLED:
                raise SetupError(f"{name} is pinned by a version of {RECOGNIZER}: see Repository.recognizer_for")
            if name not in STEPS:
                raise SetupError(f"step: expected one of {', '.join(STEPS)}, got {name!r}")
            self._check_is_served(name, version)
        if RECOGNIZER in pins:
            for name, version in self.networks(pins[RECOGNIZER]).versions.items():
                self._check_is_served(name, version)
        file = self.path / ENSEMBLE / CONFIG_NAME
        self._write(file, with_pins(self._text(file), pins, str(file)))

    def recognizer_for(
        self, networks: Mapping[str, int], *, code_of: int, identity_threshold: float | None = None
    ) -> int:
        """The recognizer version that has the code of one version and calls these networks, made if there is none.

        Args:
            networks: The version of each network that it is to call.
            code_of: The recognizer version whose code it is to have.
            identity_threshold: Smallest similarity of one person's faces; by default that of ``code_of``.

        Returns:
            Its number: ``code_of`` itself where it calls these networks, else the lowest that does, else a new one.

        Raises:
            SetupError: ``code_of`` is not whole, a network's version is not on disk, or the folder cannot be written;
                nothing is then left behind.
        """
        origin = self.networks(code_of)
        code = self._code(code_of)
        wanted = Networks(
            dict(networks), origin.identity_threshold if identity_threshold is None else identity_threshold
        )
        for name, version in wanted.versions.items():
            if version not in self.versions(name):
                raise SetupError(f"{name} {version} is not on disk: {self.file(name, version)} is missing")
        others = [version for version in self.versions(RECOGNIZER) if version != code_of]
        for version in (code_of, *others):
            # A version that is damaged is nobody's wish; it is not ours to complain about here.
            with suppress(SetupError):
                if self.networks(version) == wanted and self._code(version) == code:
                    return version
        return self._make_recognizer(code, wanted, code_of)

    def tidy(self) -> None:
        """Remove what a rollout that was killed in the middle of writing has left. Raises SetupError."""
        for folder in (self.path / RECOGNIZER).glob(f"{_UNFINISHED}*"):
            try:
                shutil.rmtree(folder)
            except OSError as exc:
                raise SetupError(f"{folder}: cannot be removed ({exc.strerror or exc}); remove it by hand") from exc

    def _numbered(self, component: str) -> list[tuple[int, Path]]:
        """All folders that Triton takes for versions, sorted by number."""
        folder = self.path / component
        # Triton ignores numbers that begin with 0.
        found = [path for path in folder.iterdir() if path.name.isdecimal() and path.name[0] != "0" and path.is_dir()]
        return sorted((int(path.name), path) for path in found)

    def _check_is_served(self, component: str, version: int) -> None:
        served = self.served(component)
        if version not in served:
            known = ", ".join(map(str, served)) or "none"
            raise SetupError(
                f"pin of {component}: expected a version that its {CONFIG_NAME} serves ({known}), got {version}"
            )

    def _code(self, version: int) -> dict[str, bytes]:
        """Everything in the folder of a recognizer version that is code: by path, its contents. Raises SetupError."""
        folder = self.folder(RECOGNIZER, version)
        code = {}
        try:
            for path in sorted(folder.rglob("*")):
                relative = path.relative_to(folder)
                if path.is_file() and relative.parts[0] not in _NOT_CODE and "__pycache__" not in relative.parts:
                    code[str(relative)] = path.read_bytes()
        except OSError as exc:
            raise SetupError(f"{folder}: cannot be read ({exc.strerror or exc})") from exc
        if CODE_FILE not in code:
            raise SetupError(f"{folder / CODE_FILE}: not there; version {version} of {RECOGNIZER} is not whole")
        return code

    def _make_recognizer(self, code: Mapping[str, bytes], networks: Networks, code_of: int) -> int:
        """Write a version folder under a name that Triton does not look at, and rename it to the next free number."""
        parent = self.path / RECOGNIZER
        self.tidy()
        unfinished: Path | None = None
        try:
            unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=parent))
            unfinished.chmod(self.folder(RECOGNIZER, code_of).stat().st_mode & 0o777)
            files = dict(code)
            files[NETWORKS_FILE] = networks.to_text().encode()
            origin = {"code_of": code_of, "made_by": MADE_BY}
            files[ORIGIN_FILE] = (json.dumps(origin) + "\n").encode()
            for name, content in files.items():
                file = unfinished / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            version = self._renamed(unfinished, parent)
            unfinished = None
            return version
        except OSError as exc:
            reason = exc.strerror or exc
            raise SetupError(
                f"{parent}: a new version of {RECOGNIZER} cannot be written ({reason}); nothing has changed"
            ) from exc
        finally:
            if unfinished is not None:
                shutil.rmtree(unfinished, ignore_errors=True)

    def _renamed(self, unfinished: Path, parent: Path) -> int:
        """Rename to the next free number, with everything on disk first. Raises OSError."""
        version = max((number for number, _ in self._numbered(RECOGNIZER)), default=0) + 1
        # As `launcher.installation.compile_models` does for all: a __pycache__ that appears in a version that serves
        # counts as a change of it.
        for file in sorted(unfinished.rglob("*.py")):
            place = parent / str(version) / file.relative_to(unfinished).parent
            compileall.compile_file(file, ddir=str(place), quiet=2)
        for path in unfinished.rglob("*"):
            (sync_folder if path.is_dir() else sync_file)(path)
        sync_folder(unfinished)
        # Where somebody else has taken the number meanwhile, this fails: the folder is not empty.
        os.rename(unfinished, parent / str(version))  # noqa: PTH104 - pathlib's replaces an empty folder likewise
        sync_folder(parent)
        return version

    def _text(self, file: Path) -> str:
        try:
            # Not read_text: it would turn CRLF into LF.
            return file.read_bytes().decode("utf-8")
        except OSError as exc:
            raise SetupError(f"cannot read {file}: {exc.strerror or exc}") from exc
        except UnicodeDecodeError as exc:
            raise SetupError(f"{file}: expected UTF-8, got other bytes") from exc

    def _write(self, file: Path, text: str) -> None:
        if text != self._text(file):
            # In the root, where Triton looks at folders only: a file that stayed in the model's folder would count as
            # a change of all its versions.
            replace_text(file, text, by_way_of=self.path)
