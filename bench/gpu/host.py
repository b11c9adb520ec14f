# SPDX-License-Identifier: Apache-2.0
"""The part of run_all.py that needs no GPU: the processor of a GPU machine, at each level it has."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from golden import Golden

TESTS = ("kernels_test", "runtime_test")
LEVELS = ("baseline", "avx2", "avx512")
NEEDS = {"baseline": set(), "avx2": {"avx2", "fma", "f16c"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}
SHOWN = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16")
GOLDENS = (("cvt13", "logits", "224x224"), ("mst_plus_plus", "output", "64x72"))


def processor():
    """Its name and the extensions that matter here."""
    with open("/proc/cpuinfo") as lines:
        fields = dict(line.split(":", 1) for line in lines.read().split("\n\n")[0].splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(fields.get("flags", "").split())
    return fields.get("model name", "unknown"), flags


def unit_tests(runner, name, level):
    scratch = runner.work / f"scratch-{name}-{level}"  # the levels run side by side
    scratch.mkdir(exist_ok=True)
    environment = {"VITRAIL_MAX_ISA": level, "TEST_TMPDIR": f"{scratch}/"}
    code, text, seconds = runner.program(name, environment=environment, timeout=200)
    passed = re.search(r"\[  PASSED  \] (\d+) test", text)
    failed = re.findall(r"^\[  FAILED  \] (\S+\.\S+)", text, re.MULTILINE)
    return {
        "case": name,
        "level": level,
        "exit": code,
        "passed": int(passed[1]) if passed else 0,
        "failed": sorted(set(failed)),
        "seconds": round(seconds, 1),
        "text": "" if code == 0 else text[-2000:],
    }


def golden(runner, model, output, case, level):
    stored = Golden(model)
    image = stored.input(case)
    stem = runner.work / f"host-{model}-{level}"
    np.savez(stem.with_suffix(".npz"), input=image)
    plan, results = stem.with_suffix(".vitrail"), runner.work / f"host-{model}-{level}-out.npz"
    row = {"case": f"{model} {case}", "level": level}
    environment = {"VITRAIL_MAX_ISA": level}
    for words in (
        ["build", runner.model(model), "-o", plan, "--shapes", "input:" + "x".join(map(str, image.shape)),
         "--deterministic", "--verify", "off", "-q"],
        ["run", plan, "--inputs", stem.with_suffix(".npz"), "--outputs", results],
    ):  # fmt: skip
        code, text, seconds = runner.program("vitrail", *words, environment=environment)
        row |= {"exit": code, "seconds": round(seconds, 1)}
        if code:
            return row | {"text": text[-1500:]}
    with np.load(results) as got:
        row["max_difference"] = stored.max_difference(case, output, got[output])
    row["tolerance"] = stored.tolerance(case, output)
    row["ok"] = bool(row["max_difference"] <= row["tolerance"])
    return row


def host(runner):
    """Kernels, runtime and goldens on the processor at every level it has, side by side."""
    name, flags = processor()
    levels = [level for level in LEVELS if NEEDS[level] <= flags]
    for model, _, _ in GOLDENS:
        runner.model(model)
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(unit_tests, runner, test, level) for level in levels for test in TESTS]
        jobs += [pool.submit(golden, runner, *case, level) for level in levels for case in GOLDENS]
        rows = [job.result() for job in jobs]
    for row in rows:
        print(row, flush=True)
    return {"processor": name, "flags": [flag for flag in SHOWN if flag in flags], "levels": levels, "rows": rows}


def markdown(results):
    if "host" not in results:
        return ""
    about = results["host"]
    lines = [
        f"Processor: {about['processor']} ({', '.join(about['flags'])})",
        "",
        "| on the processor | level | exit | passed, or difference (tolerance) | s |",
        "|---|---|---|---|---|",
    ]
    for row in about["rows"]:
        if "max_difference" in row:
            figure = f"{row['max_difference']:.2g} ({row['tolerance']:.2g})"
        else:
            figure = f"{row.get('passed', 0)}{', failed: ' + ' '.join(row['failed']) if row.get('failed') else ''}"
        lines.append(f"| {row['case']} | {row['level']} | {row['exit']} | {figure} | {row['seconds']} |")
    return "\n".join(lines)
