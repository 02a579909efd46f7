"""Run random command lines, and list those that end with a traceback, an unknown exit status, or
several error lines.

Each line is a process in an empty outputs folder that all lines share. The flags are those of the
commands, and the values are usual ones and those of hasty or hostile users.

    python -m benchmarks.random_lines                        # 500 lines, about 10 minutes on one
                                                             core
    python -m benchmarks.random_lines --lines 100 --seed 7
"""

from __future__ import annotations

import argparse
import random
import shlex
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from benchmarks.measure import positive
from lenet_exp.config.explain import known_flags
from lenet_exp.package_files import CONF_DIR, config_groups
from tests.tools.commands import NO_NETWORK, start

SECONDS = 120  # time limit for a line
MOST_LINES = 3  # maximum number of lines that explain an invalid request
SHORT = (
    "batch_size=128",
    "num_epoch=1",
    "tracking.plots=false",
    "tracking.models=none",
    "dataset=digits",
)
GRIDS = ("seed=1,2", "activation=relu,tanh", "optimizer.lr=0.1,0.01")
COMMANDS = ("compare", "export", "sync", "reproduce", "ui")  # each has a dictionary FLAGS
PREDICT = (
    "dataset",
    "trained_model",
    "sweep",
    "configurations",
    "ensemble",
    "images",
    "output",
    "trust",
)
SWEEP = ("list", "status", "rm", "stop", "watch", "nope")
VALUES = """
    0 1 -1 2 0.1 1e-3 1e400 nan inf null true false '' x é [1,2] [] {} {a:1} range(3) 1,2 1,x
    interval(0,1) choice(1,2) ${seed} ${oc.env:HOME} ${nope} /dev/null ~/x 'a b' 0x10 1_000 last
    all none auto cpu cuda best mnist digits relu sgd linear ../x a.b '"' %s tag(a,1) glob(*)
    shuffle(1,2) 0-3 0..3 1;2 x.html x.md x.tex x.csv x.json x.PDF no/x.csv /proc/x.json x.onnx
    x.pt2 x.SAFETENSORS lenet5-digits lenet5-digits@champion runs:/x x.pkl 0.2 ffff nope
    sqlite:////nope/x.db http://127.0.0.1:9 'metrics.best_val_accuracy > 0' 1.2.3.4.5 70000
    leaderboard curves onnx pt2
"""
OPTIONS = ("--help", "--cfg", "--resolve", "--hydra-help", "--nope", "--config-name=x", "-h")


class Lines:
    """Draws random command lines. The same seed gives the same lines."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._values = [*shlex.split(VALUES), "9" * 30, "\t", "'"]
        of_launchers = {"hydra/launcher", "hydra/sweeper", "n_trials", "seeds"}
        self._flags = sorted(known_flags() | set(config_groups()) | of_launchers)

    def draw(self) -> tuple[str, list[str]]:
        """Return the name of a command and its arguments."""
        if self._random.random() < 0.55:
            return "train", self._train()

        program = self._random.choice([*COMMANDS, "predict", "sweep"])
        if program == "sweep":
            subcommand = self._random.choice(SWEEP)
            return program, [subcommand, *self._words(["sweep", "run", "dry_run", "experiment"])]
        if program == "predict":
            return program, self._words(sorted(PREDICT))
        flags = import_module(f"lenet_exp.commands.{program}").FLAGS
        words = self._words(sorted(flags))
        if program == "ui":
            words.append("port=nope")  # a server that starts would run until the time limit
        return program, words

    def _train(self) -> list[str]:
        pick = self._random.choice
        words = []
        is_sweep = self._random.random() < 0.45
        if is_sweep:
            words += ["-m", pick(GRIDS)]
        words += SHORT
        if is_sweep and self._random.random() < 0.3:
            words += ["hydra/sweeper=search", "n_trials=2"]

        for flag in self._random.choices(self._flags, k=pick([0, 1, 1, 2, 3])):
            prefix = pick(["", "", "", "", "+", "++", "~"])
            if prefix == "~":
                words.append(f"~{flag}")
            else:
                words.append(f"{prefix}{flag}={self._value(flag)}")
        if self._random.random() < 0.08:
            words.append(pick(OPTIONS))
        return words

    def _words(self, flags: list[str]) -> list[str]:
        """Return a few of the flags with values."""
        chosen = self._random.choices(flags, k=self._random.choice([0, 1, 1, 2, 3]))
        return [f"{flag}={self._value(flag)}" for flag in chosen]

    def _value(self, flag: str) -> str:
        options = [file.stem for file in (CONF_DIR / flag).glob("*.yaml")]
        if options and self._random.random() < 0.5:
            return self._random.choice(options)
        return self._random.choice(self._values)


def problem(status: int | None, stdout: str, stderr: str) -> str:
    """Return what is wrong with the end of a command, or an empty string."""
    if status is None:
        return "time limit"
    if "Traceback" in stdout + stderr:
        return "traceback"
    if status not in (0, 1, 2):
        return f"exit status {status}"
    lines = [line for line in stderr.splitlines() if line.strip()]
    if status == 2 and len(lines) > MOST_LINES:
        return "several error lines"
    return ""


def main() -> None:
    """Run the lines. Exit with status 1 if any of them ends badly."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=positive, default=500)
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()

    lines = Lines(settings.seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        work.mkdir()
        for number in range(settings.lines):
            program, arguments = lines.draw()
            process = start(
                *arguments,
                outputs=Path(folder) / "outputs",
                program=program,
                env=NO_NETWORK | {"HOME": folder},
                cwd=work,
            )
            try:
                stdout, stderr = process.communicate(timeout=SECONDS)
                fault = problem(process.returncode, stdout, stderr)
            except subprocess.TimeoutExpired:
                process.kill()
                stderr = ""
                fault = problem(None, "", "")
            if fault:
                wrong += 1
                line = shlex.join([f"lenet-{program}", *arguments])
                print(f"{number}: {fault}: {line}\n{stderr}", flush=True)
    print(f"{settings.lines} lines with seed {settings.seed}: {wrong} ended badly")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
