"""Requests that break the protocol, that are far too large, and those that look odd and are not.

Everything is made by code, when it is asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tritonclient.grpc import service_pb2

from trident.contract import ENSEMBLE, STICKY

Around = Callable[[bytes], Any]
"""Makes a ``ModelInferRequest`` around a good picture."""

MANY = 100_000
LONG = 1 << 20
LARGEST = 300 << 20
"""Bytes of a message. gRPC's own limit, 2 GiB, is more than a test should take."""


@dataclass(frozen=True, slots=True)
class BadRequest:
    """A request that is refused; code and a part of the message."""

    make: Around
    code: str
    says: str


def request(picture: bytes, **changes: Any) -> Any:
    """A good ``ModelInferRequest``, changed.

    Args:
        picture: An encoded picture.
        changes: ``model``, ``version``; ``name``, ``datatype``, ``shape`` of the one input; ``raw``, the list of its
            contents; ``outputs``, names; ``parameters``, types and values by name; ``id``.
    """
    made = service_pb2.ModelInferRequest(
        model_name=changes.get("model", ENSEMBLE), model_version=changes.get("version", ""), id=changes.get("id", "")
    )
    made.inputs.add(
        name=changes.get("name", "IMAGE"),
        datatype=changes.get("datatype", "BYTES"),
        shape=changes.get("shape", [1, 1]),
    )
    made.raw_input_contents.extend(changes.get("raw", [element(picture)]))
    for name in changes.get("outputs", ["RESULT"]):
        made.outputs.add(name=name)
    _set(made.parameters, changes.get("parameters", {}))
    return made


def _set(parameters: Any, values: Mapping[str, tuple[str, object]]) -> None:
    for name, (kind, value) in values.items():
        setattr(parameters[name], f"{kind}_param", value)


def element(data: bytes) -> bytes:
    """One element of a BYTES tensor on the wire."""
    return struct.pack("<I", len(data)) + data


def _without_input(picture: bytes) -> Any:
    made = request(picture)
    del made.inputs[:], made.raw_input_contents[:]
    return made


def _input_twice(picture: bytes) -> Any:
    made = request(picture, raw=[element(picture)] * 2)
    made.inputs.add().CopyFrom(made.inputs[0])
    return made


def _spare_inputs(picture: bytes, count: int = 1) -> Any:
    made = request(picture, raw=[element(picture), *[element(b"")] * count])
    for number in range(count):
        made.inputs.add(name=f"OTHER{number}", datatype="BYTES", shape=[1, 1])
    return made


def _both_kinds_of_contents(picture: bytes) -> Any:
    made = request(picture)
    made.inputs[0].contents.bytes_contents.append(picture)
    return made


def _shared(picture: bytes, where: str, **values: tuple[str, object]) -> Any:
    """Says of the input or the output that it is in shared memory."""
    made = request(picture, raw=[] if where == "inputs" else [element(picture)])
    _set(getattr(made, where)[0].parameters, {f"shared_memory_{name}": value for name, value in values.items()})
    return made


def _with_output_parameters(picture: bytes, **values: tuple[str, object]) -> Any:
    made = request(picture)
    _set(made.outputs[0].parameters, values)
    return made


def _with_input_parameters(picture: bytes, **values: tuple[str, object]) -> Any:
    made = request(picture)
    _set(made.inputs[0].parameters, values)
    return made


def _with_unset_parameter(picture: bytes) -> Any:
    made = request(picture)
    made.parameters["anything"].SetInParent()
    return made


def _parameters(**values: tuple[str, object]) -> Around:
    return partial(request, parameters=values)


_INVALID, _NOT_FOUND, _EXHAUSTED = "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"
_RESERVED = "parameter keys starting with 'triton_' are reserved for Triton usage"

