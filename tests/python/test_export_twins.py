"""Exports of the twins: names, shapes and agreement with PyTorch in ONNX Runtime."""

import pytest

pytest.importorskip("torch", reason="exports need PyTorch")
pytest.importorskip("einops", reason="the twins need einops")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from export_twins import DEFAULT_VARIANTS, Variant, check, export, operators


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


@pytest.mark.parametrize(
    "name",
    [
        "cvt13_legacy17_raw_dynbatch",
        "mstpp_legacy17_raw_static_64x72",
        pytest.param("mstpp_legacy12_raw_dynhw", marks=pytest.mark.slow),
        pytest.param("mstpp_dynamo18_raw_dynhw", marks=pytest.mark.slow),
        pytest.param("cvt13_dynamo18_raw_dynbatch", marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_export(name, tmp_path):
    variant = Variant.parse(name)
    path = str(tmp_path / f"{name}.onnx")
    export(variant, path)
    check(variant, path)
    graph = onnx.load(path).graph
    assert [value.name for value in graph.input] == ["input"]
    assert [value.name for value in graph.output] == ["logits" if "cvt" in name else "output"]
    assert operators(path).items() >= OFFICIAL_OPERATORS.get(name, {}).items()
