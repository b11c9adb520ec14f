# SPDX-License-Identifier: Apache-2.0
"""`cmake --install` leaves what a program outside the tree needs: examples/ builds against it and runs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("VITRAIL_BUILD", ROOT / "build"))

pytestmark = pytest.mark.skipif(
    not (BUILD / "lib" / "libvitrail_runtime.a").exists(), reason="nothing is built: run ./dev build"
)


def run(*command):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", BUILD, "--prefix", prefix)
    return prefix


def build_program(prefix, source, out):
    run("cmake", "-G", "Ninja", "-S", source, "-B", out, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", out)


def test_installs_headers_libraries_and_licence(prefix):
    installed = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file()}
    for header in (ROOT / "include" / "vitrail").glob("*.h"):
        assert f"include/vitrail/{header.name}" in installed
    for name in ("libvitrail_runtime.a", "libvitrail_compiler.a", "LICENSE", "vitrail-config.cmake"):
        assert any(path.endswith(f"/{name}") for path in installed), name
    assert not any(path.startswith("include/") and not path.startswith("include/vitrail/") for path in installed)


def test_the_runtime_has_no_protobuf_and_no_graph(prefix):
    (archive,) = prefix.rglob("libvitrail_runtime.a")
    symbols = run("nm", "-C", archive)
    assert "vitrail::Session::run()" in symbols
    assert "protobuf" not in symbols
    assert "vitrail::ir::" not in symbols


def test_the_example_builds_outside_the_tree_and_runs(prefix, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "examples", source)
    build_program(prefix, source, tmp_path / "out")
    program = tmp_path / "out" / "run_plan"
    missing = subprocess.run([program, tmp_path / "none.vitrail"], capture_output=True, text=True)
    assert missing.returncode == 6
    assert "none.vitrail" in missing.stderr


def test_a_program_links_the_compiler(prefix, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(links LANGUAGES CXX)\n"
        "find_package(vitrail REQUIRED)\nadd_executable(links links.cc)\n"
        "target_link_libraries(links PRIVATE -Wl,--whole-archive vitrail::compiler -Wl,--no-whole-archive)\n"
    )
    (source / "links.cc").write_text('#include "vitrail/error.h"\nint main() {}\n')
    build_program(prefix, source, tmp_path / "out")
    run(tmp_path / "out" / "links")
