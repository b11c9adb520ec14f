# SPDX-License-Identifier: Apache-2.0
"""`vitrail zoo export --weights FILE` for checkpoints with the official parameter names in every format.

The files hold the deterministic weights, so that the model must equal the one exported without a file.
"""

import zipfile

import numpy as np
import pytest

from checkpoint_files import write_npz, write_pth, write_safetensors
from golden import Golden
from program import VITRAIL, vitrail

onnx = pytest.importorskip("onnx")

pytestmark = pytest.mark.skipif(not VITRAIL.exists(), reason=f"{VITRAIL} is not built")

WRITERS = {"pth": write_pth, "safetensors": write_safetensors, "npz": write_npz}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module", params=["cvt13", "mst_plus_plus"])
def model(request):
    return request.param


@pytest.fixture(scope="module")
def weights():
    """The deterministic weights of each model, every official name."""
    return {name: Golden(name).weights() for name in ("cvt13", "mst_plus_plus")}


def export(model, folder, *arguments, code=0):
    path = folder / "model.onnx"
    path.unlink(missing_ok=True)
    told = vitrail("zoo", "export", model, *arguments, "-o", path, code=code)
    assert path.exists() == (code == 0)
    return path if code == 0 else told


def content(path):
    """The model without what is said about its weights."""
    proto = onnx.load(path)
    return proto.graph.SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def expected(folder):
    return {name: content(export(name, folder)) for name in ("cvt13", "mst_plus_plus")}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format(model, kind, folder, weights, expected):
    file = folder / f"{model}.{kind}"
    WRITERS[kind](file, weights[model])
    assert content(export(model, folder, "--weights", file)) == expected[model]
    file.unlink()


# The official files are {"state_dict": ..., "epoch": ..., "optimizer": ...} (MST++) and a bare dictionary (CvT).
WRAPPERS = {
    "state_dict": lambda d: {"epoch": 3, "state_dict": d, "optimizer": {"state": {}, "lr": 0.1}},
    "model": lambda d: {"model": d, "args": {"name": "x"}},
    "data_parallel": lambda d: {f"module.{name}": array for name, array in d.items()},
    "both": lambda d: {"state_dict": {f"module.{name}": array for name, array in d.items()}, "iter": 7},
    "double": lambda d: {name: a.astype(np.float64) if a.dtype == np.float32 else a for name, a in d.items()},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_usual_wrappers(wrapper, folder, weights, expected):
    file = folder / f"{wrapper}.pth"
    write_pth(file, WRAPPERS[wrapper](weights["mst_plus_plus"]))
    assert content(export("mst_plus_plus", folder, "--weights", file)) == expected["mst_plus_plus"]


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_prefix_in_other_formats(kind, folder, weights, expected):
    file = folder / f"prefixed.{kind}"
    WRITERS[kind](file, WRAPPERS["data_parallel"](weights["mst_plus_plus"]))
    assert content(export("mst_plus_plus", folder, "--weights", file)) == expected["mst_plus_plus"]


def test_values_come_from_the_file(folder, weights, expected):
    file = folder / "other.npz"
    write_npz(file, weights["mst_plus_plus"] | {"conv_in.weight": np.zeros((31, 3, 3, 3), np.float32)})
    assert content(export("mst_plus_plus", folder, "--weights", file)) != expected["mst_plus_plus"]


@pytest.mark.parametrize("kind", WRITERS)
def test_wrong_checkpoints_are_named(kind, folder, weights):
    good = weights["mst_plus_plus"]
    file = folder / f"wrong.{kind}"

    def told(tensors):
        WRITERS[kind](file, tensors)
        text = export("mst_plus_plus", folder, "--weights", file, code=3)
        assert f"wrong.{kind}" in text
        return text

    missing = dict(good)
    del missing["conv_out.weight"]
    assert "no parameter 'conv_out.weight' [31,31,3,3]" in told(missing)
    shaped = good | {"conv_in.weight": np.zeros((31, 3, 3, 5), np.float32)}
    text = told(shaped)
    assert "'conv_in.weight' has shape [31,3,3,5], the model needs [31,3,3,3]" in text
    extra = good | {"head.weight": np.zeros((2, 3), np.float32)}
    text = told(extra)
    assert "the model does not know: 'head.weight' [2,3]" in text


def test_checkpoint_of_another_model(folder, weights):
    file = folder / "cvt13.npz"
    write_npz(file, weights["cvt13"])
    assert "is it a checkpoint of this model?" in export("mst_plus_plus", folder, "--weights", file, code=3)
    assert "is it a checkpoint of this model?" in export("cvt21", folder, "--weights", file, code=3)
    file.unlink()


def test_more_than_a_state_dict_is_refused(folder):
    """A pickle may name any function; only what rebuilds tensors is read."""
    file = folder / "hostile.pth"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
        archive.writestr("archive/version", "3\n")
    assert "os.system" in export("mst_plus_plus", folder, "--weights", file, code=3)


def test_written_by_torch(folder, weights, expected):
    torch = pytest.importorskip("torch")
    file = folder / "torch.pth"
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in weights["mst_plus_plus"].items()}
    torch.save({"state_dict": tensors}, file)
    assert content(export("mst_plus_plus", folder, "--weights", file)) == expected["mst_plus_plus"]
