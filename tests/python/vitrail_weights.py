"""Deterministic synthetic weights and inputs, generated from tensor names.

The rule is described in tests/golden/README.md. Every tensor is a function of its name and shape only, so any
language can rebuild the same bits and no weight file has to be stored.
"""

import math

import numpy as np

_FNV_START = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_WEYL_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MASK_64 = 0xFFFFFFFFFFFFFFFF

_RESIDUAL_SUFFIXES = ("pos_embed.weight", "conv2.weight", "mlp.fc2.weight")


def name_hash(name):
    """FNV-1a 64 of the UTF-8 bytes of `name`, as a Python int."""
    value = _FNV_START
    for byte in name.encode():
        value = ((value ^ byte) * _FNV_PRIME) & _MASK_64
    return value


def uniform(name, count):
    """`count` float32 numbers r in [0, 1) of the stream called `name`: SplitMix64 by element, upper 24 bits."""
    index = np.arange(1, count + 1, dtype=np.uint64)
    z = np.uint64(name_hash(name)) + index * _WEYL_STEP
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def _affine(offset, slope, x):
    """offset + slope*x with the product and the sum each rounded to float32 (numpy never contracts them)."""
    return np.float32(offset) + np.float32(slope) * x


def _matrix_scale(name, shape):
    """Scale of a tensor of rank 2 or more: g * sqrt(c / fan_in) in double, rounded once to float32."""
    fan_in = math.prod(shape) // shape[0]
    c = 6.0 if name.endswith(".block.conv.weight") else 3.0
    g = 0.35 if name.startswith("blocks") and name.endswith(_RESIDUAL_SUFFIXES) else 1.0
    return np.float32(g * math.sqrt(c / fan_in))


def weight(name, shape):
    """The tensor `name` of `shape` (a sequence of ints, row-major): float32, or int64 for batch counters."""
    shape = tuple(shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    r = uniform(name, math.prod(shape))
    u = np.float32(2.0) * r - np.float32(1.0)
    if name.endswith("running_var"):
        values = _affine(0.75, 0.5, r)
    elif name.endswith("running_mean"):
        values = np.float32(0.1) * u
    elif name.endswith("rescale"):
        values = _affine(1.0, 0.1, u)
    elif name.endswith(("gamma_1", "gamma_2")):
        values = _affine(0.5, 0.1, u)
    elif name.endswith("bn3.weight"):
        values = np.float32(0.35) * _affine(1.0, 0.1, u)
    elif name.endswith("position.weight"):
        values = r
    elif len(shape) == 1 and name.endswith(".weight"):
        values = _affine(1.0, 0.1, u)
    elif len(shape) == 1:
        values = np.float32(0.05) * u
    else:
        values = u * _matrix_scale(name, shape)
    return values.reshape(shape)


def image_input(shape, signed, name="input"):
    """An input array [N, 3, H, W]: u in [-1, 1) if `signed`, else r in [0, 1).

    One stream covers the whole array, so a larger batch keeps the images of a smaller one in front.
    """
    r = uniform(name, math.prod(shape))
    values = np.float32(2.0) * r - np.float32(1.0) if signed else r
    return values.reshape(shape)


def bits_sum(array):
    """Sum of the float32 bit patterns of `array` as unsigned integers, mod 2^64; 0 for an integer array."""
    if array.dtype != np.float32:
        return 0
    return int(np.ascontiguousarray(array).view(np.uint32).sum(dtype=np.uint64))
