"""Functions that all benchmarks share: interleaved repetitions, ratios for each round, and output
of numbers.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lenet_exp.machine import cpu_count, cpu_model, versions

Seconds = dict[str, list[float]]


def parser(doc: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """Return a command line parser with the options that all benchmarks share.

    Args:
        doc: docstring of the benchmark, which becomes the help text.
        repeats: default number of rounds.
    """
    arguments_parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments_parser.add_argument(
        "--repeats",
        type=positive,
        default=repeats,
        help=f"rounds that are timed (default {repeats})",
    )
    arguments_parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the raw numbers there"
    )
    return arguments_parser


def positive(text: str) -> int:
    """Parse an integer that must be at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: allowed is >= 1")
    return number


def interleave(ways: Mapping[str, Callable[[], float]], repeats: int) -> Seconds:
    """Time several functions alternately, after a warm-up call of each function.

    Args:
        ways: functions that return their duration in seconds, keyed by name.
        repeats: number of rounds. In each round, every function is called once.

    Returns:
        The durations in each round, keyed by name.
    """
    for way in ways.values():
        way()
    seconds: Seconds = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            seconds[name].append(way())
    return seconds


def show_seconds(seconds: Seconds, what: str) -> None:
    """Print the median, minimum, and maximum of the durations for each name.

    Args:
        what: title of the table.
    """
    width = max(len(name) for name in [*seconds, what])
    print(f"{what:<{width}}   median      min      max")
    for name, values in seconds.items():
        print(f"{name:<{width}} {median(values):8.3f} {min(values):8.3f} {max(values):8.3f}")


def show_ratio(name: str, over: Sequence[float], under: Sequence[float], goal: str) -> None:
    """Print the median and range of the ratios in all rounds, and the ratio of the shortest
    durations.

    The ratio of the shortest durations is the most reliable ratio on a busy machine.
    """
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    fastest = min(over) / min(under)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}; fastest {fastest:.2f}"
    print(f"{name}: {median(ratios):.2f} ({spread}), goal {goal}")


def keep(options: argparse.Namespace, benchmark: str, seconds: Any) -> None:
    """Print a description of the machine. If `--json` is set, also write it with the raw numbers to
    that file.
    """
    machine = {
        "date": time.strftime("%Y-%m-%d"),
        "cores": cpu_count(),
        "cpu": cpu_model(),
    }
    for package, version in versions().items():
        if package in {"python", "torch", "mlflow", "hydra-core"}:
            machine[package] = version
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if options.json is not None:
        arguments = {name: value for name, value in vars(options).items() if name != "json"}
        numbers = {
            "benchmark": benchmark,
            "options": arguments,
            "machine": machine,
            "seconds": seconds,
        }
        options.json.write_text(json.dumps(numbers, indent=1, default=str) + "\n")
