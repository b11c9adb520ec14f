#!/usr/bin/env python3
"""Times engines against each other on one model: fresh processes, turn by turn, in alternating order.

    python peers.py MODEL.onnx --shape input:1x3x224x224 \\
        --command 'vitrail=build/vitrail bench {model} --threads {threads} --json {json}'

Engines: onnxruntime and openvino on the ONNX file, torch on a twin of tests/python (--twin cvt13), and any command that
writes the JSON of `vitrail bench --json`. In a command {model}, {shape}, {threads}, {seconds}, {warmup_ms} and {json}
are replaced. Commands come before engines; the first contestant is the subject to which the others are compared.

A noisy machine makes single figures worthless. Compare the ratios: each divides two measurements of one round.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import machine
import peer_report

# Imports are few because Linux counts the memory of the process that starts a child as the child's, up to exec.

ENGINE_SCRIPT = Path(__file__).resolve().with_name("peer_engine.py")
ENGINE_OPTIONS = "{model} --shape {shape} --threads {threads} --seconds {seconds} --warmup-ms {warmup_ms} --json {json}"


class MeasurementError(Exception):
    """A contestant failed; the message says how."""


def engine_command(engine, twin):
    """Command template of a built-in engine."""
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(ENGINE_SCRIPT))} {engine} {ENGINE_OPTIONS}"
    return f"{command} --twin {shlex.quote(twin)}" if engine == "torch" else command


def parse_contestants(args):
    """Command templates by contestant name, the subject first."""
    contestants = {}
    for text in args.command:
        name, separator, template = text.partition("=")
        if not separator or "{json}" not in template:
            raise ValueError(f"--command {text}: expected NAME=COMMAND with {{json}} in it")
        contestants[name] = template
    engines = [engine for engine in args.engines.split(",") if engine]
    if args.twin and "torch" not in engines:
        engines.append("torch")
    for engine in engines:
        contestants[engine] = engine_command(engine, args.twin or "")
    return contestants


def measure(template, settings, timeout):
    """Runs one contestant in a fresh process; returns its JSON, with peak memory as the system counted it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        values = {key: shlex.quote(str(value)) for key, value in {**settings, "json": path}.items()}
        command = shlex.split(template.format(**values))
        with tempfile.TemporaryFile() as log:
            exit_code, usage = run_process(command, log, timeout)
            if exit_code:
                log.seek(0)
                last_lines = log.read().decode(errors="replace").strip().splitlines()[-3:]
                raise MeasurementError(f"exit code {exit_code}: {' / '.join(last_lines)}")
        try:
            result = json.loads(path.read_text())
            float(result["latency_ms"]["median"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MeasurementError(f"no usable JSON: {error!r}") from error
    result["peak_memory_mib"] = usage.ru_maxrss / 1024
    result["cpu_seconds"] = usage.ru_utime + usage.ru_stime
    return result


def run_process(command, log, timeout):
    """Runs a command; returns its exit code (negative: signal) and resource usage. Killed after `timeout` seconds."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    except OSError as error:
        raise MeasurementError(str(error)) from error
    timer = threading.Timer(timeout, process.kill)
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


def play(contestants, settings, rounds, timeout, first=1):
    """Measures everybody in every round; every second round runs backwards, so that drift hits all alike.

    `first` is the number of the first round, for callers that play the rounds one by one.

    Returns ([{name: result} for each round], {name: message} of those that failed and were taken out).
    """
    results, failed = [], {}
    for number in range(first, first + rounds):
        names = [name for name in contestants if name not in failed]
        measured = {}
        for name in names if number % 2 == 1 else reversed(names):
            try:
                measured[name] = measure(contestants[name], settings, timeout)
            except MeasurementError as error:
                failed[name] = str(error)
                print(f"{name} failed: {error}", file=sys.stderr)
                continue
            print(
                f"round {number}: {name} {measured[name]['latency_ms']['median']:.3f} ms",
                file=sys.stderr,
                flush=True,
            )
        results.append(measured)
    return results, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="ONNX file")
    parser.add_argument("--shape", default="", help="input shape: 1x3x224x224, or NAME:SHAPE,NAME:SHAPE")
    parser.add_argument("--engines", default="onnxruntime,openvino", help="default: %(default)s")
    parser.add_argument("--twin", help="golden model of tests/golden that PyTorch shall run; adds the engine torch")
    parser.add_argument("--command", action="append", default=[], metavar="NAME=COMMAND", help="external contestant")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--first-round", type=int, default=1, help="number of the first round; even ones go backwards")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing for each measurement")
    parser.add_argument("--warmup-ms", type=float, default=200.0)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds after which a measurement is killed")
    parser.add_argument("--json", type=Path, help="write the report here too")
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    args = parser.parse_args()
    try:
        contestants = parse_contestants(args)
    except ValueError as error:
        parser.error(str(error))

    settings = {key: getattr(args, key) for key in ("model", "shape", "threads", "seconds", "warmup_ms")}
    load_before = os.getloadavg()[0]
    rounds, failed = play(contestants, settings, args.rounds, args.timeout, args.first_round)
    names = [name for name in contestants if name not in failed]
    if not names:
        return 1
    report = {
        "settings": settings | {"model": Path(args.model).name},
        "machine": machine.describe(),
        "load_average": [load_before, os.getloadavg()[0]],
        "summary": peer_report.summarize(names, rounds),
        "ratios": peer_report.paired_ratios(names, rounds),
        "rounds": [{name: measured[name] for name in names} for measured in rounds],
        "failed": failed,
    }
    text = peer_report.markdown(report)
    print(text)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
