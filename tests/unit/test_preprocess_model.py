"""``model.py`` of preprocess without a server: requests in, responses out, and what its configuration promises."""

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from tests import pictures
from trident import admission
from trident.admission import Overloaded
from trident.admission.gate import LATER
from trident.background import WarmUp
from trident.contract import MODELS
from trident.layout import DEFAULT_REPOSITORY
from trident.metrics import REFUSED
from trident.model_config import read_config
from trident.preprocess import Limits, prepare
from trident.preprocess.warmup import bytes_element
from trident.provenance import unpack

FOLDER = DEFAULT_REPOSITORY / "preprocess"
CONFIG = read_config(FOLDER)
PARAMETERS = {name: {"string_value": value.string_value} for name, value in CONFIG.parameters.items()}


@dataclass
class Tensor:
    name: str
    array: np.ndarray

    def as_numpy(self):
        return self.array


class TritonError(Exception):
    INVALID_ARG = "INVALID_ARG"
    UNAVAILABLE = "UNAVAILABLE"

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


@dataclass
class Response:
    output_tensors: list = field(default_factory=list)
    error: TritonError | None = None

    def __getitem__(self, name):
        return next(tensor.array for tensor in self.output_tensors if tensor.name == name)


logged = []


@pytest.fixture
def load(monkeypatch):
    """Loads the model as the server would, with other parameters if given."""
    utils = SimpleNamespace(
        Tensor=Tensor,
        TritonError=TritonError,
        InferenceResponse=Response,
        get_input_tensor_by_name=lambda request, name: Tensor(name, request[name]),
        Logger=SimpleNamespace(log_info=logged.append),
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    logged.clear()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Triton takes a __pycache__ for a change of the model
    spec = importlib.util.spec_from_file_location("preprocess_model", FOLDER / "1" / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def build(**parameters):
        model = module.TritonPythonModel()
        given = PARAMETERS | {name: {"string_value": value} for name, value in parameters.items()}
        model.initialize({"model_config": json.dumps({"parameters": given}), "model_version": "1"})
        return model

    return build


class Request(dict):
    """Inputs by name; the id is one that nobody should trust."""

    def request_id(self):
        return "id of\na caller"

    def timeout(self):
        return 5_000_000


def request(*encoded):
    return Request(IMAGE=np.array([[picture] for picture in encoded], dtype=np.object_))


def test_outputs_are_those_of_the_contract(load):
    encoded = pictures.encode(pictures.corners(640, 480), "JPEG")
    (response,) = load().execute([request(encoded)])
    assert [tensor.name for tensor in response.output_tensors] == [spec.name for spec in MODELS["preprocess"].outputs]
    for spec in MODELS["preprocess"].outputs:
        array = response[spec.name]
        assert array.dtype == np.dtype(spec.dtype.value.lower())
        assert all(want in (-1, got) for want, got in zip((1, *spec.dims), array.shape, strict=True))
    whole = prepare(encoded)
    assert np.array_equal(response["SCENE_PIXELS"][0], whole.scene)
    assert np.array_equal(response["CANVAS_PIXELS"][0], whole.canvas)
    assert np.array_equal(response["DETAIL_PIXELS"][0], whole.detail)
    assert response["IMAGE_SIZE"].tolist() == [[640, 480]]


def test_pictures_of_one_request_keep_their_order_and_size(load):
    encoded = [pictures.encode(np.full((10 * n, 20 * n, 3), n, np.uint8)) for n in range(1, 9)]
    (response,) = load().execute([request(*encoded)])
    assert response["IMAGE_SIZE"].tolist() == [[20 * n, 10 * n] for n in range(1, 9)]
    assert response["DETAIL_PIXELS"].shape == (8, 80, 160, 3)
    assert [row.max() for row in response["DETAIL_PIXELS"]] == list(range(1, 9))
    assert (response["DETAIL_PIXELS"][0, 10:] == 0).all()


def test_a_bad_picture_fails_its_own_request_alone(load):
    good, bad = pictures.encode(pictures.corners()), b"not a picture"
    first, second, third = load().execute([request(good), request(bad), request(good)])
    assert first.error is None
    assert third.error is None
    assert second.error.code == TritonError.INVALID_ARG
    assert str(second.error) == "IMAGE: expected JPEG, PNG, WebP, BMP or TIFF, got text"


def test_a_bad_picture_among_several_is_named_by_its_index(load):
    good = pictures.encode(pictures.corners())
    (response,) = load().execute([request(good, good, b"GIF89a", good)])
    assert str(response.error) == "picture 2 of 4: IMAGE: expected JPEG, PNG, WebP, BMP or TIFF, got a GIF picture"
    assert response.output_tensors == []


def test_a_refusal_is_counted_and_logged_in_one_word_with_the_requests_id(load):
    model = load(max_megapixels="0.01")
    model._meter.tally.take()
    large, cut = pictures.encode(pictures.corners(200, 100)), pictures.encode(pictures.corners(20, 10))[:-20]
    model.execute([request(b"secret words"), request(large), request(cut), request(cut)])
    counted = {labels: count for (spec, labels), count in model._meter.tally.take().items() if spec is REFUSED}
    assert counted == {("unknown_format",): 1, ("too_large",): 1, ("damaged",): 2}
    assert logged[0] == "refused a picture [component=preprocess request_id=id?of?a?caller reason=unknown_format]"
    assert len(logged) == 4


def test_callers_do_not_fill_the_log(load):
    load().execute([request(b"not a picture") for _ in range(200)])
    assert 0 < len(logged) <= 20


def test_limits_come_from_the_configuration(load):
    encoded = pictures.encode(pictures.corners(200, 100))
    (response,) = load(max_megapixels="0.01").execute([request(encoded)])
    assert "at most 0.01 megapixels, got a PNG of 200 x 100" in str(response.error)


def test_provenance_names_the_version_and_the_code(load):
    (response,) = load().execute([request(*[pictures.encode(pictures.corners())] * 2)])
    first, second = map(unpack, response["PROVENANCE"])
    assert first == second
    assert first.version == 1
    assert first.digest.startswith("sha256:")


def test_the_configuration_states_the_default_limits():
    stated = Limits.from_parameters({name: value["string_value"] for name, value in PARAMETERS.items()})
    assert stated == Limits()
    assert set(PARAMETERS) == {"max_megapixels", "max_mebibytes", "max_wait_seconds", "burst"}


class Gate:
    """A gate that lets nobody in, and remembers how long they said that they have."""

    def __init__(self):
        self.said = []

    def admit(self, timeout_us):
        self.said.append(timeout_us)
        raise Overloaded(f"too many requests: {LATER}")


def test_a_request_too_many_is_refused_before_anything_is_done_for_it(load):
    model = load()
    model._gate = Gate()
    (response,) = model.execute([request(b"not a picture")])
    assert (response.error.code, response.output_tensors) == (TritonError.UNAVAILABLE, [])
    assert str(response.error) == "too many requests: ask again later"
    assert model._gate.said == [5_000_000]


def test_a_warm_up_passes_the_gate_by(load):
    model = load()
    model._gate = Gate()
    model._warm_up = WarmUp({"model_warmup": [{"batch_size": 1}]})
    encoded = request(pictures.encode(pictures.corners()))
    (first,), (second,) = model.execute([encoded]), model.execute([encoded])
    assert first.error is None
    assert second.error.code == TritonError.UNAVAILABLE


def test_the_configuration_states_the_default_admission():
    policy = CONFIG.dynamic_batching.default_queue_policy
    parameters = {name: value["string_value"] for name, value in PARAMETERS.items()}
    assert admission.Settings.from_parameters(parameters, policy.max_queue_size) == admission.Settings()


def test_the_queue_is_bounded_here():
    policy = CONFIG.dynamic_batching.default_queue_policy
    assert policy.max_queue_size > 0
    assert policy.default_timeout_microseconds > 0


def test_the_warm_up_picture_is_one():
    (warmup,) = CONFIG.model_warmup
    data = (FOLDER / "warmup" / warmup.inputs["IMAGE"].input_data_file).read_bytes()
    picture = prepare(data[4:])
    assert data == bytes_element(data[4:])
    assert (picture.width, picture.height) == (640, 480)
    assert picture.detail.std() > 20
