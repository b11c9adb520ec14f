#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch on a CUDA device as a peer: eager, the same in a CUDA graph, and torch.compile.

    python torch_peers.py --json peers.json [--case cvt13:1,8,32 ...] [--types float32] [--modes eager,graph]

The models are the twins of tests/python with their deterministic weights. Two times are taken for each, in
milliseconds: `device`, between events around one run (median of many), and `end_to_end`, from pinned host memory to
pinned host memory. Only PyTorch and numpy are needed. A mode that fails is reported with its error; the others
go on.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "python"))
from twins import cvt
from twins.build import build

SIZES = {"cvt13_384": (384, 384), "cvt_w24": (384, 384), "mst_plus_plus": (512, 482)}
DEFAULT_CASES = ("cvt13:1,8,32", "mst_plus_plus:1,8")
ROUNDS = 7
SECONDS_PER_ROUND = 0.25
WARM_UP_RUNS = 5


def device_ms(run):
    """Median time of one run between two events, with its spread: rounds of back-to-back runs."""
    for _ in range(WARM_UP_RUNS):
        run()
    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    count = max(5, int(SECONDS_PER_ROUND / max(time.perf_counter() - started, 1e-5)))
    times = []
    for _ in range(ROUNDS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(count):
            run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / count)
    return {"median": statistics.median(times), "min": min(times), "max": max(times)}


def end_to_end_ms(run, image, host_in, result):
    """Median wall time of copy in, run, copy out, wait."""
    host_out = torch.empty(result().shape, dtype=result().dtype, pin_memory=True)
    times = []
    for _ in range(30):
        started = time.perf_counter()
        image.copy_(host_in, non_blocking=True)
        run()
        host_out.copy_(result(), non_blocking=True)
        torch.cuda.synchronize()
        times.append((time.perf_counter() - started) * 1e3)
    return {"median": statistics.median(times), "min": min(times), "max": max(times)}


def graph_of(function):
    """A CUDA graph of `function`, after warm-up on a side stream as PyTorch asks for."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()
    return graph, result


def runner(mode, twin, image):
    """A function that runs the twin once on the device, and one that gives its latest output."""
    latest = {}

    def plain(model=twin):
        latest["out"] = model(image)
        return latest["out"]

    if mode == "eager":
        return plain, lambda: latest["out"]
    if mode == "graph":
        graph, result = graph_of(plain)
        return graph.replay, lambda: result
    compiled = torch.compile(twin, mode="reduce-overhead", dynamic=False)
    return lambda: plain(compiled), lambda: latest["out"]


def twin_of(model, device, dtype):
    """A twin with weights of `dtype`, except those of norms that compute in float32: eager refuses mixed operands."""
    twin = build(model).to(device, dtype)
    for module in twin.modules():
        if isinstance(module, cvt.LayerNorm):
            module.float()
    return twin


def measure(model, batch, dtype, mode):
    twin = twin_of(model, "cuda", dtype)
    height, width = SIZES.get(model, (224, 224))
    pixels = np.random.default_rng(1).random((batch, 3, height, width), np.float32)
    host_in = torch.from_numpy(pixels).to(dtype).pin_memory()
    image = host_in.to("cuda")
    started = time.perf_counter()
    run, result = runner(mode, twin, image)
    run()
    torch.cuda.synchronize()
    build_seconds = time.perf_counter() - started
    return {
        "build_seconds": build_seconds,
        "device": device_ms(run),
        "end_to_end": end_to_end_ms(run, image, host_in, result),
        "finite": bool(torch.isfinite(result()).all()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", help=f"MODEL:BATCH,.. (default: {' '.join(DEFAULT_CASES)})")
    parser.add_argument("--types", default="float16,float32")
    parser.add_argument("--modes", default="eager,graph,compile")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rows = []
    for case in options.case or DEFAULT_CASES:
        model, _, batches = case.partition(":")
        for dtype in options.types.split(","):
            for batch in map(int, batches.split(",")):
                for mode in options.modes.split(","):
                    row = {"model": model, "batch": batch, "type": dtype, "mode": mode}
                    try:
                        with torch.inference_mode():
                            row |= measure(model, batch, getattr(torch, dtype), mode)
                        print(f"{model} {dtype} batch {batch} {mode}: {row['device']['median']:.3f} ms", flush=True)
                    except Exception as error:  # one mode's failure is a result, not the end
                        row["error"] = f"{type(error).__name__}: {error}"[:300]
                        print(f"{model} {dtype} batch {batch} {mode}: {row['error']}", flush=True)
                    rows.append(row)
                    torch._dynamo.reset()
                    torch.cuda.empty_cache()
                    document = {
                        "device": torch.cuda.get_device_name(),
                        "torch": torch.__version__,
                        "cuda": torch.version.cuda,
                        "rows": rows,
                    }
                    options.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
