# SPDX-License-Identifier: Apache-2.0
"""Every `vitrail ...` line of the documentation does what it says, in a folder with nothing but a photograph."""

import re
import shlex

import numpy as np
import pytest

import program

DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (program.ROOT / "docs").glob("*.md"))]

pytestmark = pytest.mark.skipif(not program.VITRAIL.exists(), reason=f"{program.VITRAIL} is not built")


def commands(document):
    """Words of the lines of code blocks (indented, or between fences) that start with `vitrail`."""
    text = (program.ROOT / document).read_text()
    fenced = list(re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    lines += [line.strip() for block in fenced for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("vitrail ")]


def photograph(path):
    """A real photograph of scikit-image as JPEG; where that package is missing, an image of the same size."""
    image = pytest.importorskip("PIL.Image")
    try:
        from skimage import data

        pixels = data.astronaut()
    except ImportError:
        pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    image.fromarray(pixels).save(path)


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if commands(name)])
def test_every_command_of_a_document_runs(document, tmp_path):
    photograph(tmp_path / "photo.jpg")
    for words in commands(document):
        # Measuring and tuning for less long shows the same.
        if words[0] in ("bench", "trace"):
            words = [*words, "--duration", "0.1"]
        if words[0] == "build":
            words = [*words, "--budget", "2"]
        code, output, errors = program.run(*words, folder=tmp_path)
        assert code == 0, f"{document}: vitrail {' '.join(words)}: exit {code}\n{output}{errors}"


def test_the_readme_shows_every_subcommand():
    shown = {words[0] for words in commands("README.md")}
    _, output, _ = program.run("--help")
    listed = set(re.findall(r"^  (\w+) ", output.split("Subcommands:")[1], re.MULTILINE))
    assert listed == shown


def test_the_readme_names_commands_of_dev():
    text = (program.ROOT / "README.md").read_text()
    script = (program.ROOT / "dev").read_text()
    for command in re.findall(r"\./dev (\w+)", text):
        assert f"cmd_{command}()" in script or command == "help", command
