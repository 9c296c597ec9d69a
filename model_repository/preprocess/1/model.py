"""Triton's side of preprocess: encoded pictures in, canonical pixels out; ``trident.preprocess`` does the work."""

from trident.background import WarmUp, give_way, import_at_low_priority

import_at_low_priority("trident.preprocess", "trident.admission")

import json
from pathlib import Path

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

from trident.admission import Overloaded, gate_of_server
from trident.component_digest import digest_of_component
from trident.errors import InvalidInput, SetupError
from trident.log_fields import Sparingly, with_fields
from trident.metrics import REFUSED, SHED, expect_refusals
from trident.preprocess import Limits, prepare, stack_details
from trident.provenance import Provenance, pack
from trident.recorder import Recorder
from trident.supervisor.hold import check_held
from trident.triton_metrics import Meter


class TritonPythonModel:
    """One request after the other; a picture that cannot be served fails its own request alone."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        parameters = config["parameters"]
        self._warm_up = WarmUp(config)
        try:
            self._limits = Limits.from_parameters({name: value["string_value"] for name, value in parameters.items()})
            self._gate = gate_of_server(config)
            digest = digest_of_component("preprocess", Path(__file__).parent)
        except SetupError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self._provenance = pack(Provenance(int(args["model_version"]), digest))
        self._recorder = Recorder.from_environment()
        self._sparingly = Sparingly()
        self._meter = Meter(pb_utils)
        expect_refusals(self._meter.tally)
        self._meter.start()
        # Instances, not threads, keep the cores busy: OpenCV's own threads would take them from the networks.
        cv2.setNumThreads(1)
        # The caller is told what is wrong with a picture; the server's log is not a place to fill for callers.
        cv2.setLogLevel(0)

    def execute(self, requests):
        # A warm-up is nobody's request, and the server has no metrics yet to be asked for.
        answer = self._answer_if_in_time if self._warm_up.over else self._answer
        return self._warm_up.run(lambda: [answer(request) for request in requests])

    def finalize(self):
        give_way()
        self._meter.stop()

    def _answer_if_in_time(self, request):
        try:
            check_held()
            self._gate.admit(request.timeout())
        except Overloaded as error:
            self._meter.tally.count(SHED)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), pb_utils.TritonError.UNAVAILABLE))
        return self._answer(request)

    def _answer(self, request):
        images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().reshape(-1)
        try:
            pictures = [self._prepare(encoded, index, len(images)) for index, encoded in enumerate(images)]
        except InvalidInput as error:
            self._note(request, error)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))
        self._recorder.offer(images)
        outputs = {
            "SCENE_PIXELS": np.stack([picture.scene for picture in pictures]),
            "CANVAS_PIXELS": np.stack([picture.canvas for picture in pictures]),
            "DETAIL_PIXELS": stack_details([picture.detail for picture in pictures]),
            "IMAGE_SIZE": np.array([(picture.width, picture.height) for picture in pictures], dtype=np.int32),
            "PROVENANCE": np.tile(self._provenance, (len(pictures), 1)),
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])

    def _prepare(self, encoded, index, count):
        try:
            return prepare(encoded, self._limits)
        except InvalidInput as error:
            # The caller has to know which picture to leave out.
            raise type(error)(f"picture {index} of {count}: {error}" if count > 1 else str(error)) from error

    def _note(self, request, error):
        """Count a refusal, and log which request it was and why in one word: of the picture itself nothing is kept."""
        self._meter.tally.count(REFUSED, error.reason)
        if (left_out := self._sparingly.may_say()) is not None:
            facts = {"request_id": request.request_id(), "reason": error.reason, "left_out": left_out or ""}
            pb_utils.Logger.log_info(with_fields("refused a picture", component="preprocess", **facts))
