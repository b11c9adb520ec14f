# SPDX-License-Identifier: Apache-2.0
"""The program `vitrail` of the build folder, for the tests, and small files to give it."""

import os
import subprocess
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("VITRAIL_BUILD", ROOT / "build"))
VITRAIL = BUILD / "vitrail"


def vitrail(*arguments, code=0, level=None, processor=None):
    """Runs the program, expects an exit code, returns what it printed (stdout and stderr). `processor`: emulated,
    as QEMU names it."""
    environment = dict(os.environ)
    if level:
        environment["VITRAIL_MAX_ISA"] = level
    command = [str(VITRAIL), *map(str, arguments)]
    if processor:
        command = ["qemu-x86_64", "-cpu", processor, *command]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == code, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def run(*arguments, folder=None, environment=None, timeout=600):
    """(exit code, standard output, standard error) of the program."""
    done = subprocess.run(
        [VITRAIL, *(word if isinstance(word, bytes) else str(word) for word in arguments)],
        capture_output=True,
        cwd=folder,
        env=os.environ | (environment or {}),
        timeout=timeout,
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def refused(*arguments, code, says=(), folder=None, environment=None):
    """Expects an error: its exit code, one line on standard error that has all of `says`. Returns the line."""
    got, _, errors = run(*arguments, folder=folder, environment=environment)
    assert got == code, f"{arguments}: exit {got}, expected {code}\n{errors}"
    lines = [line for line in errors.splitlines() if not line.startswith("build: ")]
    assert len(lines) == 1, errors
    assert lines[0].startswith("vitrail: ")
    for words in [says] if isinstance(says, str) else says:
        assert words in lines[0], lines[0]
    return lines[0]


def dense_model(path, opset=17, dims=("N", 8), op_types=("MatMul", "Relu"), **external):
    """A small model: x[N,8] @ w -> each of the other ops in turn -> y."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.random.default_rng(0).random((8, 4), np.float32) - 0.5, "w")
    nodes = [helper.make_node(op_types[0], ["x", "w"], ["v0"], "first")]
    for i, op_type in enumerate(op_types[1:]):
        last = i == len(op_types) - 2
        nodes.append(helper.make_node(op_type, [f"v{i}"], ["y" if last else f"v{i + 1}"], f"node{i}"))
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(path), **external)
    return path
