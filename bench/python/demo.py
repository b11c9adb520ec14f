#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job from end to end; `./dev demo` and `./dev bench` run it.

Writes CvT-13 and MST++ as ONNX, builds and verifies a plan of each, shows what they make of photographs, compares the
results with ONNX Runtime, then times the plans beside ONNX Runtime and OpenVINO: fresh processes, turn by turn.

    ./dev demo [PHOTO ...] [--weights cvt13=FILE] [--weights mst_plus_plus=FILE] [--full]
    ./dev bench            the tables only, at least 9 rounds
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build" / "vitrail"
SAMPLES = ("astronaut.png", "chelsea.png", "coffee.png")


@dataclass(frozen=True)
class Model:
    """A model of the demo: its shapes, min..opt..max for the build, and those that are timed."""

    name: str
    range: str
    timed: tuple[str, ...]
    checked: tuple[int, ...]


MODELS = (
    Model("cvt13", "1..1..32x3x224x224", tuple(f"{n}x3x224x224" for n in (1, 4, 8, 16, 32)), (1, 3, 224, 224)),
    Model("mst_plus_plus", "1x3x64..512..1024x64..482..1024", ("1x3x512x482",), (1, 3, 512, 482)),
)


def heading(text):
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{text}{plain}", flush=True)


def vitrail(*arguments):
    """Runs the program, shown as a user would type it; ends the demo with its exit code when it fails."""
    words = [str(word) for word in arguments]
    print("$ vitrail " + " ".join(words), flush=True)
    code = subprocess.run([PROGRAM, *words], check=False).returncode
    if code:
        sys.exit(code)


def sample_photos():
    """The sample pictures inside scikit-image, which come with the package."""
    from importlib.util import find_spec

    folder = Path(find_spec("skimage").origin).parent / "data"
    return [folder / name for name in SAMPLES]


def make(model, folder, weights, options):
    """Exports and builds; gives the paths of ONNX file and plan."""
    onnx, plan = folder / f"{model.name}.onnx", folder / f"{model.name}.vitrail"
    vitrail("zoo", "export", model.name, "--weights", weights or "deterministic", "-o", onnx)
    cache = folder / "timing-cache.json"
    shapes = f"input:{model.range}"
    vitrail("build", onnx, "-o", plan, "--shapes", shapes, "--timing-cache", cache, "--threads", options.threads)
    return onnx, plan


def run_onnxruntime(onnx, feed):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def errors(ours, theirs):
    """Largest, mean and median absolute and relative error; relative to the magnitude of the other result."""
    difference = np.abs(ours.astype(np.float64) - theirs)
    relative = difference / np.maximum(np.abs(theirs), np.finfo(np.float32).tiny)
    statistics = (np.max, np.mean, np.median)
    return [f"{statistic(values):.2e}" for values in (difference, relative) for statistic in statistics]


def table(header, rows):
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def accuracy(made, folder):
    """The plans beside ONNX Runtime on one random input."""
    rows = []
    for model, (onnx, plan) in made.items():
        feed = {"input": np.random.default_rng(1).random(model.checked, np.float32)}
        inputs, outputs = folder / "inputs.npz", folder / "outputs.npz"
        np.savez(inputs, **feed)
        vitrail("run", plan, "--inputs", inputs, "--outputs", outputs)
        ours = np.load(outputs)
        for name, theirs in run_onnxruntime(onnx, feed).items():
            rows.append([model.name, name, "x".join(map(str, theirs.shape)), *errors(ours[name], theirs)])
    header = ["model", "output", "shape", "abs max", "abs mean", "abs median", "rel max", "rel mean", "rel median"]
    print(table(header, rows))


