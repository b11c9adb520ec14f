# SPDX-License-Identifier: Apache-2.0
"""Small writers of checkpoints as PyTorch, safetensors and numpy make them, without PyTorch and safetensors."""

import json
import struct
import zipfile

import numpy as np

STORAGES = {"float32": "FloatStorage", "int64": "LongStorage", "float64": "DoubleStorage", "float16": "HalfStorage"}
SAFETENSORS_TYPES = {"float32": "F32", "int64": "I64", "float64": "F64", "float16": "F16"}


def write_npz(path, tensors):
    np.savez(path, **tensors)


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, array in tensors.items():
        span = [offset, offset + array.nbytes]
        header[name] = {"dtype": SAFETENSORS_TYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": span}
        offset = span[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(array.tobytes())


class Pickler:
    """The pickle (protocol 2) of nested dictionaries, numbers, texts and numpy arrays as torch.save writes them."""

    def __init__(self):
        self.storages = []

    def document(self, value):
        return b"\x80\x02" + self.encode(value) + b"."

    def encode(self, value):
        if isinstance(value, dict):
            items = b"".join(self.encode(key) + self.encode(item) for key, item in value.items())
            return b"ccollections\nOrderedDict\n)R(" + items + b"u"
        if isinstance(value, str):
            data = value.encode()
            return b"X" + struct.pack("<I", len(data)) + data
        if isinstance(value, bool):
            return b"\x88" if value else b"\x89"
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if isinstance(value, float):
            return b"G" + struct.pack(">d", value)
        if isinstance(value, tuple):
            return b"(" + b"".join(map(self.encode, value)) + b"t"
        return self.tensor(value)

    def tensor(self, array):
        key = str(len(self.storages))
        self.storages.append(np.asarray(array, order="C"))
        kind = b"ctorch\n" + STORAGES[array.dtype.name].encode() + b"\n"
        reference = b"(" + self.encode("storage") + kind + self.encode((key, "cpu", array.size))[1:-1] + b"tQ"
        strides = tuple(stride // array.itemsize for stride in self.storages[-1].strides)
        rest = self.encode(0) + self.encode(array.shape) + self.encode(strides) + b"\x89ccollections\nOrderedDict\n)R"
        return b"ctorch._utils\n_rebuild_tensor_v2\n(" + reference + rest + b"tR"


def write_pth(path, content):
    """What torch.save(content, path) writes; arrays stand for tensors."""
    pickler = Pickler()
    document = pickler.document(content)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", document)
        archive.writestr("archive/byteorder", "little")
        for key, array in enumerate(pickler.storages):
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")
