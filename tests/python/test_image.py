# SPDX-License-Identifier: Apache-2.0
"""Pictures by our own code against Pillow, through build/zoo/image/vitrail_image_probe."""

import os
import pathlib
import subprocess

import numpy as np
import pytest

PIL = pytest.importorskip("PIL")
Image = pytest.importorskip("PIL.Image")

BUILD = pathlib.Path(os.environ.get("VITRAIL_BUILD", pathlib.Path(__file__).parents[2] / "build"))
PROBE = BUILD / "zoo" / "image" / "vitrail_image_probe"
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}

pytestmark = pytest.mark.skipif(not PROBE.exists(), reason=f"{PROBE} is not built")


def probe(*arguments):
    subprocess.run([str(PROBE), *map(str, arguments)], check=True)


def floats(text):
    return np.array(text.split(","), dtype=np.float32)


def random_picture(rng, height, width):
    """Blocks, noise and hard edges: what makes resampling overshoot."""
    coarse = rng.integers(0, 256, (height // 7 + 1, width // 7 + 1, 3))
    blocks = coarse.repeat(7, 0).repeat(7, 1)[:height, :width]
    noise = rng.integers(-40, 41, (height, width, 3)) * (rng.random((height, width, 1)) < 0.5)
    return Image.fromarray((blocks + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("seed", range(6))
def test_resize_equals_pillow(tmp_path, name, seed):
    rng = np.random.default_rng(seed)
    height, width, to_height, to_width = rng.integers(1, 400, 4)
    down_first = to_height < height and height - to_height > 2 * (width - to_width)
    if down_first and name != "nearest" and int(PIL.__version__.split(".")[0]) < 13:
        pytest.skip("Pillow before 13 takes the passes in another order")
    picture = random_picture(rng, height, width)
    picture.save(tmp_path / "in.png")
    probe("resize", tmp_path / "in.png", tmp_path / "out.png", to_height, to_width, name)
    expected = np.asarray(picture.resize((to_width, to_height), FILTERS[name]))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), expected)


@pytest.mark.parametrize(("quality", "subsampling"), [(95, 0), (75, 2), (40, 1)])
def test_jpeg_equals_pillow(tmp_path, quality, subsampling):
    picture = random_picture(np.random.default_rng(quality), 123, 211)
    picture.save(tmp_path / "in.jpg", quality=quality, subsampling=subsampling)
    probe("decode", tmp_path / "in.jpg", tmp_path / "out.png")
    expected = np.asarray(Image.open(tmp_path / "in.jpg").convert("RGB"), dtype=int)
    ours = np.asarray(Image.open(tmp_path / "out.png"), dtype=int)
    # Pillow brings its own libjpeg-turbo, whose upsampling may round otherwise.
    assert np.abs(ours - expected).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(480, 640), (333, 250), (512, 482), (256, 256)])
def test_imagenet_preprocessing(tmp_path, height, width):
    """Shorter side to 256 by bicubic, centre 224, mean and std: what CvT's official code does."""
    picture = random_picture(np.random.default_rng(height), height, width)
    picture.save(tmp_path / "in.png")
    mean, std = "0.485,0.456,0.406", "0.229,0.224,0.225"
    keys = {"resize": 256, "crop": "224x224", "interpolation": "bicubic", "mean": mean, "std": std}
    flat = [part for item in keys.items() for part in item]
    probe("preprocess", tmp_path / "in.png", tmp_path / "out.f32", *flat)
    short = min(height, width)
    size = (256 * width // short, 256 * height // short)
    small = picture.resize(size, FILTERS["bicubic"])
    left, top = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
    pixels = np.asarray(small.crop((left, top, left + 224, top + 224)), dtype=np.float32)
    scaled = pixels / np.float32(255)
    expected = (scaled - floats(mean)) / floats(std)
    ours = np.fromfile(tmp_path / "out.f32", dtype=np.float32).reshape(3, 224, 224)
    np.testing.assert_array_equal(ours, expected.transpose(2, 0, 1))


def test_minmax_preprocessing(tmp_path):
    """(x - min) / (max - min) over the whole picture: what MST++'s official code does."""
    picture = random_picture(np.random.default_rng(1), 60, 62)
    picture.save(tmp_path / "in.png")
    probe("preprocess", tmp_path / "in.png", tmp_path / "out.f32", "range", "minmax")
    pixels = np.asarray(picture, dtype=np.float32)
    expected = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    ours = np.fromfile(tmp_path / "out.f32", dtype=np.float32).reshape(3, 60, 62)
    np.testing.assert_array_equal(ours, expected.transpose(2, 0, 1))
