# SPDX-License-Identifier: Apache-2.0
"""ONNX's own node tests (package `onnx`), run by vitrail_node_runner.

`python node_tests.py RUNNER` prints a table of ops; `--failures` also the tests that did not pass;
`--write` rewrites expected_failures.txt from what happened. With `--plan` the tests go through a
compiled plan instead of the oracle; expected_plan_failures.txt has what fails there only.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import pathlib
import subprocess
import tempfile
import warnings

import numpy as np
import onnx
from onnx import numpy_helper

EXPECTED = pathlib.Path(__file__).with_name("expected_failures.txt")
EXPECTED_PLAN = EXPECTED.with_name("expected_plan_failures.txt")


@dataclasses.dataclass
class Result:
    name: str
    op: str  # the op under test
    ops: frozenset[str]  # all ops in the model
    verdict: str  # passed, failed, unsupported
    reason: str


def ops_of(graph: onnx.GraphProto) -> set[str]:
    found = set()
    for node in graph.node:
        found.add(f"{node.domain}.{node.op_type}" if node.domain else node.op_type)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= ops_of(attribute.g)
    return found


def tested_op(case, by_name) -> str:
    # test_gelu_default_1_expanded is the function body of what test_gelu_default_1 tests.
    base = by_name.get(case.name.split("_expanded")[0], case)
    node = base.model.graph.node[0] if base.model.graph.node else None
    return node.op_type if node else "?"


def write_case(case, folder: pathlib.Path) -> str | None:
    """Writes model and tensors; returns why the test is unsupported, if it is."""
    graph = case.model.graph
    for value in [*graph.input, *graph.output]:
        if not value.type.HasField("tensor_type"):
            return f"type {value.type.WhichOneof('value')}"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    for k, (inputs, outputs) in enumerate(case.data_sets):
        for what, values in ("input", inputs), ("output", outputs):
            for i, value in enumerate(values):
                if isinstance(value, onnx.TensorProto):
                    proto = value
                elif value is None:
                    return "an absent value"
                else:
                    proto = numpy_helper.from_array(np.asarray(value))
                (folder / f"{what}_{k}_{i}.pb").write_bytes(proto.SerializeToString())
    return None


def run_list(command: list[str], path: pathlib.Path) -> tuple[list[str], str]:
    """The lines a runner printed and how it ended."""
    limit = 240  # seconds; all tests together take a few
    try:
        done = subprocess.run([*command, path], stdout=subprocess.PIPE, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").decode().splitlines(), f"took more than {limit} s"
    return done.stdout.splitlines(), f"ended with {done.returncode}"


def run(runner: str, plan: bool = False) -> list[Result]:
    # Imported late: building the tests takes seconds and computes overflows on purpose.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        cases = load_model_tests(kind="node")
    by_name = {case.name: case for case in cases}
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        waiting = []
        for case in cases:
            ops = frozenset(ops_of(case.model.graph))
            why = write_case(case, root / case.name)
            results[case.name] = Result(case.name, tested_op(case, by_name), ops, "unsupported", why or "")
            if why is None:
                waiting.append(f"{case.name}\t{case.rtol}\t{case.atol}\t{root / case.name}\n")
        while waiting:
            (root / "list").write_text("".join(waiting))
            lines, ended = run_list([runner, *(["--plan"] if plan else [])], root / "list")
            for line in lines:
                name, verdict, reason = line.split("\t")
                results[name].verdict, results[name].reason = verdict, reason
            waiting = waiting[len(lines) :]
            if waiting:  # the runner died in the first test without a line
                name = waiting.pop(0).split("\t")[0]
                results[name].verdict, results[name].reason = "failed", f"the runner {ended}"
    return list(results.values())


@dataclasses.dataclass
class Expected:
    ops: dict[str, str]
    tests: dict[str, str]

    def covers(self, result: Result) -> bool:
        return result.name in self.tests or not self.ops.keys().isdisjoint(result.ops)


def load_expected(*paths: pathlib.Path) -> Expected:
    expected = Expected({}, {})
    for line in "\n".join(path.read_text() for path in paths or [EXPECTED]).splitlines():
        if line and not line.startswith("#"):
            kind, name, *reason = line.split(" ", 2)
            (expected.ops if kind == "op" else expected.tests)[name] = " ".join(reason)
    return expected


def table(results: list[Result]) -> str:
    counts = collections.defaultdict(collections.Counter)
    for result in results:
        counts[result.op][result.verdict] += 1
        counts["all"][result.verdict] += 1
    rows = [*sorted(op for op in counts if op != "all"), "all"]
    return "\n".join(
        f"{op}: {counts[op]['passed']} passed, {counts[op]['failed']} failed, {counts[op]['unsupported']} unsupported"
        for op in rows
    )


def expected_text(results: list[Result], reasons: Expected) -> str:
    """What did not pass: ops none of whose tests pass, then single tests. Reasons that stood stay."""
    passing = set().union(*(r.ops for r in results if r.verdict == "passed"))
    without = {r.op for r in results if r.op in r.ops} - passing
    without |= {op for r in results for op in r.ops if f"no op '{op}'" in r.reason} - passing
    lines = [
        "# Node tests of ONNX that do not pass, and why. `op X`: every test with that op; `test x`: this one.",
        "# Every other test has to pass, and these must not: python tests/onnx_node/node_tests.py RUNNER --write",
    ]
    lines += [f"op {op} {reasons.ops.get(op, 'not in this version')}".strip() for op in sorted(without)]
    for r in sorted(results, key=lambda r: r.name):
        if r.verdict != "passed" and without.isdisjoint(r.ops):
            lines.append(f"test {r.name} {reasons.tests.get(r.name) or short(r.reason)}".strip())
    return "\n".join(lines) + "\n"


def short(reason: str) -> str:
    return reason.split("): ", 1)[-1][:120]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runner")
    parser.add_argument("--failures", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--plan", action="store_true")
    arguments = parser.parse_args()
    results = run(arguments.runner, arguments.plan)
    if arguments.failures:
        for r in results:
            if r.verdict != "passed":
                print(f"{r.name}\t{r.op}\t{r.verdict}\t{r.reason}")
    print(table(results))
    if arguments.write and arguments.plan:
        known = load_expected()
        reasons = load_expected(EXPECTED_PLAN) if EXPECTED_PLAN.exists() else Expected({}, {})
        lines = ["# Node tests of ONNX that fail in a compiled plan and not in the oracle, and why."]
        for r in sorted(results, key=lambda r: r.name):
            if r.verdict != "passed" and not known.covers(r):
                lines.append(f"test {r.name} {reasons.tests.get(r.name) or short(r.reason)}".strip())
        EXPECTED_PLAN.write_text("\n".join(lines) + "\n")
    elif arguments.write:
        reasons = Expected({}, {})
        with contextlib.suppress(FileNotFoundError):
            reasons = load_expected()
        EXPECTED.write_text(expected_text(results, reasons))


if __name__ == "__main__":
    main()
