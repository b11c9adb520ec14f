"""The benchmark runner of bench/python: statistics, the child process and rounds with failing contestants."""

import json
import shlex
import sys
from pathlib import Path

import pytest

BENCH_DIR = Path(__file__).resolve().parents[2] / "bench" / "python"
sys.path.insert(0, str(BENCH_DIR))

import peer_engine
import peer_report
import peers

onnx = pytest.importorskip("onnx")


def result(median, least=None):
    return {"latency_ms": {"min": least or median, "median": median}, "load_ms": 5.0, "peak_memory_mib": 100.0}


def test_spread_of_one_and_of_five():
    assert peer_report.spread([3.0]) == {"median": 3.0, "q1": 3.0, "q3": 3.0, "min": 3.0, "max": 3.0}
    assert peer_report.spread([5, 1, 4, 2, 3]) == {"median": 3, "q1": 2, "q3": 4, "min": 1, "max": 5}


def test_ratios_pair_the_measurements_of_a_round():
    rounds = [{"a": result(10), "b": result(20)}, {"a": result(100), "b": result(300, 150)}]
    ratios = peer_report.paired_ratios(["a", "b"], rounds)["b"]
    assert ratios["median"]["median"] == pytest.approx(2.5)
    assert (ratios["least"]["min"], ratios["least"]["max"]) == (1.5, 2.0)


def test_parse_shapes():
    assert peer_engine.parse_shapes("1x3x8x8") == {None: (1, 3, 8, 8)}
    assert peer_engine.parse_shapes("input:1x3,mask:1x10") == {"input": (1, 3), "mask": (1, 10)}
    assert peer_engine.parse_shapes("") == {}


def fake_contestant(folder, name, body):
    """A command template that runs `body`, in which `out` is the JSON path."""
    script = folder / f"{name}.py"
    script.write_text(f"import sys, json, pathlib\nout = pathlib.Path(sys.argv[1])\n{body}\n")
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} {{json}}"


SETTINGS = {"model": "m.onnx", "shape": "", "threads": 1, "seconds": 0.05, "warmup_ms": 1.0}


def test_rounds_alternate_and_failures_are_taken_out(tmp_path, capsys):
    write = f"out.write_text(json.dumps({result(2.0)!r}))"
    contestants = {
        "good": fake_contestant(tmp_path, "good", write),
        "other": fake_contestant(tmp_path, "other", write),
        "silent": fake_contestant(tmp_path, "silent", ""),
        "broken": fake_contestant(tmp_path, "broken", "print('no such model'); sys.exit(3)"),
        "missing": "/nonexistent/program {json}",
    }
    rounds, failed = peers.play(contestants, SETTINGS, rounds=2, timeout=60)
    assert [list(measured) for measured in rounds] == [["good", "other"], ["other", "good"]]
    assert failed.keys() == {"silent", "broken", "missing"}
    assert "no such model" in failed["broken"]
    assert "exit code 3" in failed["broken"]
    assert "silent failed" in capsys.readouterr().err


def test_timeout_kills(tmp_path):
    template = fake_contestant(tmp_path, "slow", "import time; time.sleep(60)")
    with pytest.raises(peers.MeasurementError, match="exit code -9"):
        peers.measure(template, SETTINGS, timeout=0.5)


def test_whole_run_with_onnxruntime(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> m (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }'
    )
    path = tmp_path / "relu.onnx"
    onnx.save(model, path)
    write = f"out.write_text(json.dumps({result(2.0)!r}))"
    command = "mine=" + fake_contestant(tmp_path, "mine", write)
    argv = ["peers.py", str(path), "--shape", "x:2x4", "--engines", "onnxruntime", "--command", command]
    argv += ["--rounds", "2", "--seconds", "0.02", "--warmup-ms", "1", "--json", str(tmp_path / "report.json")]
    monkeypatch.setattr(sys, "argv", argv)
    assert peers.main() == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["summary"]) == ["mine", "onnxruntime"]
    assert report["ratios"].keys() == {"onnxruntime"}
    assert report["summary"]["onnxruntime"]["peak_memory_mib"] > 20
    assert report["summary"]["onnxruntime"]["version"]
    assert "| onnxruntime / mine | median |" in capsys.readouterr().out
