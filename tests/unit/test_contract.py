import pytest

from trident import contract
from trident.contract import MODELS


def test_every_network_says_which_version_answered():
    for name in contract.NETWORKS:
        assert MODELS[name].output("PROVENANCE") == contract.PROVENANCE


def test_names_within_a_model_are_unique():
    for spec in MODELS.values():
        for tensors in (spec.inputs, spec.outputs):
            names = [tensor.name for tensor in tensors]
            assert len(names) == len(set(names)), spec.name


def test_an_unknown_tensor_is_named_with_those_there_are():
    with pytest.raises(KeyError, match=r"no tensor 'IMAGES'; there are IMAGE"):
        MODELS["trident"].input("IMAGES")


def test_the_callers_tensors_are_those_promised():
    """The names, dtypes and dims that callers rely on: a change here breaks them."""
    ensemble = MODELS[contract.ENSEMBLE]
    assert [(t.name, t.dtype.value, t.dims) for t in ensemble.inputs] == [("IMAGE", "STRING", (1,))]
    promised = {
        "RESULT": ("STRING", (1,)),
        "CLASS_PROBABILITIES": ("FP32", (1000,)),
        "BOXES": ("FP32", (100, 4)),
        "BOX_SCORES": ("FP32", (100,)),
        "BOX_CLASSES": ("INT32", (100,)),
        "NUM_BOXES": ("INT32", (1,)),
    }
    offered = {t.name: (t.dtype.value, t.dims) for t in ensemble.outputs}
    assert promised.items() <= offered.items()
    assert contract.MAX_BATCH_SIZE >= 8
