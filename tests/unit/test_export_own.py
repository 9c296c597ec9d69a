"""The recipe for one's own network, tried with a tiny torch classifier and a tiny ONNX embedder."""

import json
import sys

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from export.own import add_version, main
from export.session import open_session
from tests.readme import ROOT, blocks, commands
from trident.contract import NUM_CLASSES, SCENE_SIDE, TOP_K
from trident.errors import SetupError
from trident.provenance import unpack


class TinyClassifier(torch.nn.Module):
    """A linear layer on the mean colour; UINT8 pixels in, the contract's answers out."""

    def __init__(self, *, probabilities_only=False):
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(3, NUM_CLASSES)
        self.probabilities_only = probabilities_only

    def forward(self, pixels):
        colour = pixels.float().mean(dim=(1, 2)) / 255
        probabilities = self.linear(colour).softmax(dim=1)
        if self.probabilities_only:
            return probabilities
        scores, classes = probabilities.topk(TOP_K, dim=1)
        return {"TOP_SCORES": scores, "TOP_CLASSES": classes.int(), "PROBABILITIES": probabilities}


def classifier():
    return TinyClassifier()


def incomplete():
    return TinyClassifier(probabilities_only=True)


class Failing(torch.nn.Module):
    def forward(self, pixels):
        raise KeyError("no such layer")


class Branching(TinyClassifier):
    """What it does depends on the pixels, which no graph can say."""

    def forward(self, pixels):
        if pixels.float().mean() > 1:
            return super().forward(pixels)
        return super().forward(pixels)


class Wordy(torch.nn.Module):
    def forward(self, pixels):
        return "cat"


def without_weights():
    raise FileNotFoundError("my_weights.pt")


def not_a_module():
    return "a string"


@pytest.fixture
def places(tmp_path):
    return {"repository": tmp_path / "models", "reports": tmp_path / "reports"}


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    # The test module itself is what MODULE:FUNCTION names.
    monkeypatch.setitem(sys.modules, "own_networks", sys.modules[__name__])


