"""From a network version to a model file: written, checked, up to date, or not there at all."""

import dataclasses
import hashlib
import json

import numpy as np
import onnx
import pytest

from export import build as building
from export.build import RECORD_FILE, Outcome, export
from export.graph import Graph
from export.parity import check
from export.session import open_session
from export.signature import check_signature, with_provenance
from export.sources import Decoding, NetworkVersion
from trident.errors import SetupError
from trident.layout import MODEL_FILE
from trident.provenance import unpack

CHANNELS = 3


def mean_colour(files, *, across_batch=False, square_root_of=None, largest_batch=None, fixed_batch=False):
    """The mean colour as an embedding."""
    graph = Graph("face_embedder")
    planes = graph.planes()
    if square_root_of is not None:
        planes = graph.node(
            "Sqrt", [graph.node("Sub", [planes, graph.floats("shift", square_root_of)], "shifted")], "roots"
        )
    if largest_batch is not None:
        # Not a number in larger batches alone.
        batch = graph.node("Cast", [graph.node("Shape", [planes], "dims", end=1)], "batch", to=onnx.TensorProto.FLOAT)
        room = graph.node("Sub", [graph.floats("largest_batch", largest_batch), batch], "room")
        root = graph.node("Sqrt", [room], "root")
        planes = graph.node("Add", [planes, graph.node("Sub", [root, root], "nothing")], "planes_again")
    if fixed_batch:
        planes = graph.node("Reshape", [planes, graph.integers("fixed", [1, 3, 224, 224])], "planes_fixed")
    if across_batch:
        mean = graph.node("ReduceMean", [planes, graph.integers("batch_axis", [0])], "mean_picture", keepdims=1)
        planes = graph.node("Sub", [planes, mean], "centred")
    pooled = graph.node("GlobalAveragePool", [planes], "pooled")
    graph.node("Flatten", [pooled], "EMBEDDING")
    return graph.finish(dims={"EMBEDDING": (CHANNELS,)})


def reference(error=0.0):
    def answer(pixels):
        mean = pixels.astype(np.float64).mean(axis=(1, 2)).astype(np.float32)
        return {"EMBEDDING": mean + error, "pooled": mean[:, :, None, None]}

    return lambda files: answer


@pytest.fixture
def network() -> NetworkVersion:
    return NetworkVersion(
        component="face_embedder",
        version=7,
        name="Mean colour",
        assets=(),
        licence="Apache-2.0",
        repository="https://example.org/mean",
        preprocessing="none",
        classes="",
        build=mean_colour,
        reference=reference(),
    )


@pytest.fixture
def places(tmp_path):
    return {"repository": tmp_path / "models", "reports": tmp_path / "reports"}


def written(places):
    return sorted(str(path.relative_to(places["repository"])) for path in places["repository"].rglob("*"))


def contents(places):
    return {path: path.read_bytes() for place in places.values() for path in place.rglob("*") if path.is_file()}


def test_the_model_says_who_answers(network, places):
    assert export(network, **places) is Outcome.BUILT
    path = places["repository"] / "face_embedder" / "7" / MODEL_FILE
    model = onnx.load(path)
    check_signature(model, "face_embedder")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    embedding, provenance = open_session(model).run(["EMBEDDING", "PROVENANCE"], {"PIXELS": pixels})
    np.testing.assert_allclose(embedding, pixels.mean(axis=(1, 2)), rtol=1e-4)
    record = json.loads(path.with_name(RECORD_FILE).read_text())
    assert provenance.shape == (3, 36)
    for row in provenance:
        assert unpack(row).to_json() == {"version": 7, "digest": record["digest"]}
    bare = mean_colour({}).SerializeToString(deterministic=True)
    assert record["digest"] == f"sha256:{hashlib.sha256(bare).hexdigest()}"
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["name"] == "Mean colour"


def test_the_report_holds_every_tensor(network, places):
    export(network, **places)
    report = json.loads((places["reports"] / "face_embedder-7.json").read_text())
    assert [tensor["name"] for tensor in report["tensors"]] == ["EMBEDDING", "pooled"]
    assert report["photos"] >= 4
    assert report["noise"] >= 1
    assert all(0 <= tensor["absolute_error"] < 0.01 for tensor in report["tensors"])
    table = (places["reports"] / "parity.md").read_text()
    assert "| face_embedder 7: Mean colour | `EMBEDDING` |" in table


