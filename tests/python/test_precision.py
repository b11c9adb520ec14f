# SPDX-License-Identifier: Apache-2.0
"""What narrow types cost: the reference rounded to them as the measure of others; half-precision inputs and outputs."""

import json

import numpy as np
import pytest

from golden import Golden
from program import VITRAIL, vitrail

pytestmark = pytest.mark.skipif(not VITRAIL.exists(), reason=f"{VITRAIL} is not built")

# model, case, output, relative L2 that float16 costs: the figure it was expected to cost
MODELS = [("cvt13", "224x224", "logits", 0.8e-3), ("mst_plus_plus", "64x72", "output", 1.7e-3)]


@pytest.fixture(scope="module", params=MODELS, ids=[m[0] for m in MODELS])
def case(request, tmp_path_factory):
    model, name, output, orientation = request.param
    folder = tmp_path_factory.mktemp(model)
    vitrail("zoo", "export", model, "-o", folder / "model.onnx")
    np.savez(folder / "input.npz", input=Golden(model).input(name))
    return folder, output, orientation


def rounding(folder, kind):
    vitrail(
        "compare", f"{kind}:{folder / 'model.onnx'}", "--inputs", folder / "input.npz", "--json", folder / "told.json"
    )
    return json.loads((folder / "told.json").read_text())["rounded_l2"]


def test_rounding_costs_what_was_expected(case):
    """Errors of one draw of roundings scatter by a fifth or so, and it matters where they are: within half as much."""
    folder, output, orientation = case
    f16 = rounding(folder, "fp16")[output]
    assert orientation / 1.5 <= f16 <= orientation * 1.5
    # As many bits; and three fewer.
    assert f16 / 1.5 <= rounding(folder, "tf32")[output] <= f16 * 1.5
    assert 8 * f16 / 1.5 <= rounding(folder, "bf16")[output] <= 8 * f16 * 1.5


def test_results_are_judged_by_what_rounding_costs(case):
    folder, output, _ = case
    model = folder / "model.onnx"
    shape = "x".join(map(str, np.load(folder / "input.npz")["input"].shape))
    vitrail(
        "build", model, "-o", folder / "plan.vitrail", "--shapes", f"input:{shape}", "--verify", "off", "--budget", 0
    )
    vitrail("run", folder / "plan.vitrail", "--inputs", folder / "input.npz", "--outputs", folder / "exact.npz")
    exact = np.load(folder / "exact.npz")[output].astype(np.float64)
    l2 = rounding(folder, "fp16")[output]
    noise = np.random.default_rng(1).standard_normal(exact.shape)
    noise *= np.linalg.norm(exact) / np.linalg.norm(noise)
    for times, code in (1.3, 0), (1.7, 8):
        np.savez(folder / "other.npz", **{output: (exact + times * l2 * noise).astype(np.float32)})
        said = vitrail(
            "compare", folder / "other.npz", f"fp16:{model}", model, "--inputs", folder / "input.npz", code=code
        )
        assert f"{times}" in said[said.index("rounding alone") - 30 :]
        assert ("PASSED" if code == 0 else "FAILED") in said


def test_half_inputs_and_outputs_are_for_gpus(case):
    folder, _, _ = case
    model, plan = folder / "model.onnx", folder / "half.vitrail"
    shape = "x".join(map(str, np.load(folder / "input.npz")["input"].shape))
    build = ["build", model, "-o", plan, "--shapes", f"input:{shape}"]
    assert "takes and gives float32" in vitrail(*build, "--io", "fp16", code=4)
    for io in "int8:chw", "fp16:hwc8", "fp16:chw,fp32:chw":
        assert "fp16:chw" in vitrail(*build, "--inputIOFormats", io, code=4)
    assert not plan.exists()
