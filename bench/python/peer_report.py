"""Statistics and Markdown of a benchmark of peers.py. Standard library only."""

import statistics


def spread(values):
    """Median, quartiles and extremes of a list of numbers."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": middle, "q1": low, "q3": high, "min": min(values), "max": max(values)}


def summarize(contestants, rounds):
    """Per contestant: statistics over its rounds. `rounds` is a list of {contestant: result}, see peers.py.

    Latencies are medians of a round, in ms; load times in ms; memory in MiB is the greatest of all rounds.
    """
    summary = {}
    for name in contestants:
        results = [results_of[name] for results_of in rounds]
        summary[name] = {
            "latency_ms": spread([result["latency_ms"]["median"] for result in results]),
            "least_ms": min(result["latency_ms"]["min"] for result in results),
            "load_ms": statistics.median(result["load_ms"] for result in results),
            "peak_memory_mib": max(result["peak_memory_mib"] for result in results),
            "imports_memory_mib": max(result.get("imports_memory_mib", 0.0) for result in results),
            "version": results[0].get("version", ""),
        }
    return summary


def paired_ratios(contestants, rounds):
    """For each contestant after the first: spreads of its latency divided by the first one's, round by round.

    Above 1 the first contestant, the subject, is faster. Only measurements of one round are divided, they saw the same
    state of the machine. The ratio of the medians is what a user meets; that of the least latencies suffers less from
    other programs on the machine.
    """
    subject, *others = contestants

    def spread_of(other, statistic):
        return spread([r[other]["latency_ms"][statistic] / r[subject]["latency_ms"][statistic] for r in rounds])

    return {other: {"median": spread_of(other, "median"), "least": spread_of(other, "min")} for other in others}


def _table(header, rows):
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _number(value):
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _ranges(values):
    return (
        f"{_number(values['q1'])} to {_number(values['q3'])}",
        f"{_number(values['min'])} to {_number(values['max'])}",
    )


def markdown(report):
    """The report of peers.py as Markdown."""
    settings, machine = report["settings"], report["machine"]
    rows = [
        [
            name,
            _number(of["latency_ms"]["median"]),
            *_ranges(of["latency_ms"]),
            _number(of["least_ms"]),
            _number(of["load_ms"]),
            f"{of['peak_memory_mib']:.0f} ({of['imports_memory_mib']:.0f})",
            of["version"],
        ]
        for name, of in report["summary"].items()
    ]
    header = ["engine", "median ms", "quartiles", "extremes", "least ms", "load ms", "peak MiB (imports)", "version"]
    parts = [
        f"## {settings['model']} {settings['shape']}",
        f"{settings['threads']} threads, {len(report['rounds'])} rounds of {settings['seconds']:g} s after "
        f"{settings['warmup_ms']:g} ms of warm-up, a fresh process for each measurement. Median, quartiles and "
        "extremes are those of the rounds' medians, least is over all runs. In parentheses: memory before loading.",
        _table(header, rows),
    ]
    if report["ratios"]:
        subject = next(iter(report["summary"]))
        rows = [
            [f"{other} / {subject}", statistic, f"{values['median']:.3f}", *_ranges(values)]
            for other, statistics_of in report["ratios"].items()
            for statistic, values in statistics_of.items()
        ]
        parts.append(_table(["ratio in one round", "of the", "median", "quartiles", "extremes"], rows))
    names = list(report["summary"])
    rows = [
        [str(i + 1), *(_number(results[name]["latency_ms"]["median"]) for name in names)]
        for i, results in enumerate(report["rounds"])
    ]
    parts.append(_table(["round", *names], rows))
    isa = " ".join(machine["isa"])
    parts.append(
        f"Machine: {machine['cpu']} (family/model {machine['cpu_family_model']}), {machine['cpus']} CPUs"
        f"{', virtual' if machine['virtual_machine'] else ''}, last-level cache {machine['last_level_cache']}, "
        f"{machine['memory_gib']} GiB, {machine['system']}; {isa}. "
        f"Load average before the first and after the last round: {report['load_average'][0]:.2f}, "
        f"{report['load_average'][1]:.2f}."
    )
    parts += [f"Failed: {name}: {message}" for name, message in report["failed"].items()]
    return "\n\n".join(parts) + "\n"
