# SPDX-License-Identifier: Apache-2.0
"""The program `vitrail` from end to end: zoo, build, run, compare, inspect, bench, and how it fails."""

import json
import shutil

import numpy as np
import pytest

from golden import CVT_MODELS, Golden
from program import VITRAIL, run, vitrail

pytestmark = pytest.mark.skipif(not VITRAIL.exists(), reason=f"{VITRAIL} is not built")

LEVELS = ("baseline", "avx2", "avx512")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Models and plans that several tests share."""
    return tmp_path_factory.mktemp("program")


@pytest.fixture(scope="session")
def cvt13(folder):
    """(model, plan) of CvT-13 for batches of 1 to 4."""
    model, plan = folder / "cvt13.onnx", folder / "cvt13.vitrail"
    vitrail("zoo", "export", "cvt13", "-o", model)
    vitrail("build", model, "-o", plan, "--shapes", "input:1..1..4x3x224x224")
    return model, plan


def outputs(plan, image, folder, **how):
    """Outputs of a plan or model for one input, by name."""
    inputs, results = folder / "in.npz", folder / "out.npz"
    np.savez(inputs, input=image)
    shape = "input:" + "x".join(map(str, image.shape))
    arguments = [] if str(plan).endswith(".vitrail") else ["--shapes", shape]
    vitrail("run", plan, "--inputs", inputs, "--outputs", results, *arguments, **how)
    with np.load(results) as stored:
        return {name: stored[name] for name in stored.files}


@pytest.mark.parametrize("level", LEVELS)
def test_cvt13_golden_at_every_level(cvt13, folder, level):
    golden = Golden("cvt13")
    got = outputs(cvt13[1], golden.input("224x224"), folder, level=level)["logits"]
    assert golden.max_difference("224x224", "logits", got) <= golden.tolerance("224x224", "logits")
    error = np.abs(got.ravel() - golden.arrays("224x224")["logits"].ravel())
    assert error.mean() <= 1e-6
    assert np.median(error) <= 8.4e-7


def test_cvt13_golden_of_a_batch_of_two(cvt13, folder):
    golden = Golden("cvt13")
    got = outputs(cvt13[1], golden.input("224x224", batch=2), folder)["logits"]
    difference = np.abs(got - golden.arrays("224x224")["logits_b2"]).max()
    assert difference <= golden.tolerance("224x224", "logits")


@pytest.mark.parametrize("model", [pytest.param(name, marks=pytest.mark.slow) for name in CVT_MODELS[1:]])
def test_other_cvt_goldens_at_every_level(model, folder):
    golden = Golden(model)
    case = next(iter(golden.cases))
    onnx = folder / f"{model}.onnx"
    vitrail("zoo", "export", model, "--batch", 1, "-o", onnx)
    for level in LEVELS:
        got = outputs(onnx, golden.input(case), folder, level=level)["logits"]
        assert golden.max_difference(case, "logits", got) <= golden.tolerance(case, "logits"), level
    onnx.unlink()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", ["64x72", "60x62", pytest.param("512x482", marks=pytest.mark.slow)])
def test_mst_plus_plus_golden_of_one_dynamic_plan(folder, case, level):
    model, plan = folder / "mst.onnx", folder / "mst.vitrail"
    if not plan.exists():
        vitrail("zoo", "export", "mst_plus_plus", "-o", model)
        shapes = ["--shapes", "input:1x3x40..64..512x40..72..512"]
        # Untuned: the forms that time chooses are another matter.
        account = vitrail("build", model, "-o", folder / "first.vitrail", *shapes, "--budget", 0, "--verify", "off")
        vitrail("build", model, "-o", plan, *shapes)
        counts = {
            line.split()[1]: int(line.split()[0])
            for line in account.splitlines()
            if len(line.split()) == 2 and line.split()[0].isdigit()
        }
        # Nothing of the blocks is left beside their fusions; the products merge the decoder's halves.
        blocks = {
            family: counts.get(family, 0)
            for family in ("inverted", "positional", "gram", "depthwise", "layernorm", "gemm")
        }
        assert blocks == {"inverted": 15, "positional": 15, "gram": 15, "depthwise": 0, "layernorm": 0, "gemm": 6}, (
            account
        )
    golden = Golden("mst_plus_plus")
    got = outputs(plan, golden.input(case), folder, level=level)["output"]
    assert golden.max_difference(case, "output", got) <= golden.tolerance(case, "output")


@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs qemu-user")
@pytest.mark.parametrize("processor", ["qemu64,-sse3", "Haswell"])
def test_a_plan_runs_on_processors_older_than_the_one_it_was_built_on(folder, processor):
    """QEMU stops at any instruction that the named processor lacks: the first has SSE2 and nothing newer."""
    model, plan = folder / "old.onnx", folder / "old.vitrail"
    if not plan.exists():
        vitrail("zoo", "export", "mst_plus_plus", "--batch", 1, "--size", "60x62", "-o", model)
        vitrail("build", model, "-o", plan)
    golden = Golden("mst_plus_plus")
    got = outputs(plan, golden.input("60x62"), folder, processor=processor)["output"]
    assert golden.max_difference("60x62", "output", got) <= golden.tolerance("60x62", "output")


def test_the_straight_way_gives_the_same_plan_as_the_way_by_onnx(cvt13, folder):
    shapes = ["--shapes", "input:1..1..4x3x224x224"]
    plans = folder / "by_onnx.vitrail", folder / "straight.vitrail"
    vitrail("build", folder / "cvt13.onnx", "-o", plans[0], *shapes, "--deterministic", "--no-retune")
    vitrail("zoo", "build", "cvt13", "-o", plans[1], *shapes, "--deterministic", "--no-retune")
    by_onnx, straight = (json.loads(vitrail("inspect", plan, "--json")) for plan in plans)
    # What the file was is kept with the plan.
    metadata = by_onnx["targets"][0]["metadata"]
    for key in [key for key in metadata if key.startswith("onnx.")]:
        del metadata[key]
    for told in (by_onnx, straight):
        del told["content"]  # the digest of metadata and plan
    assert by_onnx == straight


def test_export_agrees_with_onnx_runtime(cvt13, folder):
    runtime = pytest.importorskip("onnxruntime")
    golden = Golden("cvt13")
    session = runtime.InferenceSession(str(cvt13[0]), providers=["CPUExecutionProvider"])
    theirs = session.run(None, {"input": golden.input("224x224")})[0]
    ours = outputs(cvt13[1], golden.input("224x224"), folder)["logits"]
    assert np.abs(ours - theirs).max() <= 2 * golden.tolerance("224x224", "logits")


def test_compare_tells_agreement_and_difference(cvt13, folder):
    shapes = ("--shapes", "input:1x3x224x224")
    assert "PASSED" in vitrail("compare", cvt13[1], cvt13[0], *shapes)
    np.savez(folder / "wrong.npz", logits=np.zeros((1, 1000), np.float32))
    assert "FAILED" in vitrail("compare", folder / "wrong.npz", cvt13[0], *shapes, code=8)


def test_inspect_names_layers_and_refusals(cvt13, folder):
    # Untuned: by time, separate steps may stand for an attention.
    plan = folder / "untuned.vitrail"
    vitrail("build", cvt13[0], "-o", plan, "--shapes", "input:1..1..4x3x224x224", "--budget", 0, "--verify", "off")
    told = json.loads(vitrail("inspect", plan, "--json", "--why"))
    target = told["targets"][0]
    assert target["ranges"] == [{"symbol": "N", "min": 1, "opt": 1, "max": 4}]
    families = [layer.get("family") for layer in target["layers"]]
    assert families.count("attention") == 13
    assert None not in families
    assert all(layer["kernels"] for layer in target["layers"])
    assert "13 attention" not in vitrail("inspect", cvt13[0])


def small_model(folder):
    model = folder / "mst64.onnx"
    if not model.exists():
        vitrail("zoo", "export", "mst_plus_plus", "--batch", 1, "--size", "64x72", "-o", model)
    return model


def test_tuning_is_told_kept_and_shown(folder):
    model, plan, cache = small_model(folder), folder / "tuned.vitrail", folder / "timings.json"
    first = vitrail("build", model, "-o", plan, "--verify", "off", "--timing-cache", cache)
    assert " 0 from the cache" in first
    assert " 0 timed in " in vitrail("build", model, "-o", plan, "--verify", "off", "--timing-cache", cache)
    layers = json.loads(vitrail("inspect", plan, "--json", "--why"))["targets"][0]["layers"]
    timed = [kernel for layer in layers for kernel in layer["kernels"] if kernel.get("microseconds", 0) > 0]
    assert len(timed) > len(layers) / 2
    assert any(len(layer["tried"]) > 1 for layer in layers)
    assert " us, chosen" in vitrail("inspect", plan, "--why")
    cache.write_text("{ not json")
    warned = vitrail("build", model, "-o", plan, "--verify", "off", "--timing-cache", cache, "--budget", 0)
    assert "is ignored" in warned
    assert "not timed within the budget of 0 s" in warned
    vitrail("build", model, "-o", plan, "--timing-cache", folder / "missing" / "cache", code=6)


def test_why_asks_the_kernels_of_the_plans_device(tmp_path):
    """A plan for a GPU is made without one, where NVRTC is installed."""
    from onnx import TensorProto, checker, helper, save

    nodes = [
        helper.make_node("MatMul", ["q", "k"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"]),
        helper.make_node("MatMul", ["weights", "v"], ["y"]),
    ]
    dims = {"q": [2, 6, 8], "k": [2, 8, 6], "v": [2, 6, 8], "y": [2, 6, 8]}
    io = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, list(d)) for name, d in dims.items()}
    graph = helper.make_graph(nodes, "attention", [io["q"], io["k"], io["v"]], [io["y"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    save(model, tmp_path / "attention.onnx")
    for device, prefix in ((), "_f32_"), (("--device", "cuda", "--arch", "sm_90"), "_cuda"):
        plan = tmp_path / "attention.vitrail"
        options = ("--verify", "off", "--budget", 0, *device)
        code, _, errors = run("build", tmp_path / "attention.onnx", "-o", plan, *options)
        if code == 5 and "NVRTC" in errors:
            pytest.skip("NVRTC is not installed")
        assert code == 0, errors
        layers = json.loads(vitrail("inspect", plan, "--json", "--why"))["targets"][0]["layers"]
        refused = [r for layer in layers for r in layer.get("refused", [])]
        assert all(prefix in r["kernel"] for r in refused), refused
        if device:
            assert {"kernel": "attention_cuda_mma", "reason": "operands are not of one 16-bit type"} in refused


def test_plans_for_a_gpu_that_is_not_here_say_that_they_are_not_verified(folder):
    plan = folder / "elsewhere.vitrail"
    options = ("-o", plan, "--device", "cuda:7", "--arch", "sm_90")
    code, out, errors = run("build", small_model(folder), *options)
    if code == 5 and "NVRTC" in errors:
        pytest.skip("NVRTC is not installed")
    assert code == 0, errors
    assert "not verified: no device of sm_90a is here" in out
    plan.unlink()
    assert "not verified: --verify off" in vitrail("build", small_model(folder), *options, "--verify", "off")
    for level in ("fast", "full"):
        plan.unlink(missing_ok=True)
        assert "--verify wants a device of sm_90a" in vitrail(
            "build", small_model(folder), *options, "--verify", level, code=5
        )
        assert not plan.exists()


def test_a_rewrite_can_be_left_out_by_its_name(folder):
    plan, model = folder / "fewer.vitrail", folder / "cvt13.onnx"
    vitrail("zoo", "export", "cvt13", "-o", model)
    options = ("-o", plan, "--shapes", "input:1x3x224x224", "--verify", "off", "--budget", 0)
    assert "fused: 13 of 13 attentions" in vitrail("build", model, *options)
    assert "fused: 0 of 13 attentions" in vitrail("build", model, *options, "--without", "fuse_attention")
    plan.unlink()
    told = vitrail("build", model, *options, "--without", "fuse_nothing", code=2)
    assert "'fuse_nothing'" in told
    assert "fuse_attention" in told
    assert not plan.exists()


def test_deterministic_builds_give_the_same_bytes(folder):
    plans = folder / "one.vitrail", folder / "two.vitrail"
    for plan in plans:
        vitrail("build", small_model(folder), "-o", plan, "--deterministic", "--verify", "off")
    assert plans[0].read_bytes() == plans[1].read_bytes()


def test_a_plan_is_built_again_from_what_it_keeps(cvt13, folder):
    again = folder / "again.vitrail"
    vitrail("build", cvt13[1], "-o", again, "--verify", "off", "--budget", 0)
    ranges = [json.loads(vitrail("inspect", plan, "--json"))["targets"][0]["ranges"] for plan in (cvt13[1], again)]
    assert ranges[0] == ranges[1]
    assert "PASSED" in vitrail("compare", again, cvt13[1], "--shapes", "input:2x3x224x224")
    vitrail("build", cvt13[1], "-o", again, "--verify", "off", "--budget", 0, "--shapes", "input:1x3x224x224")
    assert json.loads(vitrail("inspect", again, "--json"))["targets"][0]["ranges"] == []


def test_a_plan_without_its_model_or_with_a_damaged_one_is_not_built_again(folder):
    plan, other = folder / "kept.vitrail", folder / "other.vitrail"
    vitrail("build", small_model(folder), "-o", plan, "--no-retune", "--verify", "off", "--budget", 0)
    small = plan.stat().st_size
    assert "--no-retune" in vitrail("build", plan, "-o", other, code=2)
    vitrail("build", small_model(folder), "-o", plan, "--verify", "off", "--budget", 0)
    assert plan.stat().st_size > small
    data = bytearray(plan.read_bytes())
    data[-5000] ^= 1  # in the model's weights, which stand last
    plan.write_bytes(data)
    assert "damaged" in vitrail("build", plan, "-o", other, code=3)
    assert not other.exists()


def test_bench_writes_its_figures(cvt13, folder):
    figures = folder / "bench.json"
    text = vitrail("bench", cvt13[1], "--duration", 0, "--warmUp", 0, "--iterations", 2, "--json", figures)
    assert "=== Performance summary ===" in text
    assert "percentile(99%)" in text
    told = json.loads(figures.read_text())
    assert told["latency_ms"]["min"] <= told["latency_ms"]["median"] <= told["latency_ms"]["p99"]
    assert told["peak_memory_mib"] > 0
    assert told["load_ms"] > 0


def test_photographs_end_in_classes_and_cubes(cvt13, folder):
    image = pytest.importorskip("PIL.Image")
    photo = folder / "photo.png"
    rng = np.random.default_rng(5)
    image.fromarray(rng.integers(0, 256, (80, 90, 3), np.uint8)).save(photo)
    text = vitrail("run", cvt13[1], photo, "--top", 3)
    assert text.count("class ") == 3
    assert "mean nothing" in text
    model = folder / "mst80.onnx"
    vitrail("zoo", "export", "mst_plus_plus", "--batch", 1, "--size", "80x90", "-o", model)
    vitrail("run", model, photo, "--folder", folder, "--bands", "0,30")
    assert np.load(folder / "photo.cube.npy").shape == (31, 80, 90)
    assert image.open(folder / "photo.false-color.png").size == (90, 80)
    assert image.open(folder / "photo.band30.png").size == (90, 80)


def test_wrong_use_and_bad_files_have_their_exit_codes(cvt13, folder):
    model, plan = cvt13
    vitrail(code=2)
    vitrail("biuld", code=2)
    vitrail("build", model, "-o", folder / "x.vitrail", "--frobnicate", code=2)
    assert "--shapes input:" in vitrail("build", model, "-o", folder / "x.vitrail", code=2)
    for shapes in ("x:1x-3", "input:0x3x224x224", "input:1e99x3", "input:4..2x3x224x224", "photo:1x3x224x224"):
        vitrail("build", model, "-o", folder / "x.vitrail", "--shapes", shapes, code=2)
    vitrail("build", folder / "none.onnx", "-o", folder / "x.vitrail", code=6)
    vitrail("build", model, "-o", model, "--shapes", "input:1x3x224x224", code=2)
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(64))
    assert "JPEG" in vitrail("build", folder / "photo.jpg", "-o", folder / "x.vitrail", code=3)
    (folder / "cut.vitrail").write_bytes(plan.read_bytes()[:5000])
    vitrail("bench", folder / "cut.vitrail", code=3)
    assert not (folder / "x.vitrail").exists()
    image = np.zeros((5, 3, 224, 224), np.float32)
    np.savez(folder / "five.npz", input=image)
    told = vitrail("run", plan, "--inputs", folder / "five.npz", code=3)
    assert "1..4" in told or "1 to 4" in told
