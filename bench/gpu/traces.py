# SPDX-License-Identifier: Apache-2.0
"""Where the GPU's time goes: `vitrail trace` on plans of the benchmark, and its tables as Markdown."""

import json
from pathlib import Path

TRACES = [
    ("cvt13", "1x3x224x224", "f16"),
    ("cvt13", "8x3x224x224", "f16"),
    ("mst_plus_plus", "1x3x512x482", "f16"),
    ("mst_plus_plus", "1x3x512x482", "f32"),
]
TOP = 12  # groups of equal steps shown


def traces(runner):
    rows = []
    for model, shape, precision in TRACES:
        plan, _ = runner.plan(model, shape, precision)
        row = {"model": model, "shape": shape, "precision": precision}
        if not isinstance(plan, Path):
            row["error"] = plan
        else:
            figures = runner.work / "trace.json"
            code, text, seconds = runner.program(
                *("vitrail", "trace", plan, "--duration", 0.3, "--depth", 3, "--json", figures)
            )
            row |= {"exit": code, "seconds": round(seconds, 1), "text": text}
            if code == 0:
                row["trace"] = json.loads(figures.read_text())
        print({k: v for k, v in row.items() if k not in ("text", "trace")}, flush=True)
        rows.append(row)
    return rows


def of_kernels(trace):
    """(kernel, steps, microseconds, alone, least) by kernel, the longest first."""
    sums = {}
    for step in trace["steps"]:
        row = sums.setdefault(step["kernel"], [0, 0.0, 0.0, 0.0])
        for i, amount in enumerate((1, step["us"]["median"], step["alone_us"], step["floor_us"])):
            row[i] += amount
    return sorted(((kernel, *row) for kernel, row in sums.items()), key=lambda row: -row[2])


def alike(trace):
    """Steps with equal kernel, tactic and work together, what takes longest in all first."""
    groups = {}
    for step in trace["steps"]:
        key = [step[name] for name in ("kernel", "tactic", "flop", "read_bytes", "written_bytes")]
        groups.setdefault(tuple(key), []).append(step)
    return sorted(groups.values(), key=lambda steps: -sum(s["us"]["median"] for s in steps))


def alike_row(steps):
    first, count = steps[0], len(steps)
    us = sum(s["us"]["median"] for s in steps) / count
    alone = sum(s["alone_us"] for s in steps) / count
    moved = first["read_bytes"] + first["written_bytes"]
    cells = [
        f"{first['index']} {first['name']}",
        f"{first['kernel']} {first['tactic']}",
        f"{count} x {us:.1f}",
        f"{count * us:.0f}",
        f"{alone:.1f}",
        f"{moved / 1e6:.1f}",
        f"{first['flop'] / 1e9:.2f}",
        f"{moved / us / 1e3:.0f}",
        f"{first['flop'] / us / 1e6:.1f}",
        f"{first['floor_us']:.1f}",
        first["bound"],
    ]
    return f"| {' | '.join(cells)} |"


def account(trace):
    totals = trace["totals"]
    if not trace["chained"]:
        return f"sum of the steps alone {totals['steps_us']:.1f} us, a run {totals['run_us']['median']:.1f} us"
    return (
        f"steps alone {totals['alone_us']:.1f} us, overlap {-totals['overlap_us']:+.1f}, in the chain "
        f"{totals['steps_us']:.1f}; the graph from its start to its end {totals['chain_us']['median']:.1f}, untouched, "
        f"back to back {totals['graph_us']['median']:.1f}"
    )


def markdown(results):
    lines = []
    for row in results.get("trace", []):
        lines += ["", f"### {row['model']} {row['shape']} {row['precision']}", ""]
        if "trace" not in row:
            lines.append("failed")
            continue
        trace = row["trace"]
        whole = trace["totals"]["steps_us"]
        lines += [
            account(trace) + ".",
            "",
            "| kernel | steps | us | % | alone | least us |",
            "|---|---|---|---|---|---|",
        ]
        for kernel, steps, us, alone, least in of_kernels(trace):
            lines.append(f"| {kernel} | {steps} | {us:.1f} | {100 * us / whole:.1f} | {alone:.1f} | {least:.1f} |")
        lines += [
            "",
            "| first of them | kernel and tactic | us | sum | alone | MB | GFLOP | GB/s | TFLOP/s | least us | bound |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [alike_row(steps) for steps in alike(trace)[:TOP]]
    return "\n".join(lines)
