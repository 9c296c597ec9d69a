"""The client's side of the wire: pictures go out as they are, and responses are analyses or the documented error."""

import json
import struct

import numpy as np
import pytest
from fake_server import response, result
from hypothesis import given
from hypothesis import strategies as st

from trident.contract import ENSEMBLE, MODELS, DType
from trident.provenance import Provenance
from trident_client.errors import AnswerError
from trident_client.wire import analyze_request, provenance_request, read_analysis, read_provenance

TYPED = [spec for spec in MODELS[ENSEMBLE].outputs if spec.dtype is not DType.STRING]
REQUEST_IDS = st.text(max_size=20)


def whole_response(tensors):
    return response(analyze_request(b"picture", request_id="r1", tensors=tensors), result())


class TestRequest:
    @given(st.binary(max_size=2000), REQUEST_IDS, st.booleans())
    def test_the_picture_goes_out_as_it_is(self, picture, request_id, tensors):
        request = analyze_request(picture, request_id=request_id, tensors=tensors)
        again = type(request).FromString(request.SerializeToString())
        (content,) = again.raw_input_contents
        assert struct.unpack_from("<I", content)[0] == len(content) - 4 == len(picture)
        assert content[4:] == picture
        assert again.id == request_id
        (image,) = again.inputs
        assert (image.name, image.datatype, list(image.shape)) == ("IMAGE", "BYTES", [1, 1])
        assert len(again.outputs) == (len(MODELS[ENSEMBLE].outputs) if tensors else 1)

    @given(st.text(min_size=1, max_size=20))
    def test_a_sticky_key_goes_as_a_parameter(self, key):
        request = analyze_request(b"", request_id="", tensors=False, sticky=key)
        assert {name: value.string_param for name, value in request.parameters.items()} == {"sticky": key}


class TestResponse:
    @given(st.booleans(), st.permutations(range(len(TYPED) + 1)))
    def test_the_order_of_the_outputs_counts_for_nothing(self, tensors, order):
        message = whole_response(tensors)
        places = [place for place in order if place < len(message.outputs)]
        outputs, contents = list(message.outputs), list(message.raw_output_contents)
        del message.outputs[:], message.raw_output_contents[:]
        for place in places:
            message.outputs.add().CopyFrom(outputs[place])
            message.raw_output_contents.append(contents[place])
        read = read_analysis(message, request_id="r1", tensors=tensors)
        assert read.to_json() == result()

    @pytest.mark.parametrize("spec", TYPED, ids=lambda spec: spec.name)
    @given(data=st.data())
    def test_every_number_arrives(self, spec, data):
        kind = {DType.FP32: np.float32, DType.INT32: np.int32}[spec.dtype]
        seed = data.draw(st.integers(0, 2**32 - 1))
        sent = np.random.default_rng(seed).integers(-(2**31), 2**31, spec.dims).astype(kind)
        message = whole_response(tensors=True)
        place = next(place for place, output in enumerate(message.outputs) if output.name == spec.name)
        message.raw_output_contents[place] = sent.tobytes()
        read = read_analysis(message, request_id="r1", tensors=True)
        assert np.array_equal(getattr(read.tensors, spec.name.lower()), sent)

    @given(st.data())
    def test_a_response_with_a_flaw_is_read_or_refused(self, data):
        tensors = data.draw(st.booleans())
        message = whole_response(tensors)
        place = data.draw(st.integers(0, len(message.outputs) - 1))
        output = message.outputs[place]
        match data.draw(st.sampled_from(["name", "type", "shape", "content", "cut", "output gone", "content gone"])):
            case "name":
                output.name = data.draw(st.text(max_size=12))
            case "type":
                output.datatype = data.draw(st.sampled_from(["FP32", "INT32", "BYTES", "INT64", ""]))
            case "shape":
                output.shape[:] = data.draw(st.lists(st.integers(-1, 200), max_size=4))
            case "content":
                message.raw_output_contents[place] = data.draw(st.binary(max_size=60))
            case "cut":
                content = message.raw_output_contents[place]
                message.raw_output_contents[place] = content[: data.draw(st.integers(0, len(content)))]
            case "output gone":
                del message.outputs[place]
            case "content gone":
                del message.raw_output_contents[place]
        try:
            read = read_analysis(message, request_id="r1", tensors=tensors)
        except AnswerError as error:
            assert error.request_id == "r1"
        else:
            assert read.to_json() == result()

    @given(st.binary(max_size=40), st.integers(-5, 5))
    def test_a_text_whose_length_is_a_lie_is_refused(self, text, lie):
        message = whole_response(tensors=False)
        length = max(0, len(text) + lie)
        message.raw_output_contents[0] = struct.pack("<I", length) + text
        with pytest.raises(AnswerError) as caught:
            read_analysis(message, request_id="r1", tensors=False)
        assert ("length before it" in str(caught.value)) == (length != len(text))

    @given(st.integers(1, 99))
    def test_who_answered_is_what_the_network_says(self, version):
        request = provenance_request(MODELS["classifier"], version)
        read = read_provenance(response(request, json.dumps(result()).encode()))
        assert read == Provenance(version, "sha256:" + f"{version:02x}" * 32)
