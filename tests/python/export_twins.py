#!/usr/bin/env python3
"""Exports the twins to ONNX, in the forms that users' exports take, and checks each file with ONNX Runtime.

    python export_twins.py OUT_DIR [--only 'cvt13_*'] [--list] [NAME ...]

A name says everything about a file:

    MODEL_EXPORTER_FORM_DYNAMIC[_bN][_HxW]     cvt13_legacy17_sim_dynbatch, mstpp_legacy17_raw_static_64x72

    MODEL     a golden model; mstpp stands for mst_plus_plus
    EXPORTER  legacyN (TorchScript exporter) or dynamoN, N = opset
    FORM      raw, or sim = after onnxsim
    DYNAMIC   static, dynbatch (batch) or dynhw (height and width)
    bN, HxW   batch and image size of the example, by default 1 and the first golden size (the dynamo exporter
              takes a batch of 1 for a constant, so its dynbatch examples have 2)

Without names the files of DEFAULT_VARIANTS are made.
"""

import argparse
import collections
import contextlib
import dataclasses
import fnmatch
import functools
import io
import logging
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

import vitrail_weights
from golden import CVT_MODELS, Golden
from twins.build import OUTPUT_NAMES, build, run

DEFAULT_VARIANTS = (
    "cvt13_legacy12_raw_static",
    "cvt13_legacy12_sim_static",
    "cvt13_legacy12_raw_dynbatch",
    "cvt13_legacy12_sim_dynbatch",
    "cvt13_legacy17_raw_static",
    "cvt13_legacy17_sim_static",
    "cvt13_legacy17_sim_static_b8",
    "cvt13_legacy17_raw_dynbatch",
    "cvt13_legacy17_sim_dynbatch",
    "cvt13_dynamo18_raw_static",
    "cvt13_dynamo18_sim_static",
    "cvt13_dynamo18_raw_dynbatch",
    "cvt13_dynamo18_sim_dynbatch",
    "cvt13_384_legacy17_raw_static",
    "cvt21_legacy17_raw_static",
    "cvt21_dynamo18_raw_dynbatch",
    "mstpp_legacy12_raw_static_64x72",
    "mstpp_legacy17_raw_static_64x72",
    "mstpp_legacy17_sim_static_64x72",
    "mstpp_legacy17_sim_static_60x62",
    "mstpp_legacy17_sim_static_512x482",
    "mstpp_legacy12_raw_dynbatch",
    "mstpp_legacy17_raw_dynbatch",
    "mstpp_legacy17_raw_dynhw",
    "mstpp_legacy17_sim_dynhw",
    "mstpp_dynamo18_raw_static_64x72",
    "mstpp_dynamo18_raw_dynbatch",
    "mstpp_dynamo18_raw_dynhw",
    "mstpp_dynamo18_sim_dynhw",
)

SHORT_NAMES = {"mst_plus_plus": "mstpp"}
NAME_PATTERN = re.compile(
    r"(?P<model>.+?)_(?P<exporter>legacy|dynamo)(?P<opset>\d+)_(?P<form>raw|sim)_(?P<dynamic>static|dynbatch|dynhw)"
    r"(?:_b(?P<batch>\d+))?(?:_(?P<height>\d+)x(?P<width>\d+))?"
)

# An export may differ from PyTorch by this many times what float32 differs from float64.
TOLERANCE_FACTOR = 4.0


@dataclasses.dataclass(frozen=True)
class Variant:
    """One file to export. `shape` is the example input [N, 3, H, W]; `dynamic` names its dynamic axes."""

    name: str
    model: str
    exporter: str
    opset: int
    simplify: bool
    dynamic: dict
    shape: tuple

    @classmethod
    def parse(cls, name):
        match = NAME_PATTERN.fullmatch(name)
        if not match:
            raise ValueError(f"not a variant name: {name}")
        model = {short: long for long, short in SHORT_NAMES.items()}.get(match["model"], match["model"])
        if model not in OUTPUT_NAMES:
            raise ValueError(f"{name}: no such model, there are {', '.join(OUTPUT_NAMES)}")
        dynamic = {"static": {}, "dynbatch": {0: "batch"}, "dynhw": {2: "height", 3: "width"}}[match["dynamic"]]
        _, channels, height, width = next(iter(Golden(model).cases.values()))
        batch = int(match["batch"] or (2 if 0 in dynamic and match["exporter"] == "dynamo" else 1))
        shape = (batch, channels, int(match["height"] or height), int(match["width"] or width))
        return cls(
            name,
            model,
            match["exporter"],
            int(match["opset"]),
            match["form"] == "sim",
            dynamic,
            shape,
        )

    def check_shapes(self):
        """Input shapes with which to run the exported file."""
        _, channels, height, width = self.shape
        if 0 in self.dynamic:
            return [(batch, channels, height, width) for batch in (1, 3)]
        if 2 in self.dynamic:
            return [(1, channels, *size) for size in ((64, 72), (60, 62), (41, 56))]
        return [self.shape]


