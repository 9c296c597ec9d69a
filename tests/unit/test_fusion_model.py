"""``model.py`` of fusion without a server: what it counts, and what it logs of a request that cannot be fused."""

from __future__ import annotations

import importlib.util
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from trident.layout import DEFAULT_REPOSITORY
from trident.metrics import ANSWERED, COMPONENT_ANSWERS, ENTITIES
from trident.model_config import read_config
from trident.provenance import Provenance, pack
from trident.rollout.python_trial_run import _Utils, warm_up_tensors
from trident.rollout.trial import config_json

FOLDER = DEFAULT_REPOSITORY / "fusion"
CONFIG = config_json(read_config(FOLDER))
DIGEST = "sha256:" + "a" * 64


class Request:
    def __init__(self, **changes):
        self.tensors = warm_up_tensors(FOLDER, "fusion", CONFIG["model_warmup"][0]) | changes

    def request_id(self):
        return "order-1"


@pytest.fixture
def logged():
    return []


@pytest.fixture
def model(monkeypatch, logged):
    utils = _Utils("triton_python_backend_utils")
    utils.Logger = SimpleNamespace(log_error=logged.append)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    spec = importlib.util.spec_from_file_location("fusion_model", FOLDER / "1" / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "give_way", lambda: None)  # or the rest of the tests would run at low priority
    model = module.TritonPythonModel()
    model.initialize({"model_config": json.dumps(CONFIG), "model_version": "1"})
    model.execute([Request()])  # the warm-up
    yield model
    model.finalize()


def counted(model, spec):
    return {labels: value for (of, labels), value in model._meter.tally.take().items() if of is spec and value}


def test_the_warm_up_is_not_counted(model):
    assert not counted(model, ANSWERED)


def test_an_answer_is_counted_with_who_gave_it(model):
    who = {f"{name}_PROVENANCE": pack(Provenance(3, DIGEST))[None] for name in ("CLASSIFIER", "DETECTOR")}
    (response,) = model.execute([Request(**who)])
    assert not response.has_error()
    assert counted(model, COMPONENT_ANSWERS) == {("classifier", "3"): 1, ("detector", "3"): 1, ("fusion", "1"): 1}


def test_what_is_in_it_is_counted(model):
    who = {"PREPROCESS_PROVENANCE": pack(Provenance(1, DIGEST))[None]}
    model.execute([Request(**who), Request(**who)])
    assert counted(model, ENTITIES) == {("face",): 2, ("plate",): 2}


def test_a_request_that_cannot_be_fused_is_logged_with_its_id(model, logged):
    bad, good = model.execute([Request(IMAGE_SIZE=np.zeros((1, 2), np.int32)), Request()])
    assert bad.has_error()
    assert not good.has_error()
    (line,) = logged
    assert line.startswith("cannot fuse: IMAGE_SIZE: expected ")
    assert line.endswith(" [component=fusion request_id=order-1]")
