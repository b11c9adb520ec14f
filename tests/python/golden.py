"""Reads the golden files of tests/golden: what a model is made of and what the official code computes."""

import functools
import json
from pathlib import Path

import numpy as np

import vitrail_weights

GOLDEN_DIR = Path(__file__).resolve().parent.parent / "golden"
CVT_MODELS = ("cvt13", "cvt13_384", "cvt21", "cvt_w24")
MODELS = (*CVT_MODELS, "mst_plus_plus")

# A result may be this many times further from the golden float32 values than float32 is from float64.
TOLERANCE_FACTOR = 4.0


@functools.cache
def _load_npz(path):
    with np.load(path) as stored:
        return {key: stored[key] for key in stored.files}


class Golden:
    """One model of tests/golden. A case is one input size; cases are named like "64x72" (height x width)."""

    def __init__(self, model):
        self.model = model
        self.spec = json.loads((GOLDEN_DIR / f"{model}.json").read_text())
        self.hyper = self.spec["hyper"]
        self.state_dict_spec = [(name, tuple(shape), dtype) for name, shape, dtype in self.spec["state_dict"]]
        self.cases = {f"{shape[2]}x{shape[3]}": tuple(shape) for shape in self.spec["input"]["shapes"]}

    def weights(self):
        """All tensors of the state dict by official name."""
        return {name: vitrail_weights.weight(name, shape) for name, shape, _ in self.state_dict_spec}

    def input(self, case, batch=1):
        """Input array [batch, 3, H, W] of a case."""
        _, channels, height, width = self.cases[case]
        signed = "x = u" in self.spec["input"]["generator"]
        return vitrail_weights.image_input((batch, channels, height, width), signed)

    def arrays(self, case):
        """The arrays stored for a case: full tensors, digests and samples."""
        files = self.spec["input"].get("files", [f"{self.model}.npz"])
        return _load_npz(GOLDEN_DIR / files[list(self.cases).index(case)])

    def tensor_names(self, case):
        """Names of the tensors (outputs and intermediate ones) with golden values."""
        return [name for name, stats in self.stats(case).items() if isinstance(stats, dict)]

    def tolerance(self, case, tensor):
        """Largest allowed absolute difference of a tensor."""
        return TOLERANCE_FACTOR * self.stats(case)[tensor]["f32_vs_f64_maxdiff"]

    def max_difference(self, case, tensor, actual):
        """Largest |actual - golden| over all stored values of `tensor`: every element, or 1024 sampled ones."""
        stored = self.arrays(case)
        if tensor in stored:
            expected = stored[tensor].ravel()
            values = actual.reshape(-1)
        else:
            assert tuple(actual.shape) == tuple(stored[f"{tensor}.shape"])
            expected = stored[f"{tensor}.sample"]
            step = int(stored[f"{tensor}.sample_stride"][0])
            values = actual.reshape(-1)[::step][: expected.size]
        assert values.size == expected.size
        return float(np.abs(values.astype(np.float64) - expected).max())

    def digest_difference(self, case, tensor, actual):
        """Largest difference of mean, std, min and max of `tensor`; 0 if it is stored in full."""
        digest = self.arrays(case).get(f"{tensor}.digest")
        if digest is None:
            return 0.0
        wide = actual.astype(np.float64)
        return float(np.abs(np.array([wide.mean(), wide.std(), wide.min(), wide.max()]) - digest[:4]).max())

    def stats(self, case):
        """Statistics of a case's tensors by name, see `stats` in tests/golden/README.md."""
        stats = self.spec["stats"]
        return stats.get(case, stats)
