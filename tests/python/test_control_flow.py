# SPDX-License-Identifier: Apache-2.0
"""ONNX models with If, Loop and extents that depend on data: built, verified, kept, run, beside ONNX Runtime."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper

from program import VITRAIL, vitrail

pytestmark = pytest.mark.skipif(not VITRAIL.exists(), reason=f"{VITRAIL} is not built")


def constant(name, value):
    return numpy_helper.from_array(np.asarray(value), name)


def info(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model():
    """y: a branch chosen by the mean of x; z, rows: a Loop of `rounds` rounds and its scan; found: where x > 1."""
    rng = np.random.default_rng(1)
    weight = constant("w", rng.standard_normal((6, 6), dtype=np.float32) / 4)
    then = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "w"], ["m"], name="/then/MatMul"),
            helper.make_node("Relu", ["m"], ["then_y"], name="/then/Relu"),
        ],
        "then",
        [],
        [info("then_y", None)],
    )
    other = helper.make_graph(
        [helper.make_node("Slice", ["h", "one", "many", "zero"], ["else_y"], name="/else/Slice")],
        "else",
        [],
        [info("else_y", None)],
    )
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["carried", "w"], ["product"], name="/loop/MatMul"),
            helper.make_node("Tanh", ["product"], ["next"], name="/loop/Tanh"),
            helper.make_node("ReduceSum", ["next", "axes"], ["row"], name="/loop/Sum", keepdims=0),
            helper.make_node("Identity", ["go"], ["still"], name="/loop/Identity"),
        ],
        "body",
        [info("round", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("carried", None)],
        [info("still", [], TensorProto.BOOL), info("next", None), info("row", None)],
    )
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["h"], name="/Sigmoid"),
        helper.make_node("ReduceMean", ["x"], ["mean"], name="/Mean", keepdims=0),
        helper.make_node("Greater", ["mean", "nothing"], ["positive"], name="/Greater"),
        helper.make_node("If", ["positive"], ["y"], name="/If", then_branch=then, else_branch=other),
        helper.make_node("Loop", ["rounds", "", "h"], ["z", "rows"], name="/Loop", body=body),
        helper.make_node("Greater", ["x", "unit"], ["large"], name="/Large"),
        helper.make_node("NonZero", ["large"], ["found"], name="/NonZero"),
    ]
    graph = helper.make_graph(
        nodes,
        "control",
        [info("x", ["N", 6]), info("rounds", [], TensorProto.INT64)],
        [info("y", None), info("z", None), info("rows", None), info("found", None, TensorProto.INT64)],
        [
            weight,
            constant("one", np.array([1])),
            constant("many", np.array([2**62])),
            constant("zero", np.array([0])),
            constant("axes", np.array([1])),
            constant("nothing", np.float32(0)),
            constant("unit", np.float32(1)),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_control_flow_from_onnx_to_results(tmp_path):
    path, plan, again = tmp_path / "m.onnx", tmp_path / "m.vitrail", tmp_path / "again.vitrail"
    onnx.save(model(), path)
    vitrail("build", path, "-o", plan, "--shapes", "x:2..3..8x6", "--verify", "full")
    vitrail("build", plan, "-o", again)  # from the graph that the plan keeps
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(2)
    for file in plan, again:
        for n, shift, rounds in (2, 1.0, 3), (8, -1.0, 0), (5, 0.3, 1):
            feeds = {
                "x": (rng.standard_normal((n, 6)) + shift).astype(np.float32),
                "rounds": np.array(rounds, dtype=np.int64),
            }
            np.savez(tmp_path / "in.npz", **feeds)
            vitrail("run", file, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz")
            with np.load(tmp_path / "out.npz") as got:
                for name, wanted in zip(("y", "z", "rows", "found"), session.run(None, feeds), strict=True):
                    if name == "rows" and rounds == 0:  # ONNX Runtime knows no extents of rows that were never made
                        assert got[name].shape == (0, n)
                        continue
                    assert got[name].shape == wanted.shape, name
                    np.testing.assert_allclose(got[name], wanted, rtol=1e-5, atol=1e-5)


def test_several_ranges(tmp_path):
    path, plan = tmp_path / "m.onnx", tmp_path / "m.vitrail"
    onnx.save(model(), path)
    vitrail("build", path, "-o", plan, "--shapes", "x:2..2..3x6", "--shapes", "x:16..32..64x6")
    for n, code in (3, 0), (16, 0), (8, 3):
        np.savez(tmp_path / "in.npz", x=np.ones((n, 6), dtype=np.float32), rounds=np.array(2))
        done = vitrail("run", plan, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz", code=code)
        if code:
            assert "dimension 0 (N) is 8" in done
            assert "N 2..3; or N 16..64" in done


def scan_model():
    """A state and two scanned inputs, one from its end and along its last axis; rows stacked along each axis."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["a", "b"], ["both"], name="/scan/Add"),
            helper.make_node("MatMul", ["state", "w"], ["product"], name="/scan/MatMul"),
            helper.make_node("Add", ["product", "both"], ["sum"], name="/scan/Sum"),
            helper.make_node("Tanh", ["sum"], ["next"], name="/scan/Tanh"),
            helper.make_node("Identity", ["next"], ["row"], name="/scan/Row"),
            helper.make_node("Neg", ["both"], ["column"], name="/scan/Neg"),
        ],
        "body",
        [info("state", [2, 6]), info("a", [2, 6]), info("b", [2, 6])],
        [info("next", None), info("row", None), info("column", None)],
    )
    scan = helper.make_node(
        "Scan",
        ["start", "x", "z"],
        ["last", "rows", "columns"],
        name="/Scan",
        body=body,
        num_scan_inputs=2,
        scan_input_axes=[0, -1],
        scan_input_directions=[0, 1],
        scan_output_axes=[0, 2],
        scan_output_directions=[1, 0],
    )
    rng = np.random.default_rng(3)
    graph = helper.make_graph(
        [scan, helper.make_node("Relu", ["rows"], ["shown"], name="/Relu")],
        "scanned",
        [info("start", [2, 6]), info("x", ["N", 2, 6]), info("z", [2, 6, "N"])],
        [info("last", None), info("shown", None), info("columns", None)],
        [constant("w", rng.standard_normal((6, 6), dtype=np.float32) / 4)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_scan(tmp_path):
    path, plan, again = tmp_path / "s.onnx", tmp_path / "s.vitrail", tmp_path / "again.vitrail"
    onnx.save(scan_model(), path)
    shapes = ("--shapes", "x:1..3..8x2x6", "--shapes", "z:2x6x1..3..8")
    vitrail("build", path, "-o", plan, *shapes, "--verify", "full")
    vitrail("build", plan, "-o", again)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(4)
    for file in plan, again:
        for n in 1, 3, 8:
            dims = {"start": (2, 6), "x": (n, 2, 6), "z": (2, 6, n)}
            feeds = {name: rng.standard_normal(d).astype(np.float32) for name, d in dims.items()}
            np.savez(tmp_path / "in.npz", **feeds)
            vitrail("run", file, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz")
            with np.load(tmp_path / "out.npz") as got:
                for name, wanted in zip(("last", "shown", "columns"), session.run(None, feeds), strict=True):
                    np.testing.assert_allclose(got[name], wanted, rtol=1e-5, atol=1e-5, err_msg=name)
