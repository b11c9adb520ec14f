# SPDX-License-Identifier: Apache-2.0
"""Parts of run_all.py around the kernels: rounding as a yardstick, memory and copies, sessions, a lost device."""

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

ROUNDED = {"tf32": "tf32", "f16": "fp16", "bf16": "bf16"}
# model, shape, flags of the build
COPIES = [
    ("cvt13", "1x3x224x224", []),
    ("cvt13", "32x3x224x224", []),
    ("cvt13", "32x3x224x224", ["--io", "fp16"]),
    ("mst_plus_plus", "1x3x512x482", []),
    ("mst_plus_plus", "8x3x512x482", []),
    ("mst_plus_plus", "8x3x512x482", ["--io", "fp16"]),
]


def times_rounding(runner, rows):
    """Sets each row's `rounded_l2` (the reference rounded to its type) and `times_rounding`: plan's error over that."""

    def one(row):
        path = runner.work / f"rounding-{row['model']}-{row['case']}-{row['precision']}.json"
        plan, image = runner.work / row["plan"], runner.work / row["image"]
        model = runner.model(row["model"])
        code, text, _ = runner.program(
            "vitrail", "compare", plan, f"{ROUNDED[row['precision']]}:{model}", model, "--inputs", image,
            "--json", path,
        )  # fmt: skip
        if code not in (0, 8):
            row["rounding_error"] = text[-1000:]
            return
        told = json.loads(path.read_text())
        output = told["outputs"][0]
        row["rounded_l2"] = told["rounded_l2"][output["output"]]
        row["relative_l2"] = output["relative_l2"]
        row["times_rounding"] = output["times_rounding"]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, [r for r in rows if r["precision"] in ROUNDED and "error" not in r]))


def copies(runner):
    """End to end, inputs and outputs page-locked, pageable, and in half precision."""
    rows = []
    for model, shape, flags in COPIES:
        plan = runner.work / f"copies-{model}-{shape}-{len(flags)}.vitrail"
        code, text, _ = runner.program(
            "vitrail", "build", runner.model(model), "-o", plan, "--shapes", f"input:{shape}", "--device", "cuda",
            "-q", "--verify", "off", "--budget", runner.budget, "--fp16", *flags,
        )  # fmt: skip
        for memory in ("page-locked", "pageable"):
            row = {"model": model, "shape": shape, "io": "f16" if flags else "f32", "memory": memory, "exit": code}
            rows.append(row)
            if code == 0:
                figures = runner.work / "copies.json"
                code_, said, _ = runner.program(
                    "vitrail", "bench", plan, "--json", figures, "--duration", 0.7,
                    *(["--pageable"] if memory == "pageable" else []),
                )  # fmt: skip
                row |= {"exit": code_, "text": said[-600:]}
                if code_ == 0:
                    told = json.loads(figures.read_text())
                    row |= {key: told[key]["median"] for key in ("device_ms", "latency_ms")}
                    row |= {key: told[key] for key in ("load_ms", "first_result_ms")}
            else:
                row["text"] = text[-600:]
            print(row, flush=True)
    return rows


def start(runner):
    """A cold process from its start to its first result: `run` on a plan, and what loading costs in it."""
    rows = []
    for model, shape in (("cvt13", "1x3x224x224"), ("mst_plus_plus", "1x3x512x482")):
        plan, _ = runner.plan(model, shape, "f16")
        image = runner.work / f"start-{model}.npz"
        np.savez(image, input=np.full([int(n) for n in shape.split("x")], 0.5, np.float32))
        times = []
        for _ in range(5):
            begun = time.monotonic()
            code, text, _ = runner.program("vitrail", "run", plan, "--inputs", image)
            times.append(time.monotonic() - begun)
        rows.append(
            {"model": model, "case": "cold process", "exit": code, "seconds": statistics.median(times), "all": times}
        )
        rows[-1]["ok"] = code == 0 and rows[-1]["seconds"] <= 0.5
        print(rows[-1], text[-300:], flush=True)
    return rows


def sessions(runner):
    """Bits are the same whatever the memory, in threads, asynchronously; graphs of old shapes go."""
    rows = []
    for precision in ("f32", "f16"):
        plan, _ = runner.plan("cvt13", "1..2..12x3x224x224", precision)
        code, text, seconds = runner.program("vitrail_gpu_runtime", "sessions", plan)
        rows.append({"model": "cvt13", "precision": precision, "exit": code, "text": text[-1500:]})
        print(rows[-1], round(seconds, 1), flush=True)
    return rows


def lost(runner):
    """A kernel that traps, one that writes nowhere: named, nothing written, and the next process runs."""
    rows = []

    def expect(case, wanted, says, program, *arguments):
        code, text, _ = runner.program(program, *arguments)
        ok = code == wanted and all(part in text for part in says)
        rows.append({"case": case, "wanted": wanted, "exit": code, "ok": ok, "message": text.strip()[-1200:]})
        print(rows[-1], flush=True)

    plan, _ = runner.plan("cvt13", "1x3x224x224", "f32")
    image, results = runner.work / "lost-image.npz", runner.work / "lost-results.npz"
    np.savez(image, input=np.full((1, 3, 224, 224), 0.5, np.float32))
    for how in ("trap", "address"):
        broken = runner.work / f"broken-{how}.vitrail"
        expect(f"{how}: sessions in one process", 0, [], "vitrail_gpu_runtime", "lost", plan, broken, how)
        before = sorted(p.name for p in runner.work.iterdir())
        expect(
            f"{how}: run", 5, ["lost to this process"], "vitrail", "run", broken, "--inputs", image, "--outputs",
            results,
        )  # fmt: skip
        after = sorted(p.name for p in runner.work.iterdir())
        rows.append({"case": f"{how}: nothing is left", "exit": 0, "ok": before == after})
        expect(f"{how}: the next process", 0, [], "vitrail", "run", plan, "--inputs", image)
    return rows
