"""Shared parts of the benchmarks: interleaved repetitions, ratios by round, and output of numbers."""

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
    """Return a command-line parser with the options of all benchmarks; its help is the script's docstring."""
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--repeats", type=positive, default=repeats, help=f"rounds that are timed (default {repeats})")
    found.add_argument("--json", type=Path, metavar="FILE", help="write the raw numbers there")
    return found


def positive(text: str) -> int:
    """Parse a whole number >= 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: allowed is >= 1")
    return number


def interleave(ways: Mapping[str, Callable[[], float]], repeats: int) -> Seconds:
    """Return the seconds that each way takes: one uncounted warm-up of each, then all ways in turn, `repeats` times."""
    for way in ways.values():
        way()
    seconds: Seconds = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            seconds[name].append(way())
    return seconds


def show_seconds(seconds: Seconds, what: str) -> None:
    """Print one line per way: median, lowest, and highest seconds."""
    width = max(len(name) for name in [*seconds, what])
    print(f"{what:<{width}}   median      min      max")
    for name, values in seconds.items():
        print(f"{name:<{width}} {median(values):8.3f} {min(values):8.3f} {max(values):8.3f}")


def show_ratio(name: str, over: Sequence[float], under: Sequence[float], goal: str) -> None:
    """Print median and range of the ratios by round, and the ratio of the fastest, which is most reliable on a busy
    machine.
    """
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    fastest = min(over) / min(under)
    print(f"{name}: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; fastest {fastest:.2f}), goal {goal}")


def keep(options: argparse.Namespace, benchmark: str, seconds: Any) -> None:
    """Print the description of the machine, and write it with the raw numbers to the file named by `--json`."""
    machine = {
        "date": time.strftime("%Y-%m-%d"),
        "cores": cpu_count(),
        "cpu": cpu_model(),
        **{name: v for name, v in versions().items() if name in {"python", "torch", "mlflow", "hydra-core"}},
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if options.json is not None:
        asked = {name: value for name, value in vars(options).items() if name != "json"}
        numbers = {"benchmark": benchmark, "options": asked, "machine": machine, "seconds": seconds}
        options.json.write_text(json.dumps(numbers, indent=1, default=str) + "\n")
