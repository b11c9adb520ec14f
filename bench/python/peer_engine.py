#!/usr/bin/env python3
"""One measurement of one engine in a process of its own: loads a model, warms up, times it, writes JSON.

    python peer_engine.py onnxruntime MODEL.onnx --shape 1x3x224x224 --json result.json

The JSON has the keys of `vitrail bench --json`, so that peers.py treats all contestants alike. Times are milliseconds
from input in host memory to output in host memory, without copying either: ONNX Runtime reads the caller's array, for
OpenVINO the input lies in a tensor of its own. Every engine computes in float32, also where its default would be
bfloat16 on CPUs that support it.
"""

import argparse
import importlib.metadata
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

TWINS_DIR = Path(__file__).resolve().parents[2] / "tests" / "python"
MIN_ITERATIONS = 3


def parse_shapes(text):
    """`input:1x3x8x8,mask:1x10` -> {"input": (1, 3, 8, 8), "mask": (1, 10)}; a shape without name has key None."""
    shapes = {}
    for part in filter(None, text.split(",")):
        name, _, dims = part.rpartition(":")
        shapes[name or None] = tuple(int(dim) for dim in dims.split("x"))
    return shapes


def make_input(shape, dtype):
    """Deterministic values: uniform in [0, 1) for floats, zeros for other types."""
    if np.issubdtype(dtype, np.floating):
        return np.random.default_rng(1).random(shape, np.float32).astype(dtype)
    return np.zeros(shape, dtype)


def resolve_shape(shapes, name, declared):
    """The shape of input `name`: asked for, or as declared by the model if that is static."""
    shape = shapes.get(name, shapes.get(None))
    if shape is None and any(not isinstance(dim, int) for dim in declared):
        raise SystemExit(f"input {name} has shape {declared}: give --shape {name}:...")
    return tuple(shape or declared)


def load_onnxruntime(args, shapes):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
    types |= {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_}
    feed = {
        value.name: make_input(resolve_shape(shapes, value.name, value.shape), types[value.type])
        for value in session.get_inputs()
    }
    return lambda: session.run(None, feed)


def load_openvino(args, shapes):
    import openvino

    core = openvino.Core()
    model = core.read_model(args.model)
    declared = {
        value.any_name: [dim.get_length() if dim.is_static else str(dim) for dim in value.partial_shape]
        for value in model.inputs
    }
    resolved = {name: resolve_shape(shapes, name, dims) for name, dims in declared.items()}
    model.reshape({name: list(shape) for name, shape in resolved.items()})
    config = {
        "INFERENCE_NUM_THREADS": args.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(model, "CPU", config)
    request = compiled.create_infer_request()
    for value in compiled.inputs:
        array = make_input(resolved[value.any_name], value.element_type.to_dtype())
        request.get_tensor(value.any_name).data[:] = array
    return request.infer


def load_torch(args, shapes):
    import torch

    sys.path.insert(0, str(TWINS_DIR))
    from twins.build import build

    torch.set_num_threads(args.threads)
    twin = build(args.twin)
    (shape,) = shapes.values()
    image = torch.from_numpy(make_input(shape, np.float32))

    def run():
        with torch.inference_mode():
            return twin(image)

    return run


LOADERS = {"onnxruntime": load_onnxruntime, "openvino": load_openvino, "torch": load_torch}


def time_runs(run, seconds, min_iterations):
    """Latencies in ms of runs back to back, until both the time and the iterations are reached."""
    latencies = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(latencies) < min_iterations:
        start = time.perf_counter()
        run()
        latencies.append((time.perf_counter() - start) * 1e3)
    return latencies


def summary(latencies):
    """Latency statistics under the names of `vitrail bench --json`."""
    percentiles = np.percentile(latencies, [0, 50, 90, 95, 99])
    names = ("min", "median", "p90", "p95", "p99")
    return {name: float(value) for name, value in zip(names, percentiles, strict=True)} | {
        "mean": float(np.mean(latencies))
    }


def peak_memory_mib():
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=LOADERS)
    parser.add_argument("model", help="ONNX file; ignored by torch")
    parser.add_argument("--shape", default="", help="shape of the input, or NAME:SHAPE,NAME:SHAPE")
    parser.add_argument("--twin", help="torch: golden model to build, as in tests/golden")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--warmup-ms", type=float, default=200.0)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()

    __import__(args.engine)
    imports_memory = peak_memory_mib()
    start = time.perf_counter()
    run = LOADERS[args.engine](args, parse_shapes(args.shape))
    load_ms = (time.perf_counter() - start) * 1e3
    time_runs(run, args.warmup_ms / 1e3, 1)
    latencies = time_runs(run, args.seconds, MIN_ITERATIONS)
    result = {
        "latency_ms": summary(latencies),
        "throughput_qps": 1e3 * len(latencies) / sum(latencies),
        "iterations": len(latencies),
        "load_ms": load_ms,
        "peak_memory_mib": peak_memory_mib(),
        "imports_memory_mib": imports_memory,
        "version": importlib.metadata.version(args.engine),
    }
    args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
