#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job from end to end; `./dev demo` and `./dev bench` run it.

Writes CvT-13 and MST++ as ONNX, builds and verifies a plan of each, shows what they make of photographs, compares the
results with the reference and with ONNX Runtime, then times the plans beside ONNX Runtime and OpenVINO: fresh
processes, turn by turn.

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

import peer_report

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("VITRAIL_BUILD", ROOT / "build")) / "vitrail"
SAMPLES = ("astronaut.png", "chelsea.png", "coffee.png")
PEERS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
FULL_ROUNDS = 9
# A demonstration ends within six minutes also on a busy machine; what comes before the speed table takes about one.
SPEED_SECONDS = 200


@dataclass(frozen=True)
class Model:
    """A model of the demo: min..opt..max for the build, the shapes that are timed, the one that is checked, and the
    one that takes the place of both for a quick trial of this script."""

    name: str
    range: str
    timed: tuple[str, ...]
    checked: str
    quick: str
    meaning: str


MODELS = (
    Model(
        "cvt13",
        "1..1..32x3x224x224",
        tuple(f"{n}x3x224x224" for n in (1, 4, 8, 16, 32)),
        "1x3x224x224",
        "1x3x224x224",
        "class names",
    ),
    Model(
        "mst_plus_plus",
        "1x3x64..512..1024x64..482..1024",
        ("1x3x512x482",),
        "1x3x512x482",
        "1x3x64x80",
        "spectra",
    ),
)


def heading(text):
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{text}{plain}", flush=True)


