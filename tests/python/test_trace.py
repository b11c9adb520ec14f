# SPDX-License-Identifier: Apache-2.0
"""`vitrail trace`, and what leads to it from trtexec's options: text, JSON, time line, profile, NVTX, bad options."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

import program
from program import BUILD, VITRAIL, dense_model, refused, vitrail

pytestmark = pytest.mark.skipif(not VITRAIL.exists(), reason=f"{VITRAIL} is not built")

SHORT = ("--duration", 0, "--warmUp", 0, "--iterations", 3)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "trace.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace")
    os.environ["VITRAIL_CACHE"] = str(path / "cache")
    yield path
    del os.environ["VITRAIL_CACHE"]


@pytest.fixture(scope="module")
def plan(folder):
    """One product with its Relu."""
    model = dense_model(folder / "dense.onnx", dims=("N", 8), op_types=("MatMul", "Relu"))
    out = folder / "dense.vitrail"
    vitrail("build", model, "-o", out, "--shapes", "x:1..4..64x8", "--budget", 0)
    return out


@pytest.fixture(scope="module")
def control(folder):
    """A plan with a branch and a loop, and an input that takes the loop three rounds."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import test_control_flow

    model, out, inputs = folder / "control.onnx", folder / "control.vitrail", folder / "control.npz"
    onnx.save(test_control_flow.model(), model)
    vitrail("build", model, "-o", out, "--shapes", "x:1..4..8x6", "--budget", 0)
    np.savez(inputs, x=np.full((4, 6), 0.5, np.float32), rounds=np.int64(3))
    return out, inputs


def traced(plan, folder, *arguments):
    """(text, JSON) of a trace."""
    path = folder / "trace.json"
    text = vitrail("trace", plan, *SHORT, "--json", path, *arguments)
    return text, json.loads(path.read_text())


def test_text_has_steps_rates_and_sums(plan, folder):
    text, _ = traced(plan, folder)
    for words in ("trace of", "runs\n", "machine: memory", "gemm_f32", "<- first", "by kernel", "sum of the steps"):
        assert words in text
    assert "an untouched run" in text.splitlines()[-1]


def test_json_has_what_the_document_promises(plan, folder):
    _, trace = traced(plan, folder, "--depth", 1)
    assert trace["vitrail_trace"] == 1
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    promised = {row.split("`")[1]: row for row in rows}
    for key in ("machine", "totals", "modules[]", "steps[]"):
        names = [word for word in promised[key].split("`")[3::2] if word.isidentifier()]
        found = trace[key.removesuffix("[]")]
        found = found[0] if isinstance(found, list) else found
        gpu_only = {"alone_us", "overlap_us", "graph_us", "chain_us", "mark_us"} if key == "totals" else set()
        assert len(names) > 3
        assert set(names) - gpu_only <= set(found), key
    step = trace["steps"][0]
    assert step["flop"] == 2 * 4 * 8 * 4
    assert step["read_bytes"] == 4 * (4 * 8 + 8 * 4)
    assert step["written_bytes"] == 4 * 4 * 4
    assert step["sources"][0] == "first"
    assert step["calls"] == 1
    assert step["us"]["low"] <= step["us"]["median"] <= step["us"]["high"]
    assert sum(s["share"] for s in trace["steps"]) == pytest.approx(1)
    assert sum(s["us"]["median"] for s in trace["steps"]) == pytest.approx(trace["totals"]["steps_us"])
    assert trace["inputs"] == {"x": [4, 8]}
    assert trace["machine"]["gflops"]["float32"] > 0


def test_shapes_and_inputs_decide_the_work(plan, folder):
    _, small = traced(plan, folder, "--shapes", "x:1x8")
    inputs = folder / "x.npz"
    np.savez(inputs, x=np.zeros((64, 8), np.float32))
    _, large = traced(plan, folder, "--inputs", inputs)
    assert 64 * small["steps"][0]["flop"] == large["steps"][0]["flop"]
    assert large["inputs"] == {"x": [64, 8]}


def test_onnx_models_are_built_first(folder, plan):
    text, trace = traced(folder / "dense.onnx", folder, "--shapes", "x:2x8")
    assert "gemm_f32" in text
    assert trace["inputs"] == {"x": [2, 8]}


def test_top_names_the_longest(plan, control, folder):
    everything, trace = traced(control[0], folder, "--inputs", control[1])
    text, _ = traced(control[0], folder, "--inputs", control[1], "--top", 2)
    assert f"... {len(trace['steps']) - 2} more steps" in text
    assert "more steps" not in everything


def test_steps_inside_branches_and_loops_have_path_and_count(control, folder):
    text, trace = traced(control[0], folder, "--inputs", control[1])
    inside = [s for s in trace["steps"] if s["path"].startswith("loop ")]
    assert inside
    assert {s["calls"] for s in inside} == {3}
    assert any(s["kind"] == "loop" for s in trace["steps"])
    taken = {s["path"]: s["calls"] for s in trace["steps"] if s["path"].startswith(("if ", "unless "))}
    assert set(taken.values()) == {1}  # the other branch is a view, without steps
    assert " x 3" in text


