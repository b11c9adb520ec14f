#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests and measures this build on a machine with a GPU, from the folder that scripts/gpu_bundle.sh makes.

Usage: run_all.py OUT [--only PART,..] [--conformance NAME-PART,..] [--budget SECONDS]
  [--cases NAME,.. --processors N --verify LEVEL]
Parts: host, golden, bench, trace, verify, control, errors, peers, copies, start, sessions, lost, conformance, tuning.
Without --only all of it but tuning, some ten minutes: "host" is the processor's part, the rest needs the GPU. Plans are
untuned unless --budget gives the tuner time; "tuning" compares both, 60 s where nothing is given. Writes results.json
and results.md to OUT; a part that breaks is reported and the others go on.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "tests" / "python"))
import checks  # noqa: E402
import host  # noqa: E402
import runtime  # noqa: E402
import traces  # noqa: E402
import tuning  # noqa: E402

from golden import Golden  # noqa: E402

PRECISIONS = {"f32": [], "tf32": ["--tf32"], "f16": ["--fp16"], "bf16": ["--bf16"]}
# model, shape, precision
BENCHES = [
    ("cvt13", "1x3x224x224", "f16"),
    ("cvt13", "8x3x224x224", "f16"),
    ("cvt13", "32x3x224x224", "f16"),
    ("cvt13", "1x3x224x224", "f32"),
    ("cvt13", "1x3x224x224", "tf32"),
    ("mst_plus_plus", "1x3x512x482", "f16"),
    ("mst_plus_plus", "8x3x512x482", "f16"),
    ("mst_plus_plus", "1x3x512x482", "f32"),
]


def environment(folder):
    out = dict(os.environ)
    out["LD_LIBRARY_PATH"] = f"{HERE / 'lib'}:{out.get('LD_LIBRARY_PATH', '')}"
    out["VITRAIL_CACHE"] = str(folder / "cache")
    return out


class Runner:
    def __init__(self, work, out, budget):
        self.work, self.out, self.budget = work, out, budget
        self.env = environment(work)
        self.plans = {}

    def program(self, name, *arguments, timeout=300, environment=None, prefix=()):
        """Exit code, output and seconds of one of our programs."""
        start = time.monotonic()
        done = subprocess.run(
            [*prefix, str(HERE / "bin" / name), *map(str, arguments)],
            capture_output=True,
            text=True,
            env=self.env | (environment or {}),
            timeout=timeout,
        )
        return done.returncode, done.stdout + done.stderr, time.monotonic() - start

    def model(self, name):
        path = self.work / f"{name}.onnx"
        if not path.exists():
            code, text, _ = self.program("vitrail", "zoo", "export", name, "-o", path)
            if code:
                raise SystemExit(text)
        return path

    def plan(self, name, shape, precision):
        """A plan's path and how long its build took; a text instead of the path when it failed. Built once."""
        key = (name, shape, precision)
        if key not in self.plans:
            path = self.work / f"{name}-{shape}-{precision}.vitrail"
            code, text, seconds = self.program(
                "vitrail", "build", self.model(name), "-o", path, "--shapes", f"input:{shape}", "--device", "cuda",
                "-q", "--verify", "off", "--budget", self.budget, *PRECISIONS[precision],
            )  # fmt: skip
            self.plans[key] = (path if code == 0 else f"exit {code}: {text[-1500:]}"), seconds
        return self.plans[key]

    def build_all(self, cases):
        """Builds plans side by side; timed builds one after the other, as each wants the device for itself."""
        for name in {case[0] for case in cases}:
            self.model(name)
        with ThreadPoolExecutor(1 if self.budget else 8) as pool:
            list(pool.map(lambda case: self.plan(*case), cases))


def conformance(runner, parts):
    """All kernels, or those that one of `parts` is in the name of."""
    code, texts, seconds = 0, [], 0
    for part in parts or [""]:
        one, text, took = runner.program("vitrail_gpu_conformance", part, timeout=420)
        code, seconds = max(code, one), seconds + took
        texts.append(text)
    text = "".join(texts)
    print(text[-9000:], flush=True)
    return {"exit": code, "seconds": seconds, "text": text}