BAD_REQUESTS: Mapping[str, BadRequest] = {
    "wrong dtype": BadRequest(
        partial(request, datatype="UINT8", raw=[b"\0"]),
        _INVALID,
        "'IMAGE' data-type is 'UINT8', but model 'trident' expects 'BYTES'",
    ),
    # Does not help much: what was sent is not repeated.
    "unknown dtype": BadRequest(
        partial(request, datatype="PICTURE"), _INVALID, "data-type is '<invalid>', but model 'trident' expects 'BYTES'"
    ),
    "no batch dimension": BadRequest(partial(request, shape=[1]), _INVALID, "Expected [-1,1], got [1]."),
    "too many dimensions": BadRequest(partial(request, shape=[1, 1, 1]), _INVALID, "Expected [-1,1], got [1,1,1]."),
    "no dimensions": BadRequest(
        partial(request, shape=[]), _INVALID, "'IMAGE' has no shape but model requires batch dimension"
    ),
    "two elements where one is told": BadRequest(
        lambda p: request(p, raw=[element(p) * 2]),
        _INVALID,
        "unexpected number of string elements 2 for inference input 'IMAGE'",
    ),
    "one element where two are told": BadRequest(
        partial(request, shape=[2, 1]), _INVALID, "expected 2 string elements for inference input 'IMAGE'"
    ),
    # Does not help: of a batch of 0, no element is what one expects.
    "empty batch": BadRequest(
        partial(request, shape=[0, 1], raw=[b""]),
        _INVALID,
        "expected 1 string elements for inference input 'IMAGE' for model 'trident', got 0",
    ),
    "batch of 9": BadRequest(
        lambda p: request(p, shape=[9, 1], raw=[element(p) * 9]), _INVALID, "batch-size must be <= 8 for 'trident'"
    ),
    # Does not help: Triton counts the batch modulo 2^32.
    "negative batch": BadRequest(partial(request, shape=[-1, 1]), _INVALID, "expected 4294967295 string elements"),
    "negative dimension": BadRequest(
        partial(request, shape=[1, -1]),
        _INVALID,
        "All input dimensions should be specified for input 'IMAGE' for model 'trident', got [1,-1]",
    ),
    "enormous dimensions": BadRequest(
        partial(request, shape=[1 << 40, 1 << 40]), _INVALID, "Expected [-1,1], got [1099511627776,1099511627776]."
    ),
    # Helps half: which name was expected is not said. The same holds of an unknown output.
    "wrong name": BadRequest(
        partial(request, name="PHOTO"), _INVALID, "unexpected inference input 'PHOTO' for model 'trident'"
    ),
    "no input": BadRequest(_without_input, _INVALID, "missing required input(s) ['IMAGE']"),
    "an input twice": BadRequest(_input_twice, _INVALID, "input 'IMAGE' already exists in request"),
    # Goes on with the inputs that are missing, of which there are none; what was given is right.
    "an input too many": BadRequest(
        _spare_inputs, _INVALID, "expected 1 inputs but got 2 inputs for model 'trident'. Got input(s) ['"
    ),
    "no contents": BadRequest(partial(request, raw=[]), _INVALID, "unable to find data for input tensor 'IMAGE'"),
    "contents twice": BadRequest(
        _both_kinds_of_contents,
        _INVALID,
        "contents field must not be specified when using raw_input_contents for 'IMAGE'",
    ),
    "a length past the end": BadRequest(
        partial(request, raw=[struct.pack("<I", 1 << 30) + b"x"]),
        _INVALID,
        "expecting string of length 1073741824 but only 1 bytes available",
    ),
    "half a length": BadRequest(
        partial(request, raw=[b"\1\0"]), _INVALID, "expecting 4 bytes but only 2 bytes available"
    ),
    "unknown model": BadRequest(partial(request, model="tridnet"), _NOT_FOUND, "unknown model: 'tridnet' is not found"),
    "no model": BadRequest(partial(request, model=""), _NOT_FOUND, "unknown model: '' is not found"),
    "unknown version": BadRequest(partial(request, version="77"), _NOT_FOUND, "'trident' version 77 is not found"),
    "a version that is no number": BadRequest(
        partial(request, version="latest"),
        _INVALID,
        "'latest' (details: stol), version should be an integral value > 0",
    ),
    "unknown output": BadRequest(
        partial(request, outputs=["ANSWER"]), _INVALID, "unexpected inference output 'ANSWER' for model 'trident'"
    ),
    **{
        f"shared memory that is not there, for {where}": BadRequest(
            partial(_shared, where=where, region=("string", "somebody's"), byte_size=("int64", 64)),
            _NOT_FOUND,
            "Unable to find shared memory region: 'somebody's'",
        )
        for where in ("inputs", "outputs")
    },
    "shared memory without a size": BadRequest(
        partial(_shared, where="inputs", region=("string", "somebody's")),
        _INVALID,
        "'shared_memory_byte_size' must be specified along with 'shared_memory_region'",
    ),
    "shared memory without a name": BadRequest(
        partial(_shared, where="inputs", byte_size=("int64", 64)),
        _INVALID,
        "'shared_memory_byte_size' can not be specified without 'shared_memory_region'",
    ),
    "shared memory whose name is a number": BadRequest(
        partial(_shared, where="inputs", region=("int64", 7), byte_size=("int64", 64)),
        _INVALID,
        "'shared_memory_region' parameter for tensor 'IMAGE', expected string_param",
    ),
    **{
        f"reserved parameter {name}, a {kind}": BadRequest(
            _parameters(**{name: (kind, value)}), _INVALID, f"'{name}' parameter, expected {expected}_param"
        )
        for name, kind, value, expected in (
            ("sequence_id", "bool", True, "int64_param or string"),
            ("sequence_start", "int64", 1, "bool"),
            ("sequence_end", "string", "true", "bool"),
            ("priority", "bool", True, "int64_param or uint64"),
            ("timeout", "bool", True, "int64"),
            ("timeout", "string", "1s", "int64"),
            ("triton_enable_empty_final_response", "int64", 1, "bool"),
        )
    },
    "a priority below 0": BadRequest(
        _parameters(priority=("int64", -1)), _INVALID, "invalid value for 'priority', expected value >= 0"
    ),
    **{
        f"reserved parameter {name}": BadRequest(_parameters(**{name: ("bool", True)}), _INVALID, _RESERVED)
        for name in ("triton_", "triton_final_response", "triton_anything")
    },
    # 0 is refused with the same words, which are then wrong.
    **{
        f"{count} classes": BadRequest(
            partial(_with_output_parameters, classification=("int64", count)),
            _INVALID,
            "invalid value for 'classification' parameter, expected >= 0",
        )
        for count in (-3, 0)
    },
    "classes, a text": BadRequest(
        partial(_with_output_parameters, classification=("string", "3")),
        _INVALID,
        "invalid value type for 'classification' parameter, expected int64_param",
    ),
    "a parameter without a value": BadRequest(
        _with_unset_parameter, _INVALID, "'anything' parameter, expected int64_param, bool_param, or string_param"
    ),
}
"""Each has to be answered with its code."""