def test_a_second_run_builds_nothing(network, places):
    export(network, **places)

    def never(files):
        raise AssertionError("built again")

    again = dataclasses.replace(network, build=never)
    assert export(again, **places) is Outcome.UP_TO_DATE
    with pytest.raises(AssertionError, match="built again"):
        export(again, force=True, **places)


def test_a_changed_model_file_is_built_again(network, places):
    export(network, **places)
    path = places["repository"] / "face_embedder" / "7" / MODEL_FILE
    right = path.read_bytes()
    path.write_bytes(right[:-1])
    assert export(network, **places) is Outcome.BUILT
    assert path.read_bytes() == right


def test_what_was_never_compared_is_compared_when_asked(network, places):
    assert export(network, parity=False, **places) is Outcome.BUILT
    assert not places["reports"].exists()
    assert export(network, parity=False, **places) is Outcome.UP_TO_DATE
    assert export(network, **places) is Outcome.BUILT
    assert export(network, parity=False, **places) is Outcome.UP_TO_DATE


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(
            {"reference": reference(error=5.0)},
            r"parity of face_embedder 7 \(Mean colour\): EMBEDDING differs from the source network by 5, expected",
            id="another answer",
        ),
        pytest.param(
            {"reference": reference(error=np.nan)},
            "the source network's EMBEDDING holds values that are not finite numbers",
            id="source gives not-a-number",
        ),
        pytest.param(
            {"build": lambda files: mean_colour(files, square_root_of=100.0)},
            "EMBEDDING holds values that are not finite numbers",
            id="graph gives not-a-number",
        ),
        pytest.param(
            {"build": lambda files: mean_colour(files, largest_batch=1.5)},
            "a batch of 4: EMBEDDING holds values that are not finite numbers",
            id="only batches give not-a-number",
        ),
        pytest.param(
            {"build": lambda files: mean_colour(files, fixed_batch=True)},
            r"onnxruntime cannot run a batch of 4; is the batch fixed inside the graph\? .* requested shape:\{1,3,",
            id="batch fixed inside the graph",
        ),
        pytest.param(
            {"build": lambda files: Graph("face_embedder").finish()},
            r"face_embedder 7 \(Mean colour\) cannot be built: .*EMBEDDING",
            id="graph cannot be built",
        ),
        pytest.param(
            {"decoding": Decoding(("pooled",), lambda source, graph: {"EMBEDDING": graph["pooled"][:, :, 0, 0] + 9})},
            "EMBEDDING differs from the source network by 9, expected",
            id="another decoding",
        ),
        pytest.param(
            {
                "build": lambda files: mean_colour(files, across_batch=True),
                "reference": lambda files: lambda pixels: {},
            },
            "EMBEDDING of a batch of 4 differs from single pictures by",
            id="pictures of a batch touch each other",
        ),
        pytest.param(
            {"reference": lambda files: lambda pixels: {"EMBEDDING": np.zeros((len(pixels), 5), np.float32)}},
            r"dims of EMBEDDING: expected \(6, 5\), got \(6, 3\)",
            id="other dims",
        ),
    ],
)
def test_a_failed_check_writes_nothing_and_keeps_an_older_model(network, places, change, sentence):
    changed = dataclasses.replace(network, **change)
    with pytest.raises(SetupError, match=sentence) as caught:
        export(changed, force=True, **places)
    assert "\n" not in str(caught.value)
    assert "older model" not in str(caught.value)
    assert not places["repository"].exists()
    assert not places["reports"].exists()

    export(network, **places)
    before = contents(places)
    with pytest.raises(SetupError, match=sentence + r".*; the older model is kept$"):
        export(changed, force=True, **places)
    assert contents(places) == before