def test_time_line_is_valid_and_in_order(control, folder):
    path = folder / "timeline.json"
    vitrail("trace", control[0], *SHORT, "--inputs", control[1], "--chrome", path, "--threads", 2)
    events = json.loads(path.read_text())["traceEvents"]
    spans = [e for e in events if e["ph"] == "X"]
    assert spans
    assert all(e["dur"] >= 0 and e["ts"] >= 0 and e["name"] for e in spans)
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in spans} <= set(names)
    assert "steps" in names.values()
    for thread, name in names.items():
        mine = sorted((e["ts"], e["ts"] + e["dur"]) for e in spans if (e["pid"], e["tid"]) == thread)
        if name.startswith("worker"):  # a worker does one thing after the other
            assert all(a[1] <= b[0] + 0.001 for a, b in itertools.pairwise(mine))
        else:
            starts = [e["ts"] for e in spans if (e["pid"], e["tid"]) == thread]
            assert starts == sorted(starts)


def test_the_machine_is_measured_once(plan, folder):
    traced(plan, folder)
    known = folder / "cache" / "machine.json"
    before = known.read_text()
    traced(plan, folder)
    assert known.read_text() == before
    traced(plan, folder, "--remeasure")
    assert json.loads(known.read_text())["machines"].keys() == json.loads(before)["machines"].keys()
    known.write_text(before[:40])
    assert "measured again" in traced(plan, folder)[0]
    assert json.loads(known.read_text())["machines"]


def test_bench_profiles_as_trtexec_does(plan, folder):
    path = folder / "profile.json"
    text = vitrail(
        *("bench", plan, *SHORT, "--separateProfileRun", "--dumpProfile", f"--exportProfile={path}"),
    )
    assert "=== Performance summary ===" in text
    assert "sum of the steps" in text
    count, *layers = json.loads(path.read_text())
    assert count["count"] >= 3
    assert all(set(e) == {"name", "timeMs", "averageMs", "medianMs", "percentage"} for e in layers)
    assert sum(e["percentage"] for e in layers) == pytest.approx(100)
    assert "sum of the steps" not in vitrail("bench", plan, *SHORT)


def test_options_of_the_build_lead_to_it(folder):
    for option in ("--dumpProfile", "--exportProfile=x", "--separateProfileRun"):
        refused("build", folder / "dense.onnx", "-o", folder / "no.vitrail", option, code=2, says="vitrail trace")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--top", 0), 2, "--top"),
        (("--iterations", "many"), 2, "--iterations"),
        (("--depth", -1), 2, "--depth"),
        (("--jsn", "x"), 2, "--json"),
        (("--shapes", "image:1x8"), 2, "'x'"),
        (("--shapes", "x:99x8"), 3, "99"),
        (("--json", "no/such/folder/x.json"), 6, "no/such/folder"),
        (("--chrome", "no/such/folder/x.json"), 6, "no/such/folder"),
    ],
)
def test_bad_options_end_with_a_named_error(plan, arguments, code, says):
    refused("trace", plan, *SHORT, *arguments, code=code, says=says)


def test_the_gpu_scripts_tables(plan, folder, monkeypatch):
    monkeypatch.syspath_prepend(program.ROOT / "bench" / "gpu")
    import traces

    _, trace = traced(plan, folder)
    text = traces.markdown({"trace": [{"model": "dense", "shape": "4x8", "precision": "f32", "trace": trace}]})
    step = trace["steps"][0]
    assert f"| {step['kernel']} | 1 |" in text
    assert "sum of the steps alone" in text
    chained = trace | {"chained": True}
    chained["totals"] |= dict.fromkeys(("alone_us", "overlap_us"), 1.0)
    chained["totals"] |= {key: {"median": 2.0} for key in ("chain_us", "graph_us")}
    assert "back to back 2.0" in traces.account(chained)
    assert [len(steps) for steps in traces.alike(trace)] == [1] * len(trace["steps"])


def test_missing_and_damaged_plans(plan, folder):
    refused("trace", folder / "none.vitrail", code=6, says="none.vitrail")
    cut = folder / "cut.vitrail"
    cut.write_bytes(plan.read_bytes()[:-100])
    refused("trace", cut, code=3, says="cut.vitrail")


def test_a_profiler_is_told_of_every_step(plan, folder):
    tool = next(BUILD.rglob("libnvtx_tool.so"), None)
    if tool is None:
        pytest.skip("built without tests")
    code, _, errors = program.run("trace", plan, *SHORT, environment={"NVTX_INJECTION64_PATH": str(tool)})
    assert code == 0, errors
    code, _, errors = program.run("trace", plan, *SHORT, environment={"NVTX_INJECTION64_PATH": str(plan)})
    assert code == 0
    assert "NVTX_INJECTION64_PATH" in errors


def test_a_machine_measured_while_it_was_busy_is_doubted(plan, folder):
    text, _ = traced(plan, folder, "--remeasure")
    assert "--remeasure" not in text
    (path,) = (folder / "cache").rglob("machine.json")
    kept = json.loads(path.read_text())
    for machine in kept["machines"].values():
        slow = {"memory_gbs": 1e-6, "cache_gbs": 1e-6, "launch_us": 0}
        machine.update(slow, gflops=dict.fromkeys(machine["gflops"], 1e-06))
    path.write_text(json.dumps(kept))
    try:
        text, _ = traced(plan, folder)
        assert "1 step(s) did more than the machine when it was measured" in text
    finally:
        path.unlink()