def short(path):
    """A path as a person would type it here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def vitrail(*arguments, quiet=False):
    """Runs the program, shown as a user would type it; ends the demo with its exit code when it fails."""
    words = [short(word) if isinstance(word, Path) else str(word) for word in arguments]
    print("$ vitrail " + " ".join(words), flush=True)
    # `compare` finds ONNX Runtime in the Python that runs this.
    environment = os.environ | {"VITRAIL_PYTHON": sys.executable}
    output = subprocess.DEVNULL if quiet else None
    code = subprocess.run([PROGRAM, *words], check=False, env=environment, stdout=output).returncode
    if code:
        sys.exit(code)


def sample_photos():
    """The sample pictures inside scikit-image, which come with the package."""
    from importlib.util import find_spec

    folder = Path(find_spec("skimage").origin).parent / "data"
    return [folder / name for name in SAMPLES]


def make(model, weights, options):
    """Exports and builds; gives the paths of ONNX file and plan."""
    onnx, plan = options.folder / f"{model.name}.onnx", options.folder / f"{model.name}.vitrail"
    vitrail("zoo", "export", model.name, "--weights", weights or "deterministic", "-o", onnx)
    shapes = f"input:{model.quick if options.quick else model.range}"
    cache = options.folder / "timing-cache.json"
    vitrail("build", onnx, "-o", plan, "--shapes", shapes, "--timing-cache", cache, "--threads", options.threads)
    return onnx, plan


def show_photos(made, weights, options):
    """What the models make of photographs, and whether it means anything."""
    photos = options.photos or sample_photos()
    for model, (_, plan) in made.items():
        if model.name not in weights:
            print(f"{model.name} has synthetic weights (no --weights given): its {model.meaning} mean nothing.")
        photographs = photos if model.name.startswith("cvt") else photos[:1]
        if options.quick and not model.name.startswith("cvt"):
            continue  # that plan is for one small size
        vitrail("run", plan, *photographs, "--folder", options.folder)


def table(header, rows):
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def errors(report):
    """Rows of the accuracy table out of `vitrail compare --json`."""
    for row in report["outputs"]:
        figures = [f"{row[kind][key]:.2e}" for kind in ("abs", "rel") for key in ("max", "mean", "median")]
        yield "x".join(map(str, row["dims"])), row["output"], figures


def accuracy(made, options):
    """Plans and ONNX Runtime against the reference in float64, and against each other, on one random input."""
    rows = []
    for model, (onnx, plan) in made.items():
        inputs, told = options.folder / "inputs.npz", options.folder / f"{model.name}_accuracy.json"
        shape = [int(extent) for extent in (model.quick if options.quick else model.checked).split("x")]
        np.savez(inputs, input=np.random.default_rng(1).random(shape, np.float32))
        # Tolerances are the build's affair; here every difference shall be told and none end the demo.
        common = ("--inputs", inputs, "--atol", 1e9, "--threads", options.threads, "--json", told)
        runtime = f"onnxruntime:{short(onnx)}"
        vitrail("compare", plan, runtime, onnx, "--float64", *common, quiet=True)
        pairs = zip(
            ("vitrail / reference", "ONNX Runtime / reference"), errors(json.loads(told.read_text())), strict=True
        )
        rows += [[model.name, who, f"{output} {shape}", *figures] for who, (shape, output, figures) in pairs]
        vitrail("compare", plan, runtime, *common, quiet=True)
        for shape, output, figures in errors(json.loads(told.read_text())):
            rows.append([model.name, "vitrail / ONNX Runtime", f"{output} {shape}", *figures])
    header = ["model", "error of / against", "output", "abs max", "abs mean", "abs median"]
    print(table([*header, "rel max", "rel mean", "rel median"], rows))
    print("The reference computes in float64. Relative errors are large only where the result is close to zero.")


def peers_round(model, onnx, plan, shape, number, options):
    """One round of a shape: everybody once, in fresh processes. Gives the report of peers.py.

    peers.py runs as a program of its own, because memory of the process that starts a contestant counts as the
    contestant's.
    """
    result = options.folder / "round.json"
    ours = f"vitrail={PROGRAM} bench {plan} --shapes input:{{shape}} --threads {{threads}} --json {{json}}"
    ours += f" --warmUp {{warmup_ms}} --duration {{seconds}} --iterations {options.iterations}"
    command = [sys.executable, ROOT / "bench" / "python" / "peers.py", onnx, "--shape", shape, "--command", ours]
    command += ["--threads", options.threads, "--rounds", 1, "--first-round", number, "--seconds", options.seconds]
    command += ["--json", result]
    print(f"{model.name} {shape}", file=sys.stderr, flush=True)
    subprocess.run([str(word) for word in command], check=False, stdout=subprocess.DEVNULL)
    report = json.loads(result.read_text())
    result.unlink()
    if "vitrail" in report["failed"]:
        sys.exit(f"vitrail bench failed: {report['failed']['vitrail']}")
    return report


def joined(reports):
    """The rounds of one shape as one report; a peer that failed once is out."""
    failed = {name: message for report in reports for name, message in report["failed"].items()}
    rounds = [{name: of for name, of in report["rounds"][0].items() if name not in failed} for report in reports]
    names = list(rounds[0])
    return reports[0] | {
        "load_average": [reports[0]["load_average"][0], reports[-1]["load_average"][1]],
        "summary": peer_report.summarize(names, rounds),
        "ratios": peer_report.paired_ratios(names, rounds),
        "rounds": rounds,
        "failed": failed,
    }


def speed(made, options):
    """Rounds over all shapes, as many as asked for, or as many as fit into the time; at least one."""
    contests = [
        (model, onnx, plan, shape)
        for model, (onnx, plan) in made.items()
        for shape in ((model.quick,) if options.quick else model.timed)
    ]
    reports = [[] for _ in contests]
    start = time.monotonic()
    for number in range(1, options.rounds + 1):
        for contest, rounds in zip(contests, reports, strict=True):
            rounds.append(peers_round(*contest, number, options))
        elapsed = time.monotonic() - start
        if number < options.rounds and elapsed * (number + 1) / number > options.speed_seconds:
            print(f"{number} round(s) fit into the time of a demonstration; --full plays {FULL_ROUNDS}")
            break
    out = []
    for (model, _, _, shape), rounds in zip(contests, reports, strict=True):
        out.append(joined(rounds))
        stem = options.folder / f"{model.name}_{shape}"
        stem.with_suffix(".json").write_text(json.dumps(out[-1], indent=1) + "\n")
        stem.with_suffix(".md").write_text(peer_report.markdown(out[-1]))
    return out


def speed_table(reports):
    rows = []
    for report in reports:
        row = [report["settings"]["model"].removesuffix(".onnx"), report["settings"]["shape"]]
        row.append(f"{report['summary']['vitrail']['latency_ms']['median']:.1f}")
        for peer in PEERS:
            if peer in report["summary"]:
                ratio = report["ratios"][peer]["median"]
                row.append(f"{report['summary'][peer]['latency_ms']['median']:.1f}")
                row.append(f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})")
            else:
                row += ["failed", "-"]
        rows.append(row)
    header = ["model", "input", "vitrail ms"]
    return table(header + [title for peer in PEERS.values() for title in (f"{peer} ms", "speed-up")], rows)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="*", type=Path, help="JPEG or PNG; default: samples of scikit-image")
    parser.add_argument("--weights", action="append", default=[], metavar="MODEL=FILE", help="official weights")
    parser.add_argument(
        "--full", action="store_true", help=f"measure as for a claim: {FULL_ROUNDS} rounds, longer ones"
    )
    parser.add_argument("--bench-only", action="store_true", help="no photographs, --full tables")
    parser.add_argument("--only", help="one model of: " + ", ".join(model.name for model in MODELS))
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of timing for each measurement")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "demo", help="for models, plans and results")
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)  # the script's own test
    options = parser.parse_args()
    full = options.full or options.bench_only
    options.rounds = options.rounds or (1 if options.quick else FULL_ROUNDS)
    options.seconds = options.seconds or (0.01 if options.quick else 3.0 if full else 1.0)
    options.iterations = 10 if full else 3  # as many as peer_engine.py asks for at least
    options.speed_seconds = float("inf") if full else SPEED_SECONDS
    options.models = [model for model in MODELS if options.only in (None, model.name)]
    pairs = [text.split("=", 1) for text in options.weights]
    if not options.models or any(len(pair) != 2 or pair[0] not in {m.name for m in MODELS} for pair in pairs):
        parser.error("--weights takes MODEL=FILE, --only a model: " + ", ".join(model.name for model in MODELS))
    options.weights = dict(pairs)
    for path in [*options.photos, *map(Path, options.weights.values())]:
        if not path.exists():
            parser.error(f"there is no file {path}")
    return options


def main():
    options = parse_arguments()
    options.folder.mkdir(parents=True, exist_ok=True)
    heading("Models and plans")
    made = {model: make(model, options.weights.get(model.name), options) for model in options.models}
    if not options.bench_only:
        heading("Photographs")
        show_photos(made, options.weights, options)
    heading("Accuracy")
    accuracy(made, options)
    heading(f"Speed, float32, {options.threads} threads")
    reports = speed(made, options)
    print(speed_table(reports))
    print("Medians of the rounds; speed-up: a peer's time divided by ours in the same round, median (least-greatest).")
    print(f"Every round, load times and memory: {short(options.folder)}/*.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