def finite_times_100(runner, plan, image, output):
    """Whether an image a hundred times too bright still gives finite values."""
    bright, results = (runner.work / f"bright-{what}-{plan.stem}.npz" for what in ("in", "out"))
    np.savez(bright, input=image * np.float32(100))
    code, text, _ = runner.program("vitrail", "run", plan, "--inputs", bright, "--outputs", results)
    if code:
        return f"exit {code}: {text[-500:]}"
    with np.load(results) as got:
        return bool(np.isfinite(got[output]).all())


GOLDENS = [
    (model, output, case)
    for model, output, cases in (
        ("cvt13", "logits", ["224x224"]),
        ("cvt21", "logits", ["224x224"]),
        ("mst_plus_plus", "output", ["64x72", "60x62", "512x482"]),
    )
    for case in cases
]


def golden(runner):
    cases = []
    for model, output, case in GOLDENS:
        image = Golden(model).input(case)
        np.savez(runner.work / f"in-{model}-{case}.npz", input=image)
        cases += [(model, output, case, precision, image) for precision in PRECISIONS]
    runner.build_all([(model, "x".join(map(str, image.shape)), precision) for model, _, _, precision, image in cases])
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda case: golden_row(runner, *case), cases))
    runtime.times_rounding(runner, rows)
    for row in rows:
        print(row, flush=True)
    return rows


def golden_row(runner, model, output, case, precision, image):
    plan, seconds = runner.plan(model, "x".join(map(str, image.shape)), precision)
    row = {"model": model, "case": case, "precision": precision, "build_s": round(seconds, 1)}
    if not isinstance(plan, Path):
        return row | {"error": plan}
    results = runner.work / f"out-{model}-{case}-{precision}.npz"
    code, text, _ = runner.program(
        "vitrail", "run", plan, "--inputs", runner.work / f"in-{model}-{case}.npz", "--outputs", results
    )
    row |= {"plan": plan.name, "image": f"in-{model}-{case}.npz"}
    if code:
        return row | {"error": f"exit {code}: {text[-1500:]}"}
    with np.load(results) as got:
        values = got[output]
    stored = Golden(model)
    row["max_difference"] = stored.max_difference(case, output, values)
    row["digest_difference"] = stored.digest_difference(case, output, values)
    row["f32_tolerance"] = stored.tolerance(case, output)
    row["within_f32"] = bool(row["max_difference"] <= row["f32_tolerance"])
    full = stored.arrays(case).get(output)
    if full is not None:
        difference = values.astype(np.float64) - full
        row["mean_difference"] = float(np.abs(difference).mean())
        row["relative_l2"] = float(np.linalg.norm(difference) / np.linalg.norm(full))
    row["finite"] = bool(np.isfinite(values).all())
    row["finite_times_100"] = finite_times_100(runner, plan, image, output)
    return row


def bench(runner):
    runner.build_all(BENCHES)
    rows = []
    for model, shape, precision in BENCHES:
        plan, seconds = runner.plan(model, shape, precision)
        row = {"model": model, "shape": shape, "precision": precision, "build_s": round(seconds, 1)}
        if not isinstance(plan, Path):
            row["error"] = plan
        else:
            figures = runner.work / "bench.json"
            code, text, _ = runner.program("vitrail", "bench", plan, "--json", figures, "--duration", 1)
            row["text"] = text[-6000:]
            if code:
                row["error"] = text[-1500:]
            else:
                row.update(json.loads(figures.read_text()))
        print({k: v for k, v in row.items() if k != "text"}, flush=True)
        rows.append(row)
    return rows