@functools.lru_cache(maxsize=1)
def twin_of(model):
    """The twin of a model; variants of one model come in a row."""
    return build(model)


def image_of(variant, shape):
    """Deterministic input of `shape` for the model of a variant."""
    return vitrail_weights.image_input(shape, signed=variant.model in CVT_MODELS)


def export(variant, path):
    """Writes the ONNX file of a variant, weights inside."""
    twin = twin_of(variant.model)
    example = torch.from_numpy(image_of(variant, variant.shape))
    options = {
        "input_names": ["input"],
        "output_names": [OUTPUT_NAMES[variant.model]],
        "opset_version": variant.opset,
    }
    if variant.exporter == "legacy":
        # The output's rank or size follows the input; naming the input's axes is enough.
        axes = {"input": variant.dynamic} if variant.dynamic else None
        torch.onnx.export(twin, (example,), path, dynamo=False, dynamic_axes=axes, **options)
    else:
        axes = dict.fromkeys(variant.dynamic, torch.export.Dim.DYNAMIC)
        shapes = (axes,) if axes else None
        torch.onnx.export(
            twin,
            (example,),
            path,
            dynamo=True,
            dynamic_shapes=shapes,
            external_data=False,
            verbose=False,
            **options,
        )
    if variant.simplify:
        simplify(path)


def simplify(path):
    """Replaces an ONNX file by its simplification."""
    import onnxsim

    model, passed = onnxsim.simplify(onnx.load(path))
    if not passed:
        raise RuntimeError(f"onnxsim changed the results of {path}")
    onnx.save(model, path)


def runtime_session(path):
    """ONNX Runtime's session of a file, warnings off."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def check(variant, path):
    """Largest difference between ONNX Runtime and PyTorch over the check shapes; raises if it is too large."""
    onnx.checker.check_model(path)
    session = runtime_session(path)
    golden = Golden(variant.model)
    tolerance = TOLERANCE_FACTOR * max(golden.tolerance(case, OUTPUT_NAMES[variant.model]) for case in golden.cases)
    worst = 0.0
    for shape in variant.check_shapes():
        image = image_of(variant, shape)
        expected, _ = run(twin_of(variant.model), image)
        (actual,) = session.run(None, {"input": image})
        # CvT squeezes every axis of size 1. Whether a file does so at batch 1 too depends on how the head was exported.
        actual, expected = np.squeeze(actual), np.squeeze(expected)
        if actual.shape != expected.shape:
            raise RuntimeError(f"{variant.name}: output {actual.shape} for {shape}, PyTorch gives {expected.shape}")
        worst = max(worst, float(np.abs(actual - expected).max()))
    if worst > tolerance:
        raise RuntimeError(f"{variant.name}: differs from PyTorch by {worst:.3g}, allowed {tolerance:.3g}")
    return worst


def operators(path):
    """Operator counts of an ONNX file, subgraphs and functions not entered, the commonest first."""
    graph = onnx.load(path, load_external_data=False).graph
    return collections.Counter(node.op_type for node in graph.node)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", type=Path, nargs="?", help="folder for the .onnx files")
    parser.add_argument("names", nargs="*", metavar="NAME", help="variants, default: all of the list")
    parser.add_argument("--only", metavar="GLOB", default="*", help="keep the variants whose name matches")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    names = [name for name in args.names or DEFAULT_VARIANTS if fnmatch.fnmatch(name, args.only)]
    try:
        variants = [Variant.parse(name) for name in names]
    except ValueError as error:
        parser.error(str(error))
    if args.list:
        print("\n".join(variant.name for variant in variants))
        return 0
    if args.out_dir is None:
        parser.error("OUT_DIR is missing")
    args.out_dir.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    failures = 0
    for variant in variants:
        path = args.out_dir / f"{variant.name}.onnx"
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                export(variant, str(path))
            difference = check(variant, str(path))
        except Exception as error:  # one exporter's failure must not hide the other files
            failures += 1
            print(f"{variant.name}: FAILED: {type(error).__name__}: {error}", flush=True)
            continue
        counts = operators(path)
        listing = " ".join(f"{op} {count}" for op, count in counts.most_common())
        print(
            f"{variant.name}: {counts.total()} nodes, max difference {difference:.2g}; {listing}",
            flush=True,
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