def embedder(path, output="EMBEDDING", pixel_type=onnx.TensorProto.UINT8, opset=17, fixed=False):
    """An ONNX file as someone else might write it: another operator set, and a batch fixed in the file."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", ["PIXELS"], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean" if fixed else output], axes=[1, 2], keepdims=0),
    ]
    if fixed:
        nodes.append(helper.make_node("Reshape", ["mean", "one_row"], [output]))
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("PIXELS", pixel_type, ["n", 224, 224, 3])],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [1 if fixed else "n", 3])],
        [onnx.numpy_helper.from_array(np.array([1, 3]), "one_row")] if fixed else [],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def test_a_torch_classifier_becomes_a_version(places, capfd, recwarn):
    path = add_version("classifier", 9, torch_source="own_networks:classifier", **places)
    assert path == places["repository"] / "classifier" / "9" / "model.onnx"
    pixels = np.random.default_rng(2).integers(0, 256, (3, SCENE_SIDE, SCENE_SIDE, 3), dtype=np.uint8)
    names = ["PROBABILITIES", "TOP_CLASSES", "TOP_SCORES", "PROVENANCE"]
    got = dict(zip(names, open_session(onnx.load(path)).run(names, {"PIXELS": pixels}), strict=True))
    with torch.inference_mode():
        expected = classifier()(torch.from_numpy(pixels))
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value.numpy(), rtol=1e-4)
    record = json.loads(path.with_name("model.json").read_text())
    assert record["own"] == {"torch": "own_networks:classifier"}
    assert unpack(got["PROVENANCE"][2]).to_json() == {"version": 9, "digest": record["digest"]}
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    report = json.loads((places["reports"] / "classifier-9.json").read_text())
    assert [tensor["name"] for tensor in report["tensors"]] == ["PROBABILITIES", "TOP_CLASSES", "TOP_SCORES"]


def test_an_onnx_file_becomes_a_version(tmp_path, places):
    path = add_version("face_embedder", 5, onnx_file=embedder(tmp_path / "mean.onnx"), name="Mean", **places)
    pixels = np.random.default_rng(2).integers(0, 256, (5, 224, 224, 3), dtype=np.uint8)
    embedding, provenance = open_session(onnx.load(path)).run(["EMBEDDING", "PROVENANCE"], {"PIXELS": pixels})
    np.testing.assert_allclose(embedding, pixels.mean(axis=(1, 2)), rtol=1e-4)
    assert unpack(provenance[4]).version == 5
    assert json.loads(path.with_name("model.json").read_text())["name"] == "Mean"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(("dog", 5, {}), r"component: expected one of .*, got 'dog'", id="component"),
        pytest.param(("classifier", 0, {}), "version: expected 1 or more, got 0", id="version"),
        pytest.param(
            ("classifier", 1, {}), "1 is one that the project exports; take 3", id="the project's own version"
        ),
        pytest.param(
            ("classifier", 9, {}),
            "expected either an ONNX file or a torch module, got both or neither",
            id="no network",
        ),
        pytest.param(
            ("classifier", 9, {"torch_source": "own_networks"}),
            "expected MODULE:FUNCTION, got 'own_networks'",
            id="no function",
        ),
        pytest.param(("classifier", 9, {"torch_source": "nowhere:x"}), "nowhere:x cannot be imported", id="no module"),
        pytest.param(
            ("classifier", 9, {"torch_source": "own_networks:not_a_module"}),
            "expected a torch.nn.Module, got str",
            id="not a module",
        ),
        pytest.param(
            ("classifier", 9, {"torch_source": "own_networks:without_weights"}),
            r"own_networks:without_weights failed: FileNotFoundError at test_export_own\.py, line \d+: my_weights\.pt",
            id="function raises",
        ),
        pytest.param(
            ("classifier", 9, {"torch_source": "own_networks:nothing"}),
            "own_networks:nothing cannot be imported: AttributeError: module .* has no attribute 'nothing'",
            id="function missing",
        ),
        pytest.param(
            ("classifier", 9, {"torch_source": "own_networks:Failing"}),
            r"Failing failed on two black pictures: KeyError at test_export_own\.py, line \d+: 'no such layer'",
            id="module raises",
        ),
        pytest.param(
            ("classifier", 9, {"torch_source": "own_networks:Wordy"}),
            "answers of the module: expected tensors, got str",
            id="module gives no tensors",
        ),
        pytest.param(
            ("classifier", 9, {"torch_source": "own_networks:Branching"}),
            "Branching cannot be exported: Could not guard on data-dependent expression",
            id="module cannot be traced",
        ),
        pytest.param(
            ("classifier", 9, {"torch_source": "own_networks:incomplete"}),
            r"expected 3 \(PROBABILITIES, TOP_CLASSES, TOP_SCORES\), got 1",
            id="answers missing",
        ),
        pytest.param(
            ("classifier", 9, {"torch_source": "own_networks:classifier", "adapter_name": "magic"}),
            "adapter: expected one of none, got 'magic'",
            id="adapter",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_leaves_nothing(places, capfd, arguments, sentence):
    component, version, options = arguments
    with pytest.raises(SetupError, match=sentence) as caught:
        add_version(component, version, **options, **places)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not places["repository"].exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(
            {"output": "features"}, "outputs of the face_embedder graph: expected EMBEDDING", id="output's name"
        ),
        pytest.param({"fixed": True}, "is the batch fixed inside the graph", id="batch fixed inside"),
        pytest.param({"output": "PROVENANCE"}, "PROVENANCE is added by the export", id="provenance already there"),
        pytest.param(
            {"pixel_type": onnx.TensorProto.FLOAT}, "dtype of PIXELS .*: expected UINT8, got FP32", id="pixels' dtype"
        ),
    ],
)
def test_an_onnx_file_that_breaks_the_contract_is_refused(tmp_path, places, change, sentence):
    with pytest.raises(SetupError, match=sentence):
        add_version("face_embedder", 5, onnx_file=embedder(tmp_path / "mean.onnx", **change), **places)
    assert not places["repository"].exists()


def test_a_file_that_is_no_onnx_is_refused(tmp_path, places):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(SetupError, match=r"net\.onnx: expected "):
        add_version("face_embedder", 5, onnx_file=path, **places)


def test_a_version_is_replaced_only_when_asked(tmp_path, places):
    file = embedder(tmp_path / "mean.onnx")
    path = add_version("face_embedder", 5, onnx_file=file, **places)
    with pytest.raises(SetupError, match="5 is there already; --replace replaces it"):
        add_version("face_embedder", 5, onnx_file=file, **places)
    assert add_version("face_embedder", 5, onnx_file=file, replace=True, **places) == path


def test_a_failed_replacement_keeps_the_older_one(tmp_path, places):
    path = add_version("face_embedder", 5, onnx_file=embedder(tmp_path / "mean.onnx"), **places)
    before = path.read_bytes()
    other = embedder(tmp_path / "other.onnx", fixed=True)
    with pytest.raises(SetupError, match=r"; the older model is kept$"):
        add_version("face_embedder", 5, onnx_file=other, replace=True, **places)
    assert path.read_bytes() == before


@pytest.mark.parametrize("record", [None, "not JSON", '{"name": "someone\'s"}'])
def test_a_model_of_unknown_origin_is_not_replaced(tmp_path, places, record):
    folder = places["repository"] / "face_embedder" / "5"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"someone's")
    if record is not None:
        (folder / "model.json").write_text(record)
    with pytest.raises(SetupError, match="5 was not brought in by this command, and is not replaced"):
        add_version("face_embedder", 5, onnx_file=embedder(tmp_path / "mean.onnx"), replace=True, **places)
    assert (folder / "model.onnx").read_bytes() == b"someone's"


def test_the_documents_recipe_works_as_it_stands(tmp_path, monkeypatch):
    document = ROOT / "export" / "README.md"
    (recipe,) = (block for block in blocks(document, "python") if block.startswith("# my_networks.py\n"))
    (tmp_path / "my_networks.py").write_text(recipe)
    (words,) = (words for words in commands(document) if "my_networks:classifier" in words)
    assert words[:3] == [".venv/bin/python", "-m", "export.own"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    outcome = CliRunner().invoke(main, [*words[3:], "--repository", "models"])
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.startswith("✓ classifier 3: ")

    folder = tmp_path / "models" / "classifier" / "3"
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.onnx"]
    tensors = json.loads((folder / "model.json").read_text())["parity"]["tensors"]
    assert [tensor["name"] for tensor in tensors] == ["PROBABILITIES", "TOP_CLASSES", "TOP_SCORES"]
    pixels = np.random.default_rng(2).integers(0, 256, (2, SCENE_SIDE, SCENE_SIDE, 3), dtype=np.uint8)
    (probabilities,) = open_session(folder / "model.onnx").run(["PROBABILITIES"], {"PIXELS": pixels})
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-4)


def test_the_command_says_what_is_wrong(tmp_path):
    path = embedder(tmp_path / "mean.onnx", output="features")
    outcome = CliRunner().invoke(
        main, ["face_embedder", "5", "--onnx", str(path), "--repository", str(tmp_path / "models")]
    )
    assert outcome.exit_code == 1
    assert isinstance(outcome.exception, SystemExit)
    assert "expected EMBEDDING" in outcome.output
