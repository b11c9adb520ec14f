# SPDX-License-Identifier: Apache-2.0
"""Runs the program `vitrail` of the build folder, for the tests."""

import os
import subprocess
from pathlib import Path

BUILD = Path(os.environ.get("VITRAIL_BUILD", Path(__file__).resolve().parents[2] / "build"))
VITRAIL = BUILD / "vitrail"


def vitrail(*arguments, code=0, level=None):
    """Runs the program, expects an exit code, returns what it printed (stdout and stderr)."""
    environment = dict(os.environ)
    if level:
        environment["VITRAIL_MAX_ISA"] = level
    command = [str(VITRAIL), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == code, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
