"""Triton's side of the entity recognizer: tensors in and out, the networks through BLS, the gallery."""

from trident.background import give_way, import_at_low_priority

import_at_low_priority("asyncio", "trident.entities.gallery", "trident.entities.recognizer")

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from trident.component_digest import digest_of_component
from trident.contract import ENTITY_PROVENANCE_ORDER, MODELS, PROVENANCE_BYTES
from trident.entities.called_networks import read_networks
from trident.entities.gallery import Gallery, GalleryWatcher, ensure_outside
from trident.entities.gallery_metrics import GalleryLook
from trident.entities.pictures import Pictures
from trident.entities.recognizer import recognize
from trident.entities.settings import Settings
from trident.entities.types import entities_to_json
from trident.errors import InvalidInput, SetupError
from trident.log_fields import Sparingly, with_fields
from trident.provenance import Provenance, pack
from trident.triton_metrics import Meter

PARALLEL_CALLS = 32
# What Triton says to a call from inside once it has been told to stop; its code gets lost on the way here.
STOPPING = "Server not ready"


class NetworkError(Exception):
    """A network's failure, with the code that Triton gave it."""

    def __init__(self, network, version, error):
        super().__init__(f"{network} version {version}: {error.message()}")
        self.network = network
        self.code = error.code()


class RequestCancelled(Exception):
    """The client has gone: nothing more is worth starting."""


def _response(entities, provenance):
    texts = np.array([[entities_to_json(found)] for found in entities], dtype=np.object_)
    return pb_utils.InferenceResponse([pb_utils.Tensor("ENTITIES", texts), pb_utils.Tensor("PROVENANCE", provenance)])


class TritonLog(logging.Handler):
    """Hands the log of this model to Triton's."""

    def emit(self, record):
        if record.levelno >= logging.ERROR:
            pb_utils.Logger.log_error(self.format(record))
        elif record.levelno >= logging.WARNING:
            pb_utils.Logger.log_warn(self.format(record))
        else:
            pb_utils.Logger.log_info(self.format(record))


class TritonPythonModel:
    """Thin: all that is worth testing without a server is in ``trident.entities``."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        folder = Path(__file__).parent
        try:
            self._settings = Settings.from_parameters(parameters, read_networks(folder))
            own_digest = digest_of_component("entity_recognizer", folder)
            gallery = Gallery(self._settings.gallery_url)
            ensure_outside(gallery, Path(args["model_repository"]).parent)
        except SetupError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self._own_provenance = pack(Provenance(int(args["model_version"]), own_digest))
        self._logger = logging.getLogger("trident.entity_recognizer")
        self._logger.setLevel(logging.INFO)
        self._logger.handlers = [TritonLog()]
        self._logger.propagate = False

        self._watcher = GalleryWatcher(gallery, seconds=self._settings.gallery_poll_seconds, logger=self._logger)
        self._told_about = None
        self._sparingly = Sparingly()
        self._meter = Meter(pb_utils, look=GalleryLook(self._watcher), logger=self._logger)
        self._meter.start()

        # One loop for the model's whole life; its threads wait for the networks.
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(PARALLEL_CALLS, thread_name_prefix="bls"))

    def execute(self, requests):
        return self._loop.run_until_complete(self._respond_to_all(requests))

    def finalize(self):
        give_way()
        self._meter.stop()
        self._watcher.stop()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _respond_to_all(self, requests):
        # All requests at once: while one waits for a network, the others go on.
        answers = await asyncio.gather(*map(self._answer, requests), return_exceptions=True)
        return [
            self._to_response(request, answer) if isinstance(answer, BaseException) else answer
            for request, answer in zip(requests, answers, strict=True)
        ]

    async def _answer(self, request):
        canvas, detail, sizes = (
            pb_utils.get_input_tensor_by_name(request, spec.name).as_numpy()
            for spec in MODELS["entity_recognizer"].inputs
        )

        async def infer(network, inputs):
            return await self._call(request, network, inputs)

        recognition = await recognize(Pictures(canvas, detail, sizes), infer, self._match, self._settings)
        provenance = recognition.provenance
        provenance[:, ENTITY_PROVENANCE_ORDER.index("entity_recognizer")] = self._own_provenance
        return _response(recognition.entities, provenance)

    async def _call(self, request, network, inputs):
        if request.is_cancelled():
            raise RequestCancelled
        version = self._settings.versions[network]
        call = pb_utils.InferenceRequest(
            model_name=network,
            model_version=version,
            requested_output_names=[spec.name for spec in MODELS[network].outputs],
            inputs=[pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()],
            request_id=request.request_id(),
            timeout=request.timeout(),
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
        )
        response = await call.async_exec()
        if response.has_error():
            raise NetworkError(network, version, response.error())
        # Copies: the tensors live in memory that the response gives back.
        return {tensor.name(): tensor.as_numpy().copy() for tensor in response.output_tensors()}

    def _match(self, embeddings, network):
        snapshot = self._watcher.snapshot
        if self._told_about != (snapshot.stamp, network):
            self._told_about = (snapshot.stamp, network)
            if strangers := snapshot.strangers(network):
                self._logger.warning(
                    "gallery: of %d people all embeddings were made by other networks than face_embedder version %d "
                    "(%s) and are never compared with it; enrol them again (trident gallery list shows them)",
                    len(strangers),
                    self._settings.versions["face_embedder"],
                    network,
                )
        return snapshot.match(embeddings, network, self._settings.identity_threshold)

    def _note(self, level, message, request_id, failure=None, **facts):
        if (left_out := self._sparingly.may_say()) is not None:
            facts |= {"component": "entity_recognizer", "request_id": request_id, "left_out": left_out or ""}
            self._logger.log(level, with_fields(message, **facts), exc_info=failure)

    def _to_response(self, request, failure):
        if isinstance(failure, RequestCancelled):
            # No error, though nobody is there to read it: of a step that fails while others of its request are under
            # way, Triton 2.51 never gives back what the others answer.
            pictures = len(pb_utils.get_input_tensor_by_name(request, "IMAGE_SIZE").as_numpy())
            provenance = np.zeros((pictures, len(ENTITY_PROVENANCE_ORDER), PROVENANCE_BYTES), dtype=np.uint8)
            return _response([()] * pictures, provenance)
        return pb_utils.InferenceResponse(error=self._to_error(failure, request.request_id()))

    def _to_error(self, failure, request_id):
        if isinstance(failure, NetworkError):
            if STOPPING in str(failure):
                return pb_utils.TritonError(f"{failure}: it is stopping", pb_utils.TritonError.UNAVAILABLE)
            self._note(logging.WARNING, "a network failed", request_id, network=failure.network)
            return pb_utils.TritonError(str(failure), failure.code)
        if isinstance(failure, InvalidInput):
            return pb_utils.TritonError(str(failure), pb_utils.TritonError.INVALID_ARG)
        self._note(logging.ERROR, "a request failed", request_id, failure)
        return pb_utils.TritonError(f"entity_recognizer: {failure!r}", pb_utils.TritonError.INTERNAL)