_TOO_LONG_TO_TELL = "metadata size exceeds"
"""Triton's sentence repeats what was sent, however long it is, and gRPC's clients take 16 KiB of one at most: they are
told neither its code nor what is wrong. Who sends names of a megabyte is not helped."""

GIGANTIC: Mapping[str, BadRequest] = {
    "an element of 300 MiB": BadRequest(
        lambda p: request(p, raw=[element(p + bytes(LARGEST - len(p)))]),
        _INVALID,
        "IMAGE: expected at most 64 MiB, got 300.0 MiB",
    ),
    # Triton 2.51 takes the square of their number, several seconds for 100,000.
    "20,000 inputs": BadRequest(partial(_spare_inputs, count=MANY // 5), _EXHAUSTED, _TOO_LONG_TO_TELL),
    "100,000 dimensions": BadRequest(partial(request, shape=[1] * MANY), _EXHAUSTED, _TOO_LONG_TO_TELL),
    "100,000 unknown outputs": BadRequest(
        partial(request, outputs=[f"O{number}" for number in range(MANY)]), _INVALID, "inference output 'O0'"
    ),
    "batch of 100,000": BadRequest(
        lambda p: request(p, shape=[MANY, 1], raw=[element(b"") * MANY]), _INVALID, "batch-size must be <= 8"
    ),
    "a dtype of 1 MiB": BadRequest(partial(request, datatype="B" * LONG), _INVALID, "data-type is '<invalid>'"),
    "a reserved parameter of 1 MiB": BadRequest(
        _parameters(**{"triton_" + "x" * LONG: ("bool", True)}), _INVALID, _RESERVED
    ),
    **{
        f"{name} of 1 MiB": BadRequest(make, _EXHAUSTED, _TOO_LONG_TO_TELL)
        for name, make in {
            "an input's name": partial(request, name="I" * LONG),
            "an output's name": partial(request, outputs=["O" * LONG]),
            "a model's name": partial(request, model="m" * LONG),
            "a version": partial(request, version="7" * LONG),
        }.items()
    },
}
"""Each has to be answered with its code, the first of them after it has all been read."""

WITHOUT_EFFECT: Mapping[str, Around] = {
    **{
        f"{name} {value!r}": _parameters(**{name: (kind, value)})
        for name, kind, value in (
            ("sequence_id", "int64", 5),
            ("sequence_id", "string", "somebody's"),
            ("sequence_start", "bool", True),
            ("sequence_end", "bool", True),
            ("priority", "int64", 1),
            ("priority", "uint64", (1 << 64) - 1),
            ("timeout", "int64", 30_000_000),
            ("timeout", "int64", 0),
            ("timeout", "int64", -1),
            ("timeout", "int64", (1 << 63) - 1),
            ("triton_enable_empty_final_response", "bool", True),
            (STICKY, "string", "somebody"),
            (STICKY, "bool", True),
            ("anything", "double", 0.5),
            ("", "string", "of no name"),
        )
    },
    "a whole sequence": _parameters(
        sequence_id=("int64", 5), sequence_start=("bool", True), sequence_end=("bool", True)
    ),
    "an unknown parameter of the input": partial(_with_input_parameters, anything=("string", "x")),
    "an unknown parameter of the output": partial(_with_output_parameters, anything=("string", "x")),
    "HTTP's parameter of an output": partial(_with_output_parameters, binary_data=("bool", False)),
    "an output named twice": partial(request, outputs=["RESULT", "RESULT"]),
    "no outputs, which means all": partial(request, outputs=[]),
    "an output named 100,000 times": partial(request, outputs=["RESULT"] * MANY),
    "100,000 contents of no input": lambda p: request(p, raw=[element(p), *[b""] * MANY]),
    "100,000 parameters": partial(request, parameters={f"p{number}": ("int64", number) for number in range(MANY)}),
    "an id of 1 MiB": partial(request, id="i" * LONG),
    "a parameter of 1 MiB": _parameters(anything=("string", "x" * LONG)),
    "a parameter's name of 1 MiB": _parameters(**{"x" * LONG: ("string", "x")}),
}
"""Each has to be answered as if it were not so odd."""

CLASSES_OF_A_TEXT = BadRequest(
    partial(_with_output_parameters, classification=("int64", 3)),
    _INVALID,
    "class result not available for output due to unsupported type 'BYTES'",
)
"""Asks for the best classes of an output that holds texts. What newer releases of Triton say of it; 2.51 ends."""
