# SPDX-License-Identifier: Apache-2.0
"""Parts of run_all.py that a GPU must pass: verified builds, control flow, refusals, and PyTorch as a peer."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# model, range of shapes: the sizes whose oracle takes seconds; verify tries opt and a batch of two
VERIFIED = [("cvt13", "1..1..2x3x224x224"), ("mst_plus_plus", "1..1..2x3x64x72")]
HALF_IO = {"f32-io16": ["--io", "fp16"], "f16-io16": ["--fp16", "--io", "fp16"]}
PEER_CASES = [("cvt13:1,8,32", "float16"), ("mst_plus_plus:1,8", "float16"), ("cvt13:1", "float32")]


def verify(runner, precisions):
    """`build --verify fast` in every precision: the exit code and the rows against the reference."""

    def one(case):
        model, shapes, precision, flags = case
        plan = runner.work / f"verified-{model}-{precision}.vitrail"
        code, text, seconds = runner.program(
            "vitrail", "build", runner.model(model), "-o", plan, "--shapes", f"input:{shapes}", "--device", "cuda",
            "--verify", "fast", "--budget", runner.budget, *flags,
        )  # fmt: skip
        return {
            "model": model,
            "shapes": shapes,
            "precision": precision,
            "exit": code,
            "seconds": round(seconds, 1),
            "text": text[text.find("verified against") :][-1500:] if code == 0 else text[-3000:],
        }

    for model, _ in VERIFIED:
        runner.model(model)
    cases = [(*v, p, flags) for v in VERIFIED for p, flags in (precisions | HALF_IO).items()]
    with ThreadPoolExecutor(6) as pool:
        rows = list(pool.map(one, cases))
    for row in rows:
        print(row["model"], row["precision"], "exit", row["exit"], row["text"], flush=True)
    return rows


def control(runner, folder, precisions):
    """If, Loop and NonZero beside the reference: both branches, no round, several rounds, two batches."""
    rows = []
    model = folder / "control.onnx"
    rng = np.random.default_rng(2)
    for precision, flags in precisions.items():
        plan = runner.work / f"control-{precision}.vitrail"
        code, text, _ = runner.program(
            "vitrail", "build", model, "-o", plan, "--shapes", "x:2..3..8x6", "--device", "cuda", "--verify", "full",
            *flags,
        )  # fmt: skip
        rows.append({"precision": precision, "case": "build", "exit": code, "text": text[-2500:]})
        print(rows[-1], flush=True)
        if code:
            continue
        # float32: as the test on the CPU; the others: 64 roundings of the largest value (8 for bfloat16's 8 bits).
        allowed = {"f32": 1e-5, "tf32": 64 * 2.0**-11, "f16": 64 * 2.0**-11, "bf16": 64 * 2.0**-8}[precision]
        for n, shift, rounds in (2, 1.0, 3), (8, -1.0, 0), (5, 0.3, 1), (3, 0.5, 7), (8, -0.5, 2):
            feeds = runner.work / "control.npz"
            # Eighths are the same in every type: what is found must not depend on the precision.
            x = np.round((rng.standard_normal((n, 6)) + shift) * 8) / 8
            np.savez(feeds, x=x.astype(np.float32), rounds=np.array(rounds, dtype=np.int64))
            code, text, _ = runner.program(
                "vitrail", "compare", plan, model, "--inputs", feeds, "--atol", allowed, "--rtol", allowed
            )
            case = f"{n} rows, shift {shift}, {rounds} rounds"
            rows.append({"precision": precision, "case": case, "exit": code, "text": text[-1500:]})
            print(rows[-1], flush=True)
    return rows


def errors(runner):
    """What must be refused, with its exit code and a part of its message."""
    rows = []

    def expect(what, code, says, program, *arguments, environment=None):
        got, text, _ = runner.program(program, *arguments, environment=environment)
        lines = text.strip().splitlines()
        row = {"case": what, "wanted": code, "exit": got, "message": lines[-1] if lines else ""}
        row["ok"] = got == code and all(part in text for part in says)
        rows.append(row)
        print(row, flush=True)

    model = runner.model("cvt13")
    image = runner.work / "image.npz"
    np.savez(image, input=np.full((1, 3, 224, 224), 0.5, np.float32))
    plan, _ = runner.plan("cvt13", "1x3x224x224", "f32")
    build = ["build", model, "--shapes", "input:1x3x224x224", "--verify", "off", "-q"]
    other = runner.work / "sm80.vitrail"
    expect("build for sm_80", 0, [], "vitrail", *build, "--device", "cuda", "--arch", "sm_80", "-o", other)
    out = runner.work / "error.npz"
    run = ["--inputs", image, "--outputs", out]
    expect("a plan for sm_80 run here", 7, ["sm_80", "sm_90"], "vitrail", "run", other, *run)
    expect("run on device 99", 5, ["cuda:99"], "vitrail", "run", plan, *run, "--device", "cuda:99")
    nothing = runner.work / "nothing.vitrail"
    expect("build on device 99", 5, ["cuda:99"], "vitrail", *build, "--device", "cuda:99", "-o", nothing)
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    expect("run, devices hidden", 5, ["NO_DEVICE"], "vitrail", "run", plan, *run, environment=hidden)
    expect(
        "build, devices hidden", 5, ["NO_DEVICE"], "vitrail", *build, "--device", "cuda", "-o", nothing,
        environment=hidden,
    )  # fmt: skip
    large, _ = runner.plan("cvt13", "1..1..1024x3x224x224", "f32")
    expect("out of memory, then usable", 0, ["bytes of the GPU's memory"], "vitrail_gpu_runtime", "memory", large)
    expect("broken kernels", 0, ["switched off", "no plan"], "vitrail_gpu_runtime", "blame")
    return rows


def peers(runner, folder):
    """PyTorch in the same run: rows of torch_peers.py, a process a kind of case so that one failure costs one."""
    rows, about = [], {}
    for case, kind in PEER_CASES:
        path = runner.work / "peers.json"
        script = folder / "bench" / "gpu" / "torch_peers.py"
        command = [sys.executable, script, "--case", case, "--types", kind, "--json", path]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=200)
            print(done.stdout, done.stderr[-1500:], flush=True)
        except subprocess.TimeoutExpired as late:
            print(case, "late:", late.stdout, flush=True)
        if path.exists():
            about = json.loads(path.read_text())
            rows += about.pop("rows")
            path.unlink()
    return about | {"rows": rows}


def peers_markdown(results):
    """Our benches beside the peers of the same case: milliseconds, and peer / ours in parentheses."""
    lines = ["| model | input | precision | | ours | eager | graph | compile |", "|---|---|---|---|---|---|---|---|"]
    theirs = results.get("peers", {}).get("rows", [])
    for row in results.get("bench", []):
        batch = int(row["shape"].split("x")[0])
        kind = {"f16": "float16", "f32": "float32"}.get(row["precision"])
        same = {p["mode"]: p for p in theirs if (p["model"], p["batch"], p["type"]) == (row["model"], batch, kind)}
        for ours_key, key, name in ("device_ms", "device", "GPU"), ("latency_ms", "end_to_end", "end to end"):
            ours = row.get(ours_key, {}).get("median")
            if not ours or not same:
                continue
            cells = [
                f"{same[m][key]['median']:.3f} ({same[m][key]['median'] / ours:.2f})" if key in same.get(m, {}) else "-"
                for m in ("eager", "graph", "compile")
            ]
            lines.append(
                f"| {row['model']} | {row['shape']} | {row['precision']} | {name} | {ours:.3f} | {' | '.join(cells)} |"
            )
    return "\n".join(lines)
