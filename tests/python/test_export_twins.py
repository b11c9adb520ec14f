"""Exports of the twins: names, shapes and agreement with PyTorch, in ONNX Runtime and in plans of our own."""

import re

import numpy as np
import pytest

pytest.importorskip("torch", reason="exports need PyTorch")
pytest.importorskip("einops", reason="the twins need einops")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from export_twins import DEFAULT_VARIANTS, Variant, check, export, image_of, operators, runtime_session, twin_of
from golden import Golden
from program import VITRAIL, vitrail
from twins.build import OUTPUT_NAMES, run


def test_names_say_everything():
    assert Variant.parse("mstpp_legacy17_sim_static_b2_60x62") == Variant(
        "mstpp_legacy17_sim_static_b2_60x62",
        "mst_plus_plus",
        "legacy",
        17,
        True,
        {},
        (2, 3, 60, 62),
    )
    assert Variant.parse("cvt13_384_dynamo18_raw_dynbatch") == Variant(
        "cvt13_384_dynamo18_raw_dynbatch",
        "cvt13_384",
        "dynamo",
        18,
        False,
        {0: "batch"},
        (2, 3, 384, 384),
    )
    with pytest.raises(ValueError, match="not a variant name"):
        Variant.parse("cvt13")


def test_default_names_are_valid_and_distinct():
    assert len(set(DEFAULT_VARIANTS)) == len(DEFAULT_VARIANTS)
    for name in DEFAULT_VARIANTS:
        assert Variant.parse(name).name == name


# Operator counts of exports of the official code; the twins must give importers the same patterns to recognise.
OFFICIAL_OPERATORS = {
    "cvt13_legacy17_raw_dynbatch": {
        "Einsum": 26,
        "LayerNormalization": 30,
        "Softmax": 13,
        "Sigmoid": 13,
        "Conv": 42,
    },
    "mstpp_legacy17_raw_static_64x72": {
        "ReduceL2": 30,
        "Erf": 45,
        "ConvTranspose": 6,
        "Softmax": 15,
        "Conv": 95,
    },
}


# Without --slow only one small file of each exporter's kind.
QUICK = ("cvt13_legacy17_raw_dynbatch", "mstpp_legacy17_raw_static_64x72")
NAMES = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in (*DEFAULT_VARIANTS, "mstpp_legacy12_raw_dynhw")
]


@pytest.fixture(scope="module")
def exported(request, tmp_path_factory):
    """(variant, path) of a file that is exported once for all tests of its name."""
    variant = Variant.parse(request.param)
    path = tmp_path_factory.mktemp("exports") / f"{variant.name}.onnx"
    export(variant, str(path))
    yield variant, str(path)
    path.unlink()


@pytest.mark.parametrize("exported", NAMES, indirect=True)
@pytest.mark.filterwarnings("ignore")
def test_export(exported):
    variant, path = exported
    check(variant, path)
    graph = onnx.load(path).graph
    assert [value.name for value in graph.input] == ["input"]
    assert [value.name for value in graph.output] == [OUTPUT_NAMES[variant.model]]
    assert operators(path).items() >= OFFICIAL_OPERATORS.get(variant.name, {}).items()


# A plan may lie this many times as far from PyTorch as ONNX Runtime does.
RUNTIME_FACTOR = 2.0
# But two float32 programs, each as far from the exact result as float32 is from float64, may lie twice that apart.
NOISE_FACTOR = 2.0

ATTENTIONS = {
    "cvt13": "13 of 13 attentions",
    "cvt13_384": "13 of 13 attentions",
    "cvt21": "21 of 21 attentions",
    "mst_plus_plus": "15 of 15 spectral attentions",
}


def float32_noise(model, shape):
    """What float32 differs from float64 at the largest golden size that is not larger than `shape`."""
    golden = Golden(model)

    def pixels(extents):
        return extents[2] * extents[3]

    cases = sorted(golden.cases, key=lambda case: pixels(golden.cases[case]))
    fitting = [case for case in cases if pixels(golden.cases[case]) <= pixels(shape)] or cases[:1]
    return golden.stats(fitting[-1])[OUTPUT_NAMES[model]]["f32_vs_f64_maxdiff"]


def ranges(shapes):
    """'input:1..1..3x3x224x224' from the shapes that a plan shall run."""
    extents = [(min(axis), max(axis)) for axis in zip(*shapes, strict=True)]
    return "input:" + "x".join(str(low) if low == high else f"{low}..{low}..{high}" for low, high in extents)


@pytest.mark.skipif(not VITRAIL.exists(), reason=f"{VITRAIL} is not built")
@pytest.mark.parametrize("exported", NAMES, indirect=True)
@pytest.mark.filterwarnings("ignore")
def test_plan_agrees_with_pytorch_as_onnx_runtime_does(exported, tmp_path):
    variant, path = exported
    plan, inputs, outputs = tmp_path / "x.vitrail", tmp_path / "in.npz", tmp_path / "out.npz"
    shapes = variant.check_shapes()
    told = vitrail("build", path, "-o", plan, "--shapes", ranges(shapes), "--verify", "off", "--budget", "0")
    assert f"fused: {ATTENTIONS[variant.model]}" in told
    assert "not fused" not in told
    assert not re.search(r"^ +\d+ reference ", told, re.MULTILINE), told
    session = runtime_session(path)
    for shape in shapes:
        image = image_of(variant, shape)
        np.savez(inputs, input=image)
        vitrail("run", plan, "--inputs", inputs, "--outputs", outputs)
        with np.load(outputs) as stored:
            ours = np.squeeze(stored[OUTPUT_NAMES[variant.model]])
        expected = np.squeeze(run(twin_of(variant.model), image)[0])
        theirs = np.squeeze(session.run(None, {"input": image})[0])
        assert ours.shape == expected.shape
        error, their_error = (float(np.abs(result - expected).max()) for result in (ours, theirs))
        allowed = max(RUNTIME_FACTOR * their_error, NOISE_FACTOR * float32_noise(variant.model, shape))
        assert error <= allowed, f"{shape}: {error:.3g} from PyTorch, ONNX Runtime {their_error:.3g}"
