# SPDX-License-Identifier: Apache-2.0
"""Writes zoo/image/cases.inc: small pictures in all the encodings that the decoder must take, and
what Pillow makes of them. Run by hand when a case is added; needs Pillow and numpy.

    python tests/python/make_image_cases.py > zoo/image/cases.inc
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps


def encoded(picture, **options):
    out = io.BytesIO()
    picture.save(out, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width, height, depth, color, rows, interlace=0):
    """A PNG of a kind that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width].astype(float)
    planes = [40 + 20 * x, 200 - 15 * y, 60 + 9 * x + 7 * y]
    return np.stack(planes, -1).clip(0, 255).astype(np.uint8)


def cases():
    rgb = Image.fromarray(smooth(5, 6))
    noise = np.random.default_rng(7).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    jpeg = {"format": "JPEG", "quality": 90, "optimize": True}
    yield "jpeg_420", encoded(rgb, **jpeg)
    yield "jpeg_444", encoded(rgb, subsampling=0, **jpeg)
    yield "jpeg_progressive", encoded(rgb, progressive=True, **jpeg)
    yield "jpeg_gray", encoded(rgb.convert("L"), **jpeg)
    yield "jpeg_cmyk", encoded(rgb.convert("CMYK"), **jpeg)
    yield "jpeg_1x1", encoded(rgb.crop((0, 0, 1, 1)), **jpeg)
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"jpeg_exif_{orientation}", encoded(rgb.crop((0, 0, 3, 2)), exif=exif, **jpeg)
    png = {"format": "PNG"}
    yield "png_rgb", encoded(Image.fromarray(noise[:, :, :3]), **png)
    yield "png_rgba", encoded(Image.fromarray(noise, "RGBA"), **png)
    yield "png_gray", encoded(Image.fromarray(noise[:, :, 0]), **png)
    yield "png_gray_alpha", encoded(Image.fromarray(noise[:, :, :2], "LA"), **png)
    yield "png_1_bit", encoded(Image.fromarray(noise[:, :, 0]).convert("1"), **png)
    palette = Image.fromarray(noise[:, :, :3]).quantize(5)
    yield "png_palette", encoded(palette, **png)
    yield "png_palette_alpha", encoded(palette, transparency=2, **png)
    yield "png_2_bit", raw_png(4, 2, 2, 0, [b"\x1b", b"\xe4"])
    rows = noise[:2, :, :3]  # Adam7 takes columns 0, 2, 1 and 3 of the first row, then the second
    passes = [rows[0, [0]], rows[0, [2]], rows[0, [1, 3]], rows[1]]
    yield "png_interlaced", raw_png(4, 2, 8, 2, [part.tobytes() for part in passes], interlace=1)
    samples = noise[:2, :, :3].astype(">u2") * 257 + 100
    yield "png_16_bit", raw_png(4, 2, 16, 2, [row.tobytes() for row in samples])


def literal(data):
    lines = [data[i : i + 22] for i in range(0, len(data), 22)]
    return "\n".join('  "' + "".join(f"\\x{byte:02x}" for byte in line) + '"' for line in lines)


def main():
    print("// Made by tests/python/make_image_cases.py: name, file, height, width, RGB by Pillow.")
    for name, data in cases():
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        pixels = np.asarray(picture)
        print(f'{{"{name}",\n{literal(data)}sv,\n  {pixels.shape[0]}, {pixels.shape[1]},')
        print(f"{literal(pixels.tobytes())}sv}},")


main()
