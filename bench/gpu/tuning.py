# SPDX-License-Identifier: Apache-2.0
"""The part of run_all.py that compares tuned plans with untuned ones, turn by turn."""

import json
import os
import re
import statistics

# model, range given to the build, shapes measured, precision
CASES = {
    "cvt-f16-1": ("cvt13", "1x3x224x224", ["1x3x224x224"], "f16"),
    "cvt-f16-8": ("cvt13", "8x3x224x224", ["8x3x224x224"], "f16"),
    "cvt-f16-32": ("cvt13", "32x3x224x224", ["32x3x224x224"], "f16"),
    "cvt-f16-range": ("cvt13", "1..8..32x3x224x224", ["1x3x224x224", "8x3x224x224", "32x3x224x224"], "f16"),
    "cvt-f32-1": ("cvt13", "1x3x224x224", ["1x3x224x224"], "f32"),
    "mst-f16-1": ("mst_plus_plus", "1x3x512x482", ["1x3x512x482"], "f16"),
    "mst-f16-8": ("mst_plus_plus", "8x3x512x482", ["8x3x512x482"], "f16"),
    "mst-f32-1": ("mst_plus_plus", "1x3x512x482", ["1x3x512x482"], "f32"),
}
TURNS = 3


def tuning(runner, flags, names, budget, processors, verify):
    """Builds each case untuned, tuned with empty caches and tuned again; then times the plans by turns."""
    rows = []
    for name in names or CASES:
        model, shape, measured, precision = CASES[name]
        row = {"case": name, "model": model, "shape": shape, "precision": precision, "processors": processors}
        timings, code = runner.work / f"{name}.timings", runner.work / f"{name}-code"
        timings.unlink(missing_ok=True)
        plans = {}
        for kind, seconds in (("untuned", 0), ("cold", budget), ("warm", budget)):
            plans[kind] = runner.work / f"{name}-{kind}.vitrail"
            arguments = ["build", runner.model(model), "-o", plans[kind], "--shapes", f"input:{shape}"]
            arguments += ["--device", "cuda", "--verify", verify, "--budget", seconds, *flags[precision]]
            if kind != "untuned":
                arguments += ["--timing-cache", timings]
            status, text, took = runner.program(
                "vitrail",
                *arguments,
                environment={"VITRAIL_CACHE": str(code if kind != "untuned" else runner.work / "cache")},
                prefix=["taskset", "-c", f"0-{processors - 1}"] if processors < os.cpu_count() else [],
            )
            row[f"{kind}_build_s"] = round(took, 1)
            row[f"{kind}_account"] = [
                line for line in text.splitlines() if re.search("tuned|timed|timing|in the plan|off:", line)
            ]
            if status:
                row["error"] = f"{kind}: exit {status}: {text[-1500:]}"
                break
        else:
            row["sources"] = len(list(code.glob("*.cubin")))
            row["ms"] = {at: turns(runner, plans, at) for at in measured}
            (runner.out / f"{name}.why").write_text(runner.program("vitrail", "inspect", plans["cold"], "--why")[1])
        print(row, flush=True)
        rows.append(row)
    return rows


def turns(runner, plans, shape):
    figures = {kind: [] for kind in plans if kind != "warm"}
    for turn in range(TURNS):
        for kind in list(figures) if turn % 2 == 0 else reversed(list(figures)):
            path = runner.work / "turn.json"
            arguments = ["bench", plans[kind], "--shapes", f"input:{shape}", "--duration", 0.3, "--json", path]
            status, text, _ = runner.program("vitrail", *arguments)
            if status:
                return f"exit {status}: {text[-500:]}"
            figures[kind].append(json.loads(path.read_text())["device_ms"]["median"])
    medians = {kind: statistics.median(values) for kind, values in figures.items()}
    ratio = statistics.median(a / b for a, b in zip(figures["untuned"], figures["cold"], strict=True))
    return medians | {"untuned / tuned": round(ratio, 3), "turns": figures}


def markdown(results):
    lines = [
        "| model | range | at | precision | untuned, ms | tuned, ms | ratio | build untuned / cold / warm, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results.get("tuning", []):
        builds = " / ".join(str(row.get(f"{kind}_build_s", "-")) for kind in ("untuned", "cold", "warm"))
        for at, ms in row.get("ms", {"-": row.get("error", "")[:80]}).items():
            cells = (
                f"{ms['untuned']:.3f} | {ms['cold']:.3f} | {ms['untuned / tuned']:.2f}"
                if isinstance(ms, dict)
                else f"{ms} | |"
            )
            lines.append(f"| {row['model']} | {row['shape']} | {at} | {row['precision']} | {cells} | {builds} |")
    return "\n".join(lines) if len(lines) > 2 else ""
