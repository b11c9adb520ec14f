# SPDX-License-Identifier: Apache-2.0
"""The script behind `./dev demo` from end to end, with small shapes and a single short round."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("VITRAIL_BUILD", ROOT / "build"))
DEMO = ROOT / "bench" / "python" / "demo.py"

pytestmark = pytest.mark.skipif(not (BUILD / "vitrail").exists(), reason=f"{BUILD}/vitrail is not built")


def demo(*arguments, code=0):
    command = [sys.executable, DEMO, *map(str, arguments)]
    environment = os.environ | {"VITRAIL_BUILD": str(BUILD)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_demo_shows_results_and_both_tables(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("skimage")
    text = demo("--quick", "--folder", tmp_path)
    parts = ["Models and plans", "Photographs", "Accuracy", "Speed, float32"]
    places = [text.index(f"\n{part}") for part in parts]
    assert places == sorted(places)
    assert text.count(" %  class ") == 15, "five classes of each of three photographs"
    assert "its class names mean nothing" in text
    assert "its spectra mean nothing" in text
    rows = [line.split() for line in text.splitlines() if line.startswith(("cvt13 ", "mst_plus_plus "))]
    errors = [row for row in rows if "/" in row]
    assert len(errors) == 6, "ours and ONNX Runtime's against the reference and each other, two models"
    assert all(float(figure) < 1e-3 for row in errors for figure in row[-6:-3])
    timings = [row for row in rows if len(row) > 4 and row[1][0].isdigit()]
    assert [row[:2] for row in timings] == [["cvt13", "1x3x224x224"], ["mst_plus_plus", "1x3x64x80"]]
    report = json.loads((tmp_path / "cvt13_1x3x224x224.json").read_text())
    assert next(iter(report["rounds"][0])) == "vitrail"
    assert "onnxruntime" in report["ratios"]


def test_the_demo_refuses_what_it_cannot_do(tmp_path):
    assert "there is no file" in demo(tmp_path / "none.jpg", code=2)
    assert "MODEL=FILE" in demo("--weights", "cvt13", code=2)
    assert "MODEL=FILE" in demo("--weights", f"alexnet={DEMO}", code=2)