def markdown(results):
    lines = ["| model | input | precision | GPU alone, ms | end to end, ms | build, s |", "|---|---|---|---|---|---|"]
    for row in results.get("bench", []):
        alone = row.get("device_ms", {}).get("median")
        whole = row.get("latency_ms", {}).get("median")
        cells = [f"{x:.3f}" if x else "failed" for x in (alone, whole)]
        lines.append(
            f"| {row['model']} | {row['shape']} | {row['precision']} | {cells[0]} | {cells[1]} | {row['build_s']} |"
        )
    lines += [
        "",
        "| model | case | precision | max difference | float32 tolerance | relative L2 | of rounding alone "
        "| times that | finite at 100 times |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results.get("golden", []):
        if "error" in row:
            lines.append(f"| {row['model']} | {row['case']} | {row['precision']} | failed | | | | | |")
            continue
        lines.append(
            f"| {row['model']} | {row['case']} | {row['precision']} | {row['max_difference']:.3g} "
            f"| {row['f32_tolerance']:.3g} | {row.get('relative_l2', 0):.3g} "
            f"| {row.get('rounded_l2', 0):.3g} | {row.get('times_rounding', 0):.2f} | {row['finite_times_100']} |"
        )
    lines += [
        "",
        "| model | input | inputs and outputs | memory | GPU alone, ms | end to end, ms | first result, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results.get("copies", []):
        figures = [row.get(key) for key in ("device_ms", "latency_ms", "first_result_ms")]
        cells = " | ".join(f"{x:.3f}" if x else "failed" for x in figures)
        lines.append(f"| {row['model']} | {row['shape']} | {row['io']} | {row['memory']} | {cells} |")
    for part in "verify", "control", "errors", "start", "sessions", "lost":
        for row in results.get(part, []):
            name = " ".join(str(row[key]) for key in ("model", "precision", "case") if key in row)
            lines.append(f"{part}: {name}: exit {row['exit']}" + ("" if row.get("ok", row["exit"] == 0) else " FAILED"))
    parts = [module.markdown(results) for module in (tuning, host, traces)]
    return "\n".join(lines) + "".join(f"\n\n{part}" for part in [checks.peers_markdown(results), *parts]) + "\n"


def gpu():
    """The GPU and its driver as the system names them."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "no GPU"
    except FileNotFoundError:
        return "no GPU"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", help="parts, separated by commas; without it all but tuning")
    parser.add_argument("--conformance", default="", help="parts of kernels' names, separated by commas")
    parser.add_argument("--budget", type=float, default=0, help="seconds of tuning for each plan")
    parser.add_argument("--cases", default="", help=f"of the part tuning: {','.join(tuning.CASES)}; all")
    parser.add_argument("--processors", type=int, default=os.cpu_count(), help="for the builds of the part tuning")
    parser.add_argument("--verify", default="off", help="of the builds of the part tuning")
    options = parser.parse_args()
    work = Path("/tmp/vitrail-gpu")
    work.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    results = {"machine": gpu(), "processor": platform.processor() or platform.machine()}
    runner = Runner(work, options.out, options.budget)
    cases = [name for name in options.cases.split(",") if name]
    steps = {
        "host": lambda: host.host(runner),
        "golden": lambda: golden(runner),
        "bench": lambda: bench(runner),
        "trace": lambda: traces.traces(runner),
        "verify": lambda: checks.verify(runner, PRECISIONS),
        "control": lambda: checks.control(runner, HERE, PRECISIONS),
        "errors": lambda: checks.errors(runner),
        "peers": lambda: checks.peers(runner, HERE),
        "copies": lambda: runtime.copies(runner),
        "start": lambda: runtime.start(runner),
        "sessions": lambda: runtime.sessions(runner),
        "lost": lambda: runtime.lost(runner),
        "tuning": lambda: tuning.tuning(
            runner, PRECISIONS, cases, options.budget or 60, options.processors, options.verify
        ),
        "conformance": lambda: conformance(runner, [part for part in options.conformance.split(",") if part]),
    }
    for name in options.only.split(",") if options.only else (part for part in steps if part != "tuning"):
        try:
            results[name] = steps[name]()
        except Exception:
            results.setdefault("broken", {})[name] = traceback.format_exc()
            print(results["broken"][name], flush=True)
        (options.out / "results.json").write_text(json.dumps(results, indent=1))
        (options.out / "results.md").write_text(f"{results['machine']}\n\n{markdown(results)}")
    print(markdown(results))


if __name__ == "__main__":
    main()
