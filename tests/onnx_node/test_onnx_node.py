# SPDX-License-Identifier: Apache-2.0
"""Every node test of ONNX passes in the oracle and in a plan, or stands with its reason in
expected_failures.txt or expected_plan_failures.txt."""

import os
import pathlib

import pytest

pytest.importorskip("onnx")
import node_tests

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=["oracle", "plan"])
def results_and_expected(request):
    build = pathlib.Path(os.environ.get("VITRAIL_BUILD", ROOT / "build"))
    runner = build / "tests" / "onnx_node" / "vitrail_node_runner"
    if not runner.exists():
        pytest.skip(f"{runner} is not built (VITRAIL_BUILD names another build folder)")
    found = node_tests.run(str(runner), plan=request.param == "plan")
    print(node_tests.table(found))
    paths = [node_tests.EXPECTED, *([node_tests.EXPECTED_PLAN] if request.param == "plan" else [])]
    return found, node_tests.load_expected(*paths)


def test_nothing_regressed(results_and_expected):
    results, expected = results_and_expected
    wrong = [f"{r.name}: {r.verdict}: {r.reason}" for r in results if r.verdict != "passed" and not expected.covers(r)]
    assert not wrong, "\n".join(wrong)


def test_expected_failures_still_fail(results_and_expected):
    results, expected = results_and_expected
    stale = [r.name for r in results if r.verdict == "passed" and expected.covers(r)]
    names = {r.name for r in results}
    stale += [name for name in expected.tests if name not in names]
    assert not stale, "these pass or are gone, strike them out of expected_failures.txt:\n" + "\n".join(stale)
