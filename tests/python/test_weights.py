"""The weight rule against published test vectors and the checksums of the golden files."""

import numpy as np
import pytest

import vitrail_weights
from golden import MODELS, Golden

# name, shape, hash, bits of the first elements, sum of all bits; see tests/golden/README.md
VECTORS = [
    (
        "norm.weight",
        (384,),
        "e45e883176c5ce0f",
        "3f73dce8 3f67c72d 3f81ce2e 3f76a5bd",
        "5f3bef6b18",
    ),
    (
        "conv_1.block.conv.weight",
        (16, 3, 3, 3),
        "93d39b31f4fea622",
        "be985693 3eef0359 3eccf037 bed6a070",
        "def474bced",
    ),
    (
        "blocks1.0.pos_embed.weight",
        (64, 1, 3, 3),
        "1950c0c007afeab0",
        "39f9fd33 3db47322 bd61fdfd 3e1a5b6a",
        "11a0fef8114",
    ),
    (
        "stage2.cls_token",
        (1, 1, 384),
        "85ead1506b4b0205",
        "3d44be52 3d8e9760 3d863b0b bd82c894",
        "be11f97e3e",
    ),
    (
        "backbone.body.layer1.0.bn3.weight",
        (256,),
        "4b287751670e2ef1",
        "3eb45500 3eb45efb 3ebe3692 3eabff6a",
        "3eb3e7f8ce",
    ),
    (
        "backbone.body.bn1.running_var",
        (64,),
        "5b06caa185278b7c",
        "3f87e32e 3f83ea4c 3f9a42a8 3f8c081f",
        "fe00a4338",
    ),
    (
        "backbone.body.bn1.running_mean",
        (64,),
        "62b5963adcbf49ea",
        "3da0b047 bda4b77d 3da69fad 3d7d8283",
        "1ec77e3ac0",
    ),
    (
        "body.0.encoder_layers.0.0.blocks.0.0.rescale",
        (1, 1, 1),
        "c2708ee9fb2bcea3",
        "3f8540a8",
        "3f8540a8",
    ),
    (
        "transformer.position.weight",
        (300, 2),
        "a430247dee78667d",
        "3de79b00 3e90e57e 3f197201 3eb36062",
        "930a84e71b",
    ),
    (
        "head.bias",
        (1000,),
        "1d85cc4bebb3a38e",
        "bce94520 3d218eca bc2ce793 3cf329fd",
        "1f0e0aae6d6",
    ),
    (
        "blocks3.0.gamma_1",
        (320,),
        "31cf92f38184dba1",
        "3f024039 3efa68b5 3efdd80c 3ecf281c",
        "4eb8de2d35",
    ),
]


def bits(array, count):
    return [f"{word:08x}" for word in array.ravel()[:count].view(np.uint32)]


@pytest.mark.parametrize(("name", "shape", "name_hash", "first", "total"), VECTORS, ids=[v[0] for v in VECTORS])
def test_vector(name, shape, name_hash, first, total):
    values = vitrail_weights.weight(name, shape)
    assert f"{vitrail_weights.name_hash(name):016x}" == name_hash
    assert values.shape == shape
    assert bits(values, 4) == first.split()
    assert vitrail_weights.bits_sum(values) == int(total, 16)


@pytest.mark.parametrize(
    ("signed", "first"),
    [(False, "3dc854f8 3f270117 3e5082e0 3e8c8402"), (True, "bf4deac2 3e9c045c bf17be90 bee6f7fc")],
)
def test_input_vector(signed, first):
    assert bits(vitrail_weights.image_input((1, 3, 8, 8), signed), 4) == first.split()


def test_larger_batch_keeps_the_first_image():
    one = vitrail_weights.image_input((1, 3, 8, 8), signed=True)
    two = vitrail_weights.image_input((2, 3, 8, 8), signed=True)
    assert np.array_equal(one[0], two[0])
    assert not np.array_equal(two[0], two[1])


@pytest.mark.parametrize("model", MODELS)
def test_state_dict_checksums(model):
    golden = Golden(model)
    wrong = []
    floats = 0
    for (name, shape, dtype), expected in zip(golden.state_dict_spec, golden.spec["tensor_bits_sum"], strict=True):
        values = vitrail_weights.weight(name, shape)
        floats += values.size if values.dtype == np.float32 else 0
        if values.dtype.name != dtype or vitrail_weights.bits_sum(values) != int(expected, 16):
            wrong.append(name)
    assert wrong == []
    assert floats == golden.spec["float_state_elements"]


@pytest.mark.parametrize("model", MODELS)
def test_golden_arrays_agree_with_their_statistics(model):
    golden = Golden(model)
    for case, shape in golden.cases.items():
        arrays = golden.arrays(case)
        assert tuple(arrays["input_shape"]) == shape
        for tensor in golden.tensor_names(case):
            stats = golden.stats(case)[tensor]
            if tensor in arrays:
                assert list(arrays[tensor].shape) == stats["shape"]
                assert np.abs(arrays[tensor]).max() == pytest.approx(stats["absmax"], rel=1e-6)
            else:
                assert arrays[f"{tensor}.shape"].tolist() == stats["shape"]
                assert np.abs(arrays[f"{tensor}.digest"][2:4]).max() == pytest.approx(stats["absmax"], rel=1e-6)
