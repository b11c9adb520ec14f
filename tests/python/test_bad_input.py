# SPDX-License-Identifier: Apache-2.0
"""Bad input at the command line: the exit code, one line that names the file, nothing left behind. The numbers are
those of docs/bad_inputs.md."""

import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

import program
from program import dense_model, refused

pytest.importorskip("onnx")
pytestmark = pytest.mark.skipif(not program.VITRAIL.exists(), reason=f"{program.VITRAIL} is not built")

SHAPES = ("--shapes", "x:1..2..8x8")


@pytest.fixture
def model(tmp_path):
    return dense_model(tmp_path / "dense.onnx")


@pytest.fixture
def plan(model, tmp_path):
    path = tmp_path / "dense.vitrail"
    assert program.run("build", model, "-o", path, *SHAPES, "--budget", 0)[0] == 0
    return path


@pytest.fixture
def out(tmp_path):
    """An output in a folder of its own, which must be empty after a failure."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder / "plan.vitrail"
    assert list(folder.iterdir()) == []


def readers(path):
    """Each subcommand that reads a model or plan, on `path`."""
    return (("run", path, "--inputs", path), ("bench", path), ("inspect", path), ("compare", path, path))


# ---------------------------------------------------------------- files and command line


def test_01_a_missing_file(tmp_path, out):
    none = tmp_path / "none.onnx"
    refused("build", none, "-o", out, code=6, says=("none.onnx", "No such file"))
    for command in readers(none):
        refused(*command, code=6, says="none.onnx")
    refused("zoo", "export", "cvt13", "--weights", tmp_path / "none.pth", "-o", out, code=6, says="none.pth")


def test_02_a_directory(tmp_path, out):
    refused("build", tmp_path, "-o", out, code=3, says=(str(tmp_path), "directory"))
    for command in readers(tmp_path):
        refused(*command, code=3, says="directory")


def test_03_an_empty_file(tmp_path, out):
    empty = tmp_path / "empty.onnx"
    empty.touch()
    refused("build", empty, "-o", out, code=3, says=("empty.onnx", "empty"))
    for command in readers(empty):
        refused(*command, code=3, says="empty")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_04_an_unreadable_file(model, out):
    model.chmod(0)
    refused("build", model, "-o", out, code=6, says=("dense.onnx", "Permission denied"))


def test_05_pipes_and_devices(tmp_path, out):
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    for special in (pipe, "/dev/zero", "/dev/null"):
        refused("build", special, "-o", out, code=3, says=str(special))
        for command in readers(special):
            refused(*command, code=3, says=str(special))


def test_06_no_folder_for_the_output(model, tmp_path):
    missing = tmp_path / "missing" / "plan.vitrail"
    refused("build", model, "-o", missing, *SHAPES, code=6, says=("missing/plan.vitrail", "No such file"))
    refused("zoo", "export", "cvt13", "-o", tmp_path / "missing" / "cvt.onnx", code=6, says="missing/cvt.onnx")


def test_07_outputs_that_cannot_be_written(model, tmp_path):
    refused("build", model, "-o", tmp_path, *SHAPES, code=2, says="directory")
    refused("build", model, "-o", "/dev/null", *SHAPES, code=2, says="/dev/null")
    if os.geteuid() != 0:
        (tmp_path / "old.vitrail").touch(mode=0o444)
        refused("build", model, "-o", tmp_path / "old.vitrail", *SHAPES, code=6, says="Permission denied")


def test_08_output_equals_input(model, plan, tmp_path):
    before = model.read_bytes()
    (tmp_path / "link.onnx").symlink_to(model)
    os.link(model, tmp_path / "hard.onnx")
    for name in ("dense.onnx", "link.onnx", "hard.onnx"):
        refused("build", model, "-o", tmp_path / name, *SHAPES, code=2, says="is the input file")
    assert model.read_bytes() == before
    inputs = tmp_path / "x.npz"
    np.savez(inputs, x=np.zeros((1, 8), np.float32))
    refused("run", plan, "--inputs", inputs, "--outputs", inputs, code=2, says="is the input file")


def test_09_names_cannot_write_to_the_terminal(tmp_path, out):
    name = os.fsencode(tmp_path) + b"/a\nb\xff\x1b[31m.onnx"
    line = refused("build", name, "-o", out, code=6, says=r"a\x0ab\xff\x1b[31m.onnx")
    assert "\x1b" not in line


def test_10_a_path_of_4096_characters(out):
    refused("build", "/" + "x/" * 2048 + "m.onnx", "-o", out, code=6, says="File name too long")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("build", "m.onnx", "-o", "x", "--detreministic"), "--deterministic"),
        (("bench", "m.vitrail", "--iteration", "3"), "--iterations"),
        (("biuld", "m.onnx"), "build"),
        (("zoo", "lst"), "list"),
        (("build", "m.onnx", "-o", "x", "--frobnicate"), "--frobnicate"),
    ],
)
def test_11_unknown_options_name_the_nearest(arguments, says):
    refused(*arguments, code=2, says=says)


def test_11_options_of_the_neighbours_are_listed(model, out):
    line = refused(
        *("build", "--onnx", model, f"--saveEngine={out}", "--int8", "--memPoolSize=workspace:512"),
        *("--builderOptimizationLevel", 5, "--exportLayerInfo=x.json"),
        code=2,
    )
    for option in ("--int8", "--memPoolSize", "--builderOptimizationLevel", "--exportLayerInfo"):
        assert f"'{option}' (" in line
    refused("build", model, "-o", out, "--trt-outputs", "mark", "all", code=2, says="compare PLAN MODEL --layers")


@pytest.mark.parametrize(
    "shapes", ["x:1x-3", "x:0x8", "x:1e99x8", "x:", ":1x8", "x", "x:1..x8", "x:1x8x", "x:4..2x8", "x:[1,8"]
)
def test_12_14_shapes_that_are_none(model, out, shapes):
    refused("build", model, "-o", out, "--shapes", shapes, code=2, says="--shapes")


def test_12_shapes_that_do_not_fit(model, out):
    refused("build", model, "-o", out, "--shapes", "x:1x3x8", code=2, says=("'x'", "3 extents", "the model has 2"))
    refused("build", model, "-o", out, "--shapes", "x:1x9", code=2, says=("'x'", "is 8 in the model"))
    refused("build", model, "-o", out, code=2, says="--shapes x:1..1..8x8")


def test_13_unknown_names_list_the_valid_ones(model, plan, out, tmp_path):
    refused("build", model, "-o", out, "--shapes", "image:1x8", code=2, says=("'image'", "'x'"))
    refused("bench", plan, "--shapes", "image:1x8", code=2, says=("'image'", "'x'"))
    np.savez(tmp_path / "in.npz", image=np.zeros((1, 8), np.float32))
    refused("run", plan, "--inputs", tmp_path / "in.npz", code=2, says=("'image'", "'x'"))
    refused("compare", plan, model, "--inputs", tmp_path / "in.npz", code=2, says="'x'")


@pytest.mark.parametrize("threads", ["-1", "1000000", "two"])
def test_15_numbers_of_threads(model, out, threads):
    refused("build", model, "-o", out, *SHAPES, "--threads", threads, code=2, says="--threads")


# ---------------------------------------------------------------- models


def test_16_17_cut_and_random_models(model, tmp_path, out):
    whole = model.read_bytes()
    bad = tmp_path / "bad.onnx"
    rng = np.random.default_rng(3)
    for data in [*(whole[:end] for end in range(1, len(whole), 23)), *(rng.bytes(size) for size in (1, 64, 4096))]:
        bad.write_bytes(data)
        refused("build", bad, "-o", out, *SHAPES, code=3, says="bad.onnx")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS"),
        (b"ftrt\0\0\0\0", "TensorRT engine"),
        (b'<?xml version="1.0"?>\n<net name="Model0" version="11">', "OpenVINO"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"PK\3\4" + bytes(22) + b"\x10\0\0\0archive/data.pkl", "PyTorch"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
    ],
)
def test_18_other_kinds_of_files_are_named(tmp_path, out, start, kind):
    for name in ("model.onnx", "model.engine"):
        (tmp_path / name).write_bytes(start + bytes(100))
        refused("build", tmp_path / name, "-o", out, code=3, says=(name, kind))
        refused("bench", tmp_path / name, code=3, says=kind)
    shutil.copy(tmp_path / "model.onnx", tmp_path / "model.vitrail")
    refused("bench", tmp_path / "model.vitrail", code=3, says=("model.vitrail", kind))


def test_19_more_than_two_gigabytes(tmp_path, out):
    with open(tmp_path / "large.onnx", "wb") as file:
        file.truncate(3 << 30)
    refused("build", tmp_path / "large.onnx", "-o", out, code=3, says=("large.onnx", "2 GiB"))


def test_24_opsets_that_are_not_known(tmp_path, out):
    dense_model(tmp_path / "new.onnx", opset=99)
    refused("build", tmp_path / "new.onnx", "-o", out, *SHAPES, code=4, says=("new.onnx", "99"))


def test_33_unknown_ops_are_listed_together(tmp_path, out):
    dense_model(tmp_path / "odd.onnx", op_types=("MatMul", "Frobnicate", "Relu", "Defenestrate"))
    says = ("odd.onnx", "Frobnicate", "node0", "Defenestrate", "node2")
    refused("build", tmp_path / "odd.onnx", "-o", out, *SHAPES, code=4, says=says)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret", "link"])
def test_54_external_data_stays_beside_the_model(tmp_path, out, location):
    import onnx

    folder = tmp_path / "model"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(bytes(256))
    (folder / "link").symlink_to(tmp_path / "secret")
    external = {"save_as_external_data": True, "location": "w.data", "size_threshold": 0}
    path = dense_model(folder / "m.onnx", **external)
    proto = onnx.load(str(path), load_external_data=False)
    proto.graph.initializer[0].external_data[0].value = location
    path.write_bytes(proto.SerializeToString())
    refused("build", path, "-o", out, *SHAPES, code=3, says=("m.onnx", "external data"))


def test_55_external_data_beyond_its_file(tmp_path, out):
    external = {"save_as_external_data": True, "location": "w.data", "size_threshold": 0}
    path = dense_model(tmp_path / "m.onnx", **external)
    (tmp_path / "w.data").write_bytes(bytes(16))
    refused("build", path, "-o", out, *SHAPES, code=3, says="w.data")


def test_59_a_hostile_checkpoint_is_refused_by_name(tmp_path, out):
    import pickle
    import zipfile

    class Hostile:
        def __reduce__(self):
            return os.system, ("touch pwned",)

    with zipfile.ZipFile(tmp_path / "w.pth", "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"w": Hostile()}, protocol=2))
        file.writestr("archive/version", "3")
    refused("zoo", "export", "cvt13", "--weights", tmp_path / "w.pth", "-o", out, code=3, says=("w.pth", "system"))
    assert not (tmp_path / "pwned").exists()


def test_60_61_arrays_that_are_none(plan, tmp_path):
    bad = tmp_path / "bad.npz"
    good = tmp_path / "good.npz"
    np.savez(good, x=np.zeros((1, 8), np.float32))
    for end in range(1, len(good.read_bytes()), 37):
        bad.write_bytes(good.read_bytes()[:end])
        refused("run", plan, "--inputs", bad, code=3, says="bad.npz")
    np.savez(bad, x=np.array([{}], object))
    refused("run", plan, "--inputs", bad, code=4, says="x")
    np.savez(bad, x=np.zeros((1, 8), np.float64))
    refused("run", plan, "--inputs", bad, code=2, says="x")


def test_62_pictures_of_every_kind(tmp_path):
    image = pytest.importorskip("PIL.Image")
    model, plan = tmp_path / "cvt.onnx", tmp_path / "cvt.vitrail"
    assert program.run("zoo", "export", "cvt13", "--batch", 1, "-o", model)[0] == 0
    assert program.run("build", model, "-o", plan, "--verify", "off", "--budget", 0)[0] == 0
    rng = np.random.default_rng(0)
    rgb = image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8))
    exif = image.Exif()
    exif[0x0112] = 6
    rgb.save(tmp_path / "turned.jpg", exif=exif)
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg")
    rgb.convert("P").save(tmp_path / "palette.png")
    rgb.convert("LA").save(tmp_path / "alpha.png")
    image.fromarray(rng.integers(0, 65536, (60, 90), np.uint16)).save(tmp_path / "deep.png")
    image.new("RGB", (1, 1), (9, 9, 9)).save(tmp_path / "one.png")
    names = ["turned.jpg", "cmyk.jpg", "palette.png", "alpha.png", "deep.png", "one.png"]
    code, output, errors = program.run("run", plan, *(tmp_path / name for name in names), "--top", 1)
    assert code == 0, errors
    assert output.count(" %  class ") == len(names)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "turned.jpg").read_bytes()[:400])
    refused("run", plan, tmp_path / "cut.jpg", code=3, says="cut.jpg")
    refused("run", plan, model, code=3, says=("cvt.onnx", "JPEG or PNG"))
    refused("run", plan, tmp_path / "one.png", "--labels", tmp_path / "turned.jpg", code=3, says="labels")
    refused("run", plan, tmp_path / "one.png", "--crop", "big", code=3, says="crop")


def test_62_a_model_that_does_not_say_what_it_is_for(plan, tmp_path):
    (tmp_path / "p.png").write_bytes(b"")
    refused("run", plan, tmp_path / "p.png", code=2, says=("dense.vitrail", "--task"))


def test_63_extents_outside_the_range(plan, tmp_path):
    for dims in ((9, 8), (1, 7), (1, 8, 1)):
        np.savez(tmp_path / "in.npz", x=np.zeros(dims, np.float32))
        got, _, errors = program.run("run", plan, "--inputs", tmp_path / "in.npz")
        assert got in (2, 3)
        assert "'x'" in errors


# ---------------------------------------------------------------- plans


def test_66_damaged_plans(plan, tmp_path):
    whole = plan.read_bytes()
    bad = tmp_path / "bad.vitrail"
    for end in range(1, len(whole), max(1, len(whole) // 40)):
        bad.write_bytes(whole[:end])
        refused("inspect", bad, code=3, says="bad.vitrail")
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        code, _, errors = program.run("bench", bad, "--duration", 0, "--warmUp", 0, "--iterations", 1)
        assert code in (0, 3, 7), errors  # padding between sections is not read


# ---------------------------------------------------------------- while it runs


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_leaves_nothing(tmp_path, out, number, code):
    model = tmp_path / "mst.onnx"
    assert program.run("zoo", "export", "mst_plus_plus", "-o", model)[0] == 0
    command = [program.VITRAIL, "build", model, "-o", out, "--shapes", "input:1x3x512x482"]
    build = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    time.sleep(1)
    build.send_signal(number)
    assert build.wait(timeout=5) == code


def test_a_broken_pipe_is_quiet(plan):
    told = subprocess.run(f"'{program.VITRAIL}' inspect '{plan}' --json | head -n 1", shell=True, capture_output=True)
    assert told.stderr == b""
    assert told.stdout == b"{\n"
