"""Triton's side of fusion: tensors in and out; what happens between is ``trident.fusion``."""

from trident.background import WarmUp, give_way, import_at_low_priority

import_at_low_priority("trident.fusion.batch")

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from trident.component_digest import digest_of_component
from trident.contract import MODELS
from trident.errors import InvalidInput, SetupError
from trident.fusion.batch import fuse_batch
from trident.fusion.policy import load_policy
from trident.fusion.taxonomy import load_taxonomy
from trident.log_fields import Sparingly, with_fields
from trident.metrics import count_answer, expect_answers
from trident.provenance import Provenance
from trident.triton_metrics import Meter

SPEC = MODELS["fusion"]


class TritonPythonModel:
    """Fuses each request by itself; one that cannot be fused fails alone."""

    def initialize(self, args):
        folder = Path(__file__).parent
        try:
            self._policy = load_policy(folder / "policy.json")
            digest = digest_of_component("fusion", folder)
        except SetupError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self._taxonomy = load_taxonomy()
        self._warm_up = WarmUp(json.loads(args["model_config"]))
        self._provenance = Provenance(int(args["model_version"]), digest)
        self._sparingly = Sparingly()
        self._meter = Meter(pb_utils)
        expect_answers(self._meter.tally)
        self._meter.start()

    def execute(self, requests):
        return self._warm_up.run(lambda: [self._respond(request) for request in requests])

    def finalize(self):
        give_way()
        self._meter.stop()

    def _respond(self, request):
        tensors = {spec.name: pb_utils.get_input_tensor_by_name(request, spec.name).as_numpy() for spec in SPEC.inputs}
        try:
            outputs = fuse_batch(tensors, self._taxonomy, self._policy, self._provenance, self._count)
        except InvalidInput as error:
            # The branches' answers, not the caller's: what the caller sent was good.
            self._note(request, error)
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError(f"fusion: {error}", pb_utils.TritonError.INTERNAL)
            )
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in outputs.items()]
        )

    def _count(self, result, models):
        count_answer(self._meter.tally, result, models)

    def _note(self, request, error):
        if (left_out := self._sparingly.may_say()) is not None:
            facts = {"request_id": request.request_id(), "left_out": left_out or ""}
            pb_utils.Logger.log_error(with_fields(f"cannot fuse: {error}", component="fusion", **facts))
