#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up the results of one `./dev test`. Usage: test_summary.py FOLDER

Reads FOLDER/*.step ("name<TAB>exit status<TAB>seconds", one a stage) and each stage's XML reports: from ctest
(FOLDER/STAGE.ctest.xml) with one from every GoogleTest program (FOLDER/STAGE/NAME.xml), or from pytest
(FOLDER/STAGE.pytest.xml). A program that failed without a failed test in its report (a crash, a leak)
counts as one failed test. The last line is "N passed, M failed, K skipped".
"""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def cases(path):
    """(passed, failures, skipped) of an XML report; failures are names."""
    passed, failed, skipped = 0, [], 0
    for case in ET.parse(path).getroot().iter("testcase"):
        name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def ctest_stage(folder, stage):
    """Sums the programs that ctest ran; one without a report of its own counts as one test."""
    passed, failed, skipped = 0, [], 0
    for program in ET.parse(folder / f"{stage}.ctest.xml").getroot().iter("testcase"):
        name = program.get("name")
        broken = program.get("status") == "fail"
        report = folder / stage / f"{name}.xml"
        try:
            counts = cases(report)
        except (OSError, ET.ParseError):
            counts = (0, [], 0) if broken else (1, [], 0)
        if broken and not counts[1]:
            counts = (counts[0], [f"{name} (the program failed)"], counts[2])
        passed += counts[0]
        failed += counts[1]
        skipped += counts[2]
    return passed, failed, skipped


def main():
    folder = Path(sys.argv[1])
    total = [0, 0, 0]
    print("\nStage                  passed  failed  skipped  seconds")
    for step in sorted(folder.glob("*.step"), key=lambda path: path.stat().st_mtime_ns):
        stage, status, seconds = step.read_text().split("\t")
        if (folder / f"{stage}.ctest.xml").exists():
            passed, failed, skipped = ctest_stage(folder, stage)
        elif (folder / f"{stage}.pytest.xml").exists():
            passed, failed, skipped = cases(folder / f"{stage}.pytest.xml")
        else:
            passed, failed, skipped = int(status == "0"), [], 0
        if status != "0" and not failed:
            failed = [f"{stage} (exit status {status})"]
        print(f"{stage:22} {passed:6}  {len(failed):6}  {skipped:7}  {int(seconds):7}")
        for name in failed:
            print(f"  failed: {name}")
        total[0] += passed
        total[1] += len(failed)
        total[2] += skipped
    print(f"\n{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
