# SPDX-License-Identifier: Apache-2.0
"""./dev refuses what it does not know, and the summary of a test run misses no failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_help_lists_every_command():
    result = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True)
    assert result.returncode == 0
    for command in ("setup", "build", "demo", "test", "lint", "bench", "clean"):
        assert f"\n  {command} " in result.stdout


def test_an_unknown_command_is_a_usage_error():
    result = subprocess.run([ROOT / "dev", "biuld"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "unknown command 'biuld'" in result.stderr


def setup_cuda(path, **environment):
    return subprocess.run(
        [ROOT / "dev", "setup", "--cuda"],
        capture_output=True,
        text=True,
        env=os.environ | {"VITRAIL_CUDA_PATH": str(path)} | environment,
    )


def test_setup_takes_the_cuda_that_is_there(tmp_path):
    for name in ("libnvrtc.so.13", "libcublasLt.so.13", "libcudnn.so.9"):
        (tmp_path / name).touch()
    result = setup_cuda(tmp_path)
    assert result.returncode == 0, result.stderr
    for name in ("libnvrtc.so.13", "libcublasLt.so.13", "libcudnn.so.9"):
        assert str(tmp_path / name) in result.stdout
    assert f"VITRAIL_CUDA_PATH={tmp_path}" in result.stderr


def test_what_is_missing_of_cuda_is_listed(tmp_path):
    script = ROOT / "scripts" / "cuda_libraries.sh"
    # A loader and folders without the toolkit: a copy that looks in this folder alone.
    text = (
        script.read_text().replace("/usr/local/cuda/lib64 /usr/lib/x86_64-linux-gnu", "").replace("ldconfig", "false")
    )
    (tmp_path / "libnvrtc.so.12").touch()
    (tmp_path / "check.sh").write_text(text)
    result = subprocess.run(
        ["bash", tmp_path / "check.sh"],
        capture_output=True,
        text=True,
        env=os.environ | {"VITRAIL_CUDA_PATH": str(tmp_path)},
    )
    assert result.returncode == 1
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert lines["NVRTC"].endswith("libnvrtc.so.12")
    assert lines["cuBLASLt"].endswith("missing")
    assert lines["cuDNN"].endswith("missing")


CTEST = '<testsuite><testcase name="a_test" status="{}"/></testsuite>'
GTEST = (
    '<testsuites><testsuite><testcase name="Works" classname="A" status="run"/>'
    '<testcase name="Bad" classname="A" status="run">{}</testcase></testsuite></testsuites>'
)
PYTEST = (
    '<testsuites><testsuite><testcase classname="t" name="x"/><testcase classname="t" name="y"><skipped/></testcase>'
    "</testsuite></testsuites>"
)


@pytest.mark.parametrize(
    ("files", "last_line", "named"),
    [
        ({"lint.step": "lint\t0\t1"}, "1 passed, 0 failed, 0 skipped", ""),
        ({"lint.step": "lint\t1\t1"}, "0 passed, 1 failed, 0 skipped", "lint (exit status 1)"),
        (
            {"unit.step": "unit\t0\t1", "unit.ctest.xml": CTEST.format("run"), "unit/a_test.xml": GTEST.format("")},
            "2 passed, 0 failed, 0 skipped",
            "",
        ),
        (
            {
                "unit.step": "unit\t8\t1",
                "unit.ctest.xml": CTEST.format("fail"),
                "unit/a_test.xml": GTEST.format("<failure/>"),
            },
            "1 passed, 1 failed, 0 skipped",
            "A.Bad",
        ),
        (
            {"unit.step": "unit\t8\t1", "unit.ctest.xml": CTEST.format("fail")},
            "0 passed, 1 failed, 0 skipped",
            "a_test (the program failed)",
        ),
        (
            {"unit.step": "unit\t8\t1", "unit.ctest.xml": CTEST.format("fail"), "unit/a_test.xml": "<testsuites><te"},
            "0 passed, 1 failed, 0 skipped",
            "a_test (the program failed)",
        ),
        (
            {"asan.step": "asan\t8\t1", "asan.ctest.xml": CTEST.format("fail"), "asan/a_test.xml": GTEST.format("")},
            "2 passed, 1 failed, 0 skipped",
            "a_test (the program failed)",
        ),
        ({"python.step": "python\t0\t1", "python.pytest.xml": PYTEST}, "1 passed, 0 failed, 1 skipped", ""),
        ({"python.step": "python\t2\t1", "python.pytest.xml": PYTEST}, "1 passed, 1 failed, 1 skipped", "python (exit"),
        ({}, "0 passed, 0 failed, 0 skipped", ""),
    ],
)
def test_the_summary_adds_up(tmp_path, files, last_line, named):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    script = ROOT / "scripts" / "test_summary.py"
    result = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == last_line
    assert named in result.stdout
    assert result.returncode == (1 if " 0 failed" not in last_line or last_line.startswith("0") else 0)
