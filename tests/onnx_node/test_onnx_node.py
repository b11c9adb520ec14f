# SPDX-License-Identifier: Apache-2.0
"""Every node test of ONNX passes, or stands in expected_failures.txt with its reason."""

import os
import pathlib

import pytest

pytest.importorskip("onnx")
import node_tests

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results():
    build = pathlib.Path(os.environ.get("VITRAIL_BUILD", ROOT / "build"))
    runner = build / "tests" / "onnx_node" / "vitrail_node_runner"
    if not runner.exists():
        pytest.skip(f"{runner} is not built (VITRAIL_BUILD names another build folder)")
    found = node_tests.run(str(runner))
    print(node_tests.table(found))
    return found


def test_nothing_regressed(results):
    expected = node_tests.load_expected()
    wrong = [f"{r.name}: {r.verdict}: {r.reason}" for r in results if r.verdict != "passed" and not expected.covers(r)]
    assert not wrong, "\n".join(wrong)


def test_expected_failures_still_fail(results):
    expected = node_tests.load_expected()
    stale = [r.name for r in results if r.verdict == "passed" and expected.covers(r)]
    names = {r.name for r in results}
    stale += [name for name in expected.tests if name not in names]
    assert not stale, "these pass or are gone, strike them out of expected_failures.txt:\n" + "\n".join(stale)
