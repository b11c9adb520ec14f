#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that includes follow the layers of docs/design.md. Usage: check_layers.py [ROOT]

Every quoted include names a file by its path from src/ or include/, never through `..`; a folder
includes only itself and the folders its row allows; libraries that belong to one folder stay there.
Prints one line per violation and exits 1 when there is any.
"""

import re
import sys
from pathlib import Path

# folder -> folders it may include, besides itself and include/vitrail. The same table stands in
# docs/design.md; tests/python/test_check_layers.py compares them.
LAYERS = {
    "include/vitrail": "",
    "src/base": "",
    "src/ops": "base",
    "src/ir": "base ops",
    "src/import": "base ops ir",
    "src/oracle": "base ops ir",
    "src/passes": "base ops ir",
    "src/plan": "base ops",
    "src/backends": "base",
    "src/kernels": "base ops backends",
    "src/lower": "base ops ir plan kernels",
    "src/runtime": "base ops plan backends kernels",
    "src/compare": "base",
    "src/compile": "base ops ir oracle passes plan backends kernels lower runtime compare",
    "src/quant": "base ops ir oracle passes plan backends kernels lower runtime compare compile",
    "src/report": "base ops ir oracle passes plan backends kernels lower runtime compare compile",
    "src/api": "base ops ir import oracle passes plan backends kernels lower runtime compare compile quant report",
    "zoo": "",
    "tools": "zoo",
    "python": "zoo",
}

# What x_test.cc and x_testing.h may include beyond their folder's row.
TESTS_MAY_ALSO = {
    "src/passes": "oracle import",
    "src/compile": "import",
}

# Header prefix -> the only folders that may include it.
PRIVATE_PARTS = {
    "google/protobuf/": ["src/import"],
    "onnx/": ["src/import"],
    "plan_generated.h": ["src/plan"],
    "flatbuffers/": ["src/plan"],
    "CLI/": ["tools"],
}

# Too heavy for a header that many files read.
ONLY_IN_SOURCES = ("nlohmann/json.hpp", "google/protobuf/", "flatbuffers/")

GENERATED = (
    "cuda_headers.inc",
    "kernel_list.inc",
    "kernel_revision.inc",
    "reference_revision.inc",
    "onnx/onnx-ml.pb.h",
    "plan_generated.h",
)
SUFFIXES = {".cc", ".h", ".inc", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)


def folder_of(path):
    """'src/ops/a.cc' -> 'src/ops', 'zoo/image/a.h' -> 'zoo'; None when no row covers the file."""
    parts = path.parts
    for depth in (2, 1):
        if "/".join(parts[:depth]) in LAYERS and len(parts) > depth:
            return "/".join(parts[:depth])
    return None


def target_of(root, name):
    """The folder that an include leads to, or None for a file that does not exist."""
    for base in ("src", "include", ""):
        if (root / base / name).is_file():
            return folder_of(Path(base) / name)
    return None


def check_file(root, path, edges):
    folder = folder_of(path)
    if folder is None:
        yield f"{path}: in no folder of the layer table; add a row to scripts/check_layers.py and docs/design.md"
        return
    allowed = set(LAYERS[folder].split())
    if path.stem.endswith(("_test", "_testing")):
        allowed |= set(TESTS_MAY_ALSO.get(folder, "").split())
    text = (root / path).read_text(errors="replace")
    for match in INCLUDE.finditer(text):
        quote, name = match.groups()
        where = f"{path}:{text.count(chr(10), 0, match.start(2)) + 1}"
        for prefix, owners in PRIVATE_PARTS.items():
            if name.startswith(prefix) and folder not in owners:
                yield f'{where}: "{name}" may only be included in {", ".join(owners)}'
        if path.suffix == ".h" and name.startswith(ONLY_IN_SOURCES):
            yield f'{where}: "{name}" is too heavy for a header; include it in a source file'
        if quote == "<":
            continue
        if ".." in Path(name).parts:
            yield f'{where}: "{name}" goes through ".."; name it by its path from src/'
            continue
        if name in GENERATED:
            continue
        target = target_of(root, name)
        if target is None:
            yield f'{where}: "{name}" is no file of src/ or include/; name includes by their path from there'
        elif target != folder:
            edges.setdefault(folder, {}).setdefault(target, where)
            if target != "include/vitrail" and target.removeprefix("src/") not in allowed:
                yield f"{where}: {folder} may not include {target} (allowed: {LAYERS[folder] or 'nothing of src/'})"


def cycles(edges):
    """Pairs of folders that reach each other."""
    reach = {}

    def walk(start, at):
        for target in edges.get(at, {}):
            if target not in reach[start]:
                reach[start].add(target)
                walk(start, target)

    for start in edges:
        reach[start] = set()
        walk(start, start)
    for start in sorted(reach):
        for other in sorted(reach[start]):
            if start < other and start in reach.get(other, ()):
                yield f"{start} and {other} include each other (see {', '.join(edges[start].values())})"


def check(root):
    root = Path(root)
    edges = {}
    errors = []
    for top in ("include", "src", "zoo", "tools", "python"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                errors += check_file(root, path.relative_to(root), edges)
    return errors + list(cycles(edges))


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    errors = check(root)
    print("\n".join(errors) or "layers: every include is allowed")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
