"""The PyTorch twins against the golden outputs of the official code."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the twins need PyTorch")
pytest.importorskip("einops", reason="the twins need einops")

from golden import MODELS, Golden
from twins.build import OUTPUT_NAMES, build, golden_taps, run

SLOW = {("cvt_w24", "384x384"), ("mst_plus_plus", "512x482")}
CASES = [
    pytest.param(model, case, marks=[pytest.mark.slow] if (model, case) in SLOW else [], id=f"{model}-{case}")
    for model in MODELS
    for case in Golden(model).cases
]


@pytest.mark.parametrize("model", [m for m in MODELS if m != "cvt_w24"])
def test_state_dict_is_the_official_one(model):
    golden, twin = Golden(model), build(model)
    actual = [(name, tuple(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in twin.state_dict().items()]
    assert actual == golden.state_dict_spec
    assert sum(parameter.numel() for parameter in twin.parameters()) == golden.spec["parameters"]


@pytest.mark.parametrize(("model", "case"), CASES)
def test_outputs_and_intermediate_tensors(model, case):
    golden, twin = Golden(model), build(model)
    taps = golden_taps(twin)
    output, tensors = run(twin, golden.input(case), taps)
    tensors[OUTPUT_NAMES[model]] = output
    assert tensors.keys() == set(golden.tensor_names(case))
    for name, values in tensors.items():
        tolerance = golden.tolerance(case, name)
        assert golden.max_difference(case, name, values) <= tolerance, name
        assert golden.digest_difference(case, name, values) <= tolerance, name


@pytest.mark.parametrize("model", ["cvt13", "cvt21", "cvt13_384"])
def test_batch_of_two(model):
    golden = Golden(model)
    (case,) = golden.cases
    output, _ = run(build(model), golden.input(case, batch=2))
    expected = golden.arrays(case)["logits_b2"]
    assert output.shape == expected.shape
    assert np.abs(output - expected).max() <= golden.tolerance(case, "logits")


def test_mst_plus_plus_images_of_a_batch_do_not_mix():
    golden, twin = Golden("mst_plus_plus"), build("mst_plus_plus")
    images = golden.input("60x62", batch=2)
    together, _ = run(twin, images)
    alone, _ = run(twin, images[1:])
    assert np.abs(together[1:] - alone).max() <= golden.tolerance("60x62", "output")