def test_no_model_is_without_its_record(network, places, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(building, "write_text", full)
    with pytest.raises(OSError, match="no space left"):
        export(network, **places)
    assert written(places) == ["face_embedder", "face_embedder/7"]


def test_reports_are_of_the_projects_own_repository(tmp_path, network):
    assert building.reports_of(building.DEFAULT_REPOSITORY) == building.REPORTS
    assert building.reports_of(tmp_path) is None
    export(network, repository=tmp_path / "models")
    record = json.loads((tmp_path / "models" / "face_embedder" / "7" / RECORD_FILE).read_text())
    assert [tensor["name"] for tensor in record["parity"]["tensors"]] == ["EMBEDDING", "pooled"]
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


@pytest.mark.parametrize("error", [0.0, 0.5])
def test_a_decoding_is_of_the_source_and_of_what_the_graph_chose(error):
    seen = {}

    def expected(source, graph):
        seen.update(source=set(source), graph=set(graph))
        return {"pooled": source["EMBEDDING"][:, :, None, None] + error}

    arguments = {"component": "face_embedder", "version": 7, "network": "Mean", "tolerance": 1e-3}
    reference_of = {"reference": lambda pixels: {"EMBEDDING": pixels.mean(axis=(1, 2))}}
    model = mean_colour({})
    if error:
        with pytest.raises(SetupError, match=r"pooled differs from the source network by 0\.5"):
            check(model, **arguments, **reference_of, decoding=Decoding(("pooled",), expected))
    else:
        report = check(model, **arguments, **reference_of, decoding=Decoding(("pooled",), expected))
        assert [tensor.name for tensor in report.tensors] == ["EMBEDDING", "pooled"]
    assert seen == {"source": {"EMBEDDING"}, "graph": {"EMBEDDING", "pooled"}}


def test_a_failed_download_leaves_an_older_model_alone(network, places, monkeypatch):
    export(network, **places)
    before = contents(places)

    def fails(*_, **__):
        raise SetupError("could not download")

    monkeypatch.setattr(building, "fetch", fails)
    with pytest.raises(SetupError, match="could not download"):
        export(network, force=True, **places)
    assert contents(places) == before


def test_the_recipe_is_of_what_decides_the_result(network):
    recipe = building.recipe_of(network)
    assert building.recipe_of(dataclasses.replace(network)) == recipe
    assert building.recipe_of(dataclasses.replace(network, component="detector")) != recipe


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_the_recipe_is_of_the_libraries_too(network, monkeypatch, library):
    recipe = building.recipe_of(network)
    monkeypatch.setattr(getattr(building, library), "__version__", "0.0")
    assert building.recipe_of(network) != recipe


# The signature


def changed(**changes):
    model = mean_colour({})
    whole, _ = with_provenance(model, 1)
    output = next(value for value in whole.graph.output if value.name == "EMBEDDING")
    for field, value in changes.items():
        if field == "name":
            output.name = value
        elif field == "dtype":
            output.type.tensor_type.elem_type = value
        else:
            del output.type.tensor_type.shape.dim[:]
            for dim in value:
                output.type.tensor_type.shape.dim.add(
                    **({"dim_param": dim} if isinstance(dim, str) else {"dim_value": dim})
                )
    return whole


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param(
            {"name": "features"},
            "outputs of the face_embedder graph: expected EMBEDDING, PROVENANCE, got features, PROVENANCE",
            id="name",
        ),
        pytest.param(
            {"dtype": onnx.TensorProto.FLOAT16},
            "dtype of EMBEDDING of the face_embedder graph: expected FP32, got FLOAT16",
            id="dtype",
        ),
        pytest.param(
            {"dims": (1, 3)},
            "dims of EMBEDDING of the face_embedder graph: expected [-1, -1], got [1, 3] (-1 is open)",
            id="fixed batch",
        ),
        pytest.param(
            {"dims": ("batch", 3, 1)},
            "dims of EMBEDDING of the face_embedder graph: expected [-1, -1], got [-1, 3, 1] (-1 is open)",
            id="rank",
        ),
    ],
)
def test_another_signature_is_named(changes, sentence):
    with pytest.raises(SetupError) as caught:
        check_signature(changed(**changes), "face_embedder")
    assert str(caught.value) == sentence
