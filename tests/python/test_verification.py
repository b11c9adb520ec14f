# SPDX-License-Identifier: Apache-2.0
"""Builds by the program when kernels are wrong: an executable of the tests, with another list of kernels."""

import os
import subprocess

import pytest

from program import BUILD, dense_model

BROKEN = BUILD / "tests/broken/vitrail_with_broken_kernels"
pytestmark = pytest.mark.skipif(not BROKEN.exists(), reason=f"{BROKEN} is not built")


def build(folder, broken, op_types):
    """Exit code, what was printed, and the files left in an empty folder."""
    model, out = folder / "dense.onnx", folder / "out"
    dense_model(model, dims=(4, 8), op_types=op_types)
    out.mkdir()
    done = subprocess.run(
        [BROKEN, "build", model, "-o", out / "dense.vitrail"],
        capture_output=True,
        text=True,
        env=os.environ | {"VITRAIL_BROKEN": broken},
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr, sorted(f.name for f in out.iterdir())


def test_nothing_broken_nothing_said(tmp_path):
    code, told, files = build(tmp_path, "", ("MatMul", "Softmax", "Transpose"))
    assert code == 0
    assert "switched off" not in told
    assert files == ["dense.vitrail"]


def test_what_is_broken_is_switched_off_and_named(tmp_path):
    code, told, files = build(tmp_path, "softmax", ("MatMul", "Softmax", "Transpose"))
    assert code == 0
    assert "switched off: kernel 'softmax_" in told
    assert files == ["dense.vitrail"]


def test_without_a_sound_kernel_there_is_no_plan(tmp_path):
    """Copies have no reference to fall back to."""
    code, told, files = build(tmp_path, "copy,gemm,softmax,pointwise", ("MatMul", "Softmax", "Transpose"))
    assert code == 8, told
    assert "switched off: kernel 'copy_" in told
    assert files == []