def speed(made, options, deadline):
    """Rounds of ours, ONNX Runtime and OpenVINO for each shape; gives the reports of peers.py.

    peers.py runs as a program of its own, because memory of the process that starts a contestant counts as the
    contestant's.
    """
    reports = []
    for model, (onnx, plan) in made.items():
        for shape in model.timed:
            if reports and time.monotonic() > deadline:
                print(f"{model.name} {shape}: left out, the time is used up (--full or ./dev bench measures it)")
                continue
            result = options.folder / f"{model.name}_{shape}.json"
            ours = f"vitrail={PROGRAM} bench {plan} --shapes input:{{shape}} --threads {{threads}} --json {{json}}"
            ours += f" --warmUp {{warmup_ms}} --duration {{seconds}} --iterations {options.iterations}"
            command = [
                sys.executable,
                ROOT / "bench" / "python" / "peers.py",
                onnx,
                "--shape",
                shape,
                "--command",
                ours,
            ]
            command += ["--threads", options.threads, "--rounds", options.rounds, "--seconds", options.seconds]
            command += ["--json", result, "--markdown", result.with_suffix(".md")]
            subprocess.run([str(word) for word in command], check=False, stdout=subprocess.DEVNULL)
            report = json.loads(result.read_text())
            if "vitrail" in report["failed"]:
                sys.exit(f"vitrail bench failed: {report['failed']['vitrail']}")
            reports.append(report)
    return reports


def speed_table(reports):
    rows = []
    for report in reports:
        row = [report["settings"]["model"].removesuffix(".onnx"), report["settings"]["shape"]]
        row.append(f"{report['summary']['vitrail']['latency_ms']['median']:.1f}")
        for peer in ("onnxruntime", "openvino"):
            if peer in report["summary"]:
                ratio = report["ratios"][peer]["median"]
                row.append(f"{report['summary'][peer]['latency_ms']['median']:.1f}")
                row.append(f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})")
            else:
                row += ["failed", "-"]
        rows.append(row)
    return table(["model", "input", "vitrail ms", "ONNX Runtime ms", "speed-up", "OpenVINO ms", "speed-up"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, help="JPEG or PNG; default: samples of scikit-image")
    parser.add_argument("--weights", action="append", default=[], metavar="MODEL=FILE", help="official weights")
    parser.add_argument("--full", action="store_true", help="measure as for a claim: 9 rounds, every shape")
    parser.add_argument("--bench-only", action="store_true", help="no photographs, --full tables")
    parser.add_argument("--only", help="one model of: " + ", ".join(model.name for model in MODELS))
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "demo", help="for models, plans and results")
    options = parser.parse_args()
    full = options.full or options.bench_only
    options.rounds = options.rounds or (9 if full else 1)
    options.seconds = options.seconds or (3.0 if full else 1.0)
    options.iterations = 10 if full else 3  # as many as peer_engine.py asks for at least
    deadline = time.monotonic() + (1e9 if full else 300)
    weights = dict(text.split("=", 1) for text in options.weights if "=" in text)
    models = [model for model in MODELS if options.only in (None, model.name)]
    unknown = set(weights) - {model.name for model in MODELS}
    if unknown or len(weights) != len(options.weights) or not models:
        parser.error("--weights takes MODEL=FILE, --only a model: " + ", ".join(model.name for model in MODELS))
    options.folder.mkdir(parents=True, exist_ok=True)

    heading("1. Models and plans")
    made = {model: make(model, options.folder, weights.get(model.name), options) for model in models}
    if not options.bench_only:
        heading("2. Photographs")
        photos = options.photos or sample_photos()
        for model, (_, plan) in made.items():
            if model.name not in weights:
                what = "class names" if model.name.startswith("cvt") else "spectra"
                print(f"{model.name} has synthetic weights (no --weights given): its {what} mean nothing.")
            if model.name.startswith("cvt"):
                vitrail("run", plan, *photos)
            else:
                vitrail("run", plan, photos[0], "--folder", options.folder)
        heading("3. Accuracy beside ONNX Runtime")
        accuracy(made, options.folder)
    heading(f"Speed, float32, {options.threads} threads, {options.rounds} round(s) of fresh processes")
    reports = speed(made, options, deadline)
    print(speed_table(reports))
    print("Speed-up: a peer's time divided by ours in the same round; median (least-greatest).")
    print(f"Every round, load times and memory: {options.folder}/*.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
