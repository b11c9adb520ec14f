"""Builds a twin with deterministic weights and runs it."""

import torch

from golden import CVT_MODELS, Golden
from twins import cvt, mst_plus_plus

OUTPUT_NAMES = dict.fromkeys(CVT_MODELS, "logits") | {"mst_plus_plus": "output"}


def build(model):
    """The twin of a golden model in eval mode, its weights generated from their names."""
    golden = Golden(model)
    family = cvt.CvT if model in CVT_MODELS else mst_plus_plus.MSTPlusPlus
    with torch.device("meta"):
        twin = family(golden.hyper)
    weights = {name: torch.from_numpy(array) for name, array in golden.weights().items()}
    twin.load_state_dict(weights, strict=True, assign=True)
    return twin.eval().requires_grad_(False)


def golden_taps(twin):
    """Modules behind the golden intermediate tensors of a twin, see the families' functions."""
    return (cvt if isinstance(twin, cvt.CvT) else mst_plus_plus).golden_taps(twin)


def run(twin, image, taps=()):
    """Runs `image` (numpy [B, 3, H, W]); returns the output and the tapped tensors as numpy arrays."""
    captured = {}
    available = golden_taps(twin)

    def capture(name, select):
        return lambda _module, _inputs, result: captured.update({name: select(result).clone().numpy()})

    handles = [available[name][0].register_forward_hook(capture(name, available[name][1])) for name in taps]
    try:
        with torch.inference_mode():
            output = twin(torch.from_numpy(image)).numpy()
    finally:
        for handle in handles:
            handle.remove()
    return output, captured
