"""All of Trident in one process, without a server: the floor that serving is measured against, and what peers serve.

The same ONNX files with the same onnxruntime options as the server's (``trident.onnx_backend``), the same decoding and
the same Python functions, in the release that the repository's configurations pin::

    picture ──► prepare ─┬─► classify ──┐
                         ├─► detect ────┼─► fuse ──► RESULT
                         └─► recognize ─┘
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
from google.protobuf import json_format

from trident import preprocess
from trident.component_digest import digest_of_component
from trident.contract import ENSEMBLE, ENTITY_PROVENANCE_ORDER, MODELS, RECOGNIZER, STEPS
from trident.entities import recognizer
from trident.entities.gallery import Embeddings, Gallery
from trident.entities.local import read_limits, read_settings
from trident.entities.networks import all_of
from trident.entities.pictures import Pictures
from trident.entities.types import Identity, entities_to_json
from trident.errors import InvalidInput, SetupError
from trident.fusion.batch import fuse_batch, fusion_inputs
from trident.fusion.policy import load_policy
from trident.fusion.taxonomy import load_taxonomy
from trident.layout import DEFAULT_REPOSITORY
from trident.model_config import CONFIG_NAME, check_is_there, pinned_step, read_config
from trident.onnx_backend import ConfigError, Network, Request, RunError, model_file, open_network, plan_session
from trident.provenance import Provenance, pack

__all__ = ["Pipeline", "RunError", "Tensors"]

Tensors = Mapping[str, npt.NDArray[Any]]
"""Named tensors of one picture, as ``trident.contract`` defines them, with a batch of one as their first axis."""

_Result = TypeVar("_Result")

_THREADS_PARAMETER = "intra_op_thread_count"


class Pipeline:
    """Answers pictures in this process. Safe to share between threads; a process of its own makes its own.

    Making one loads all networks, which takes seconds, and tells OpenCV to compute in the calling thread only, as the
    server's ``preprocess`` does. The gallery is read once: who is enrolled later is not known.

    Args:
        repository: The model repository. It is only read.
        intra_op_threads: Threads inside each network; None for what the configurations say, which is one.
        gallery_url: SQLAlchemy URL of the gallery; None for the configured one, else the user's own.

    Raises:
        SetupError: The repository is not whole, or a network has not been exported.
    """

    def __init__(
        self,
        repository: Path = DEFAULT_REPOSITORY,
        *,
        intra_op_threads: int | None = None,
        gallery_url: str | None = None,
    ) -> None:
        if intra_op_threads is not None and intra_op_threads < 1:
            raise SetupError(f"pipeline: intra_op_threads: expected 1 or more, got {intra_op_threads}")
        check_is_there(repository)
        release = read_config(repository / ENSEMBLE / CONFIG_NAME)
        pins = {step: pinned_step(release, step) for step in STEPS}
        self._limits = read_limits(repository)
        self._settings = read_settings(repository)
        self._taxonomy = load_taxonomy()
        self._policy = load_policy(repository / "fusion" / str(pins["fusion"]) / "policy.json")
        self._own = {
            name: Provenance(pins[name], digest_of_component(name, repository / name / str(pins[name])))
            for name in STEPS
            if not MODELS[name].network
        }
        versions = {name: pins[name] for name in STEPS if MODELS[name].network} | dict(self._settings.versions)
        self._networks = {
            name: _open(repository / name, version, intra_op_threads) for name, version in sorted(versions.items())
        }
        with Gallery(gallery_url or self._settings.gallery_url) as people:
            self._people = people.snapshot()
        cv2.setNumThreads(1)
        cv2.setLogLevel(0)
        self._thread = threading.local()
        self._loops: list[asyncio.AbstractEventLoop] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back what it holds beside memory. To be called when nothing runs in it any more."""
        while self._loops:
            self._loops.pop().close()
        self._thread = threading.local()

    def analyze(self, picture: bytes) -> bytes:
        """Answer one picture, one step after the other, all in the calling thread, which runs no event loop.

        Args:
            picture: A JPEG, PNG, WebP, BMP or TIFF file.

        Returns:
            ``RESULT``, schema 1: JSON in UTF-8.

        Raises:
            InvalidInput: The picture cannot be served; the message is one sentence that says why.
            RunError: A network failed.
        """
        pixels = self.prepare(picture)
        classified, detected = self.classify(pixels), self.detect(pixels)
        return self.fuse(pixels, classified, detected, self._finish(self.recognize(pixels)))

    def analyze_parallel(self, picture: bytes, pool: Executor) -> bytes:
        """Answer one picture, the branches side by side. The calling thread runs no event loop.

        Args:
            picture: As for ``analyze``.
            pool: Threads for the networks: four for as many as can be busy at once. Not the pool that this call itself
                runs in, which could wait for itself for ever.

        Returns:
            As ``analyze``.

        Raises:
            InvalidInput: As ``analyze``.
            RunError: As ``analyze``; nothing of the picture is running any more then.
        """
        pixels = self.prepare(picture)
        return self.fuse(pixels, *self._finish(self._branches(pixels, pool)))

    async def analyze_async(self, picture: bytes, pool: Executor) -> bytes:
        """Answer one picture on a running event loop, the branches side by side.

        Only cutting out faces and plates, a millisecond or so of arithmetic, is done on the loop's own thread.

        Args:
            picture: As for ``analyze``.
            pool: Threads for all the rest.

        Returns:
            As ``analyze``.

        Raises:
            InvalidInput: As ``analyze``.
            RunError: As ``analyze_parallel``.
        """
        loop = asyncio.get_running_loop()
        pixels = await loop.run_in_executor(pool, self.prepare, picture)
        classified, detected, recognized = await self._branches(pixels, pool)
        return await loop.run_in_executor(pool, self.fuse, pixels, classified, detected, recognized)

    def prepare(self, picture: bytes) -> dict[str, npt.NDArray[Any]]:
        """The outputs of ``preprocess``. Raises InvalidInput if the picture cannot be served."""
        canonical = preprocess.prepare(picture, self._limits)
        return {
            # Views, where they can be: nothing has to cross to another process here.
            "SCENE_PIXELS": np.ascontiguousarray(canonical.scene)[None],
            "CANVAS_PIXELS": canonical.canvas[None],
            "DETAIL_PIXELS": canonical.detail[None],
            "IMAGE_SIZE": np.array([(canonical.width, canonical.height)], dtype=np.int32),
            "PROVENANCE": pack(self._own["preprocess"])[None],
        }

    def classify(self, pixels: Tensors) -> dict[str, npt.NDArray[Any]]:
        """The outputs of ``classifier`` from those of ``preprocess``. Raises RunError if the network fails."""
        return self.run("classifier", {"PIXELS": pixels["SCENE_PIXELS"]})

    def detect(self, pixels: Tensors) -> dict[str, npt.NDArray[Any]]:
        """The outputs of ``detector`` from those of ``preprocess``. Raises RunError if the network fails."""
        return self.run("detector", {"PIXELS": pixels["CANVAS_PIXELS"]})

    async def recognize(self, pixels: Tensors, pool: Executor | None = None) -> dict[str, npt.NDArray[Any]]:
        """The outputs of ``entity_recognizer`` from those of ``preprocess``.

        Args:
            pixels: The outputs of ``preprocess``.
            pool: Threads for the networks; None calls them one after the other, in the loop's own thread.

        Raises:
            RunError: A network failed.
        """
        loop = asyncio.get_running_loop()

        async def infer(network: str, inputs: Tensors) -> Tensors:
            if pool is None:
                return self.run(network, inputs)
            return await loop.run_in_executor(pool, self.run, network, inputs)

        pictures = Pictures(pixels["CANVAS_PIXELS"], pixels["DETAIL_PIXELS"], pixels["IMAGE_SIZE"])
        recognition = await recognizer.recognize(pictures, infer, self._match, self._settings)
        provenance = recognition.provenance
        provenance[:, ENTITY_PROVENANCE_ORDER.index(RECOGNIZER)] = pack(self._own[RECOGNIZER])
        entities = np.array([[entities_to_json(found)] for found in recognition.entities], dtype=np.object_)
        return {"ENTITIES": entities, "PROVENANCE": provenance}

    def fuse(self, pixels: Tensors, classified: Tensors, detected: Tensors, recognized: Tensors) -> bytes:
        """``RESULT`` from the outputs of the four models before ``fusion``, JSON in UTF-8.

        Raises:
            RunError: A branch handed over something that cannot be fused.
        """
        tensors = fusion_inputs(pixels, classified, detected, recognized)
        try:
            fused = fuse_batch(tensors, self._taxonomy, self._policy, self._own["fusion"])
        except InvalidInput as error:
            # The branches' answers, not the caller's: what the caller sent was good.
            raise RunError(f"fusion: {error}", "INTERNAL") from error
        return bytes(fused["RESULT"][0, 0])

    def run(self, network: str, inputs: Tensors) -> dict[str, npt.NDArray[Any]]:
        """Run one network: all its outputs by name. Raises RunError if it fails."""
        wanted = tuple(spec.name for spec in MODELS[network].outputs)
        (answer,) = self._networks[network].answer([Request(inputs, wanted)])
        if isinstance(answer, RunError):
            raise answer
        return answer

    async def _branches(self, pixels: Tensors, pool: Executor) -> tuple[Tensors, Tensors, Tensors]:
        """The outputs of classifier, detector and entity recognizer, which run side by side."""
        loop = asyncio.get_running_loop()

        async def classified() -> dict[str, npt.NDArray[Any]]:
            return await loop.run_in_executor(pool, self.classify, pixels)

        async def detected() -> dict[str, npt.NDArray[Any]]:
            return await loop.run_in_executor(pool, self.detect, pixels)

        first, second, third = await all_of(classified(), detected(), self.recognize(pixels, pool))
        return first, second, third

    def _match(self, embeddings: Embeddings, network: str) -> Sequence[Identity | None]:
        return self._people.match(embeddings, network, self._settings.identity_threshold)

    def _finish(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine to its end on the calling thread's loop, which is kept: a new one a call costs more."""
        loop: asyncio.AbstractEventLoop | None = getattr(self._thread, "loop", None)
        if loop is None:
            loop = self._thread.loop = asyncio.new_event_loop()
            self._loops.append(loop)
        return loop.run_until_complete(work)


def _open(folder: Path, version: int, intra_op_threads: int | None) -> Network:
    """Open one version of a network as the server's backend does. Raises SetupError."""
    # The form in which Triton hands a configuration to its backends.
    config: dict[str, Any] = json_format.MessageToDict(read_config(folder), preserving_proto_field_name=True)
    if intra_op_threads is not None:
        config.setdefault("parameters", {})[_THREADS_PARAMETER] = {"string_value": str(intra_op_threads)}
    try:
        file = model_file(config, folder / str(version))
        plan = plan_session(config, kind="CPU", device_id=0, available=onnxruntime.get_available_providers())
        return open_network(file, config, plan)
    except ConfigError as error:
        raise SetupError(f"{folder.name} version {version}: {error}") from error
