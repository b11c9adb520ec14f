# SPDX-License-Identifier: Apache-2.0
"""The layer check finds what it is there for, and its table is the one of docs/design.md."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("check_layers", ROOT / "scripts" / "check_layers.py")
check_layers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_layers)


@pytest.fixture
def tree(tmp_path):
    """A small tree that passes; write() adds a file to it."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("include/vitrail/error.h", "#include <string>\n")
    write("src/base/dtype.h", '#include "vitrail/error.h"\n')
    write("src/ops/op.h", '#include "base/dtype.h"\n')
    write("src/ir/graph.h", '#include "ops/op.h"\n')
    assert check_layers.check(tmp_path) == []
    return tmp_path, write


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("src/base/tensor.h", '#include "ops/op.h"\n', "src/base may not include src/ops"),
        ("src/base/tensor.h", '\n #  include "ops/op.h"\n', "src/base/tensor.h:2: "),
        ("src/runtime/session.cc", '#include "ir/graph.h"\n', "src/runtime may not include src/ir"),
        ("include/vitrail/graph.h", '#include "base/dtype.h"\n', "include/vitrail may not include src/base"),
        ("tools/run.cc", '#include "base/dtype.h"\n', "tools may not include src/base"),
        ("src/ops/relu.cc", '#include "../base/dtype.h"\n', 'goes through ".."'),
        ("src/ops/relu.cc", '#include "op.h"\n', "is no file of src/ or include/"),
        ("src/plan/plan.cc", "#include <google/protobuf/message.h>\n", "may only be included in src/import"),
        ("src/import/onnx.h", "#include <google/protobuf/message.h>\n", "too heavy for a header"),
        ("src/extra/new.cc", "", "in no folder of the layer table"),
    ],
)
def test_finds_a_planted_violation(tree, name, text, message):
    root, write = tree
    write(name, text)
    errors = check_layers.check(root)
    assert len(errors) >= 1
    assert any(message in error for error in errors), errors


def test_finds_a_cycle(tree):
    root, write = tree
    write("src/base/tensor.h", '#include "ops/op.h"\n')
    assert any("src/base and src/ops include each other" in error for error in check_layers.check(root))


def test_tests_of_passes_may_use_the_oracle(tree):
    root, write = tree
    write("src/oracle/oracle.h", "")
    write("src/passes/fold_test.cc", '#include "oracle/oracle.h"\n')
    assert check_layers.check(root) == []
    write("src/passes/fold.cc", '#include "oracle/oracle.h"\n')
    assert len(check_layers.check(root)) == 1


def test_the_table_has_no_cycle():
    rows = {name.removeprefix("src/"): set(row.split()) for name, row in check_layers.LAYERS.items()}
    done = set()
    while free := {name for name, row in rows.items() if name not in done and row <= done}:
        done |= free
    assert done == set(rows)


def test_design_page_has_the_same_table():
    text = (ROOT / "docs" / "design.md").read_text()
    found = {}
    for folders, row in re.findall(r"^\| ((?:`[^`|]+/`(?:, )?)+) \|[^|]*\| ([^|]*) \|$", text, re.MULTILINE):
        for folder in re.findall(r"`([^`]+)/`", folders):
            found[folder] = set(re.findall(r"[a-z]+", row.replace("-", "")))
    for folder, row in check_layers.LAYERS.items():
        assert found.get(folder) == set(row.split()), folder
