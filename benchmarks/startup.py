"""lenet-train starts almost as fast as an empty Hydra app, and prints its result long before its
uploads are complete.

Compared with an app that consists only of @hydra.main, the ratio must be at most 1.4 for --help,
and at most 1.6 for --cfg job and shell completion. Compared with --help, the ratio must be at most
1.5 for an error. Compared with `python -c "import mlflow, torch"`, `ANSWERS` has the goals for a
run and for the sweep in README.md. The store exists, and the engine is compiled. Each command runs
in a separate process, and the benchmark alternates between the commands.

    python -m benchmarks.startup
    python -m benchmarks.startup --only answers --repeats 5
    python -m benchmarks.startup --only many --repeats 1      # 300 runs of one epoch, trained and
                                                              tracked
    python -m benchmarks.startup --only beside --repeats 5    # training with and without uploads
                                                              beside it
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measure import Seconds, interleave, keep, parser, show_ratio, show_seconds

EMPTY_APP = """\
import hydra


@hydra.main(config_path=None, **({"version_base": None} if hydra.__version__ < "1.4" else {}))
def main(cfg):
    pass


main()
"""
QUESTIONS = {
    "--help": ["--help"],
    "--cfg job": ["--cfg", "job"],
    "completion": ["-sc", "query=bash"],
}
GOALS = {"--help": "<= 1.4", "--cfg job": "<= 1.6", "completion": "<= 1.6"}
MISTAKES = (
    "--nope",
    "batch_size=abc",
    "optimizer.lr=-1",
    "optimizer.lrr=1",
    "-m optimizer.lr=0.1,-1",
)
IMPORTS = "import mlflow, torch"
SMALL = ["dataset=digits", "batch_size=32", "num_epoch=10"]
README = ["-m", *SMALL, "activation=relu,selu,tanh", "seed=range(5)"]
MANY = [
    "-m",
    "dataset=digits",
    "batch_size=32",
    "num_epoch=1",
    "activation=relu,selu,tanh",
    "seed=range(100)",
]
RESULT = "best validation accuracy"  # regular expressions for the beginning of a line
VERDICT = r"\S+ wins|\d+ of \d+|no significant|next:"
BESIDE = """\
import sys, time
from lenet_exp.commands.train import main
from contextlib import nullcontext
from lenet_exp.sweeps import session
from lenet_exp.tracking.uploader import client, uploads

def timed(*arguments, **keywords):
    start = time.perf_counter()
    drive(*arguments, **keywords)
    print(f"{time.perf_counter() - start:.3f} s of training", file=sys.stderr)

if sys.argv.pop(1) == "without":
    client.start_uploader = lambda: None
    uploads.uploads = lambda followed: nullcontext()
drive, session.drive = session.drive, timed
sys.argv[0] = "lenet-train"
main()
"""
ANSWERS = [  # what is timed, and the goal for its ratio to the imports
    ("one run: result printed", "<= 1.1"),
    ("one run: prompt back", "<= 1.5"),
    ("README's sweep: verdict printed", "<= 3.3"),
    ("README's sweep: prompt back", "<= 4.2"),
    ("finished sweep again: prompt back", "<= 0.7"),
    ("with uploads", "<= 1.05"),
]
# command line to complete with Tab, for which the configuration must be composed
TYPED = "lenet-train opt"


def seconds_of(command: list[str], folder: str, status: int = 0) -> float:
    """Run a command in a process and return its wall time in seconds.

    Args:
        command: command to run. Its environment variables are those that a shell sets for
            completion.
        folder: working directory of the process.
        status: expected exit status.
    """
    environment = os.environ | {"COMP_LINE": TYPED, "COMP_POINT": str(len(TYPED))}
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    seconds = time.perf_counter() - start
    if done.returncode != status:
        raise RuntimeError(f"{command}: status {done.returncode}: {done.stderr.decode()}")
    return seconds


def answer(line: list[str], outputs: Path, begins: str) -> tuple[float, float]:
    """Run lenet-train, and return the seconds until stdout has a line with this beginning, and
    until the prompt.

    Args:
        line: arguments of the command.
        outputs: the outputs folder.
        begins: regular expression for the beginning of the line.
    """
    environment = os.environ | {"LENET_EXP_OUTPUTS": str(outputs), "PYTHONUNBUFFERED": "1"}
    start = time.perf_counter()
    printed = 0.0
    with subprocess.Popen(
        [sys.executable, "-m", "lenet_exp", "train", *line],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        for text in process.stdout or ():
            if not printed and re.match(begins, text):
                printed = time.perf_counter() - start
    seconds = time.perf_counter() - start
    if process.returncode or not printed:
        raise RuntimeError(f"{line}: status {process.returncode}")
    return printed, seconds


def time_answers(repeats: int) -> Seconds:
    """Time a run, the sweep in README.md, and a finished sweep, each until its answer and until the
    prompt.
    """
    run_printed, run_prompt, sweep_printed, sweep_prompt, again_prompt = [
        name for name, _ in ANSWERS[:5]
    ]
    seconds: Seconds = {
        IMPORTS: [],
        run_printed: [],
        run_prompt: [],
        sweep_printed: [],
        sweep_prompt: [],
        again_prompt: [],
    }
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder) / "warm"
        answer([*SMALL, "seed=99"], warm, RESULT)
        for repeat in range(repeats + 1):
            outputs = Path(folder) / f"outputs{repeat}"
            outputs.mkdir()
            shutil.copy(warm / "mlflow.db", outputs)
            imports = seconds_of([sys.executable, "-c", IMPORTS], folder)
            run = answer(SMALL, outputs, RESULT)
            sweep = answer(README, outputs, VERDICT)
            finished_sweep = answer(README, outputs, VERDICT)
            if repeat == 0:  # a warm-up
                continue
            seconds[IMPORTS].append(imports)
            seconds[run_printed].append(run[0])
            seconds[run_prompt].append(run[1])
            seconds[sweep_printed].append(sweep[0])
            seconds[sweep_prompt].append(sweep[1])
            seconds[again_prompt].append(finished_sweep[1])
    return seconds


def time_beside(repeats: int) -> Seconds:
    """Time the training of README's sweep with and without uploads during the training."""

    def training(mode: str) -> float:
        with tempfile.TemporaryDirectory() as outputs:
            shutil.copy(Path(warm) / "mlflow.db", outputs)
            environment = os.environ | {"LENET_EXP_OUTPUTS": outputs}
            command = [sys.executable, "-c", BESIDE, mode, *README]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
        seconds, *_ = re.findall(r"([\d.]+) s of training", done.stderr)
        return float(seconds)

    with tempfile.TemporaryDirectory() as warm:
        answer([*SMALL, "seed=99"], Path(warm), RESULT)
        ways = {mode: partial(training, mode) for mode in ("without", "with uploads")}
        return interleave(ways, repeats)


def time_many(repeats: int) -> Seconds:
    """Time a sweep of 300 runs of one epoch, until its verdict and until the prompt."""
    seconds: Seconds = {IMPORTS: [], "300 runs: verdict printed": [], "300 runs: prompt back": []}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats):
            seconds[IMPORTS].append(seconds_of([sys.executable, "-c", IMPORTS], folder))
            printed, prompt = answer(MANY, Path(folder) / str(repeat), VERDICT)
            seconds["300 runs: verdict printed"].append(printed)
            seconds["300 runs: prompt back"].append(prompt)
    return seconds


ONLY = {"answers": time_answers, "many": time_many, "beside": time_beside}


def time_processes(repeats: int) -> Seconds:
    """Time questions to lenet-train and to an empty app, and mistakes."""
    with tempfile.TemporaryDirectory() as folder:
        empty_app = Path(folder) / "empty_app.py"
        empty_app.write_text(EMPTY_APP)
        lenet_train = [sys.executable, "-m", "lenet_exp", "train"]
        ways: dict[str, Callable[[], float]] = {}
        for name, arguments in QUESTIONS.items():
            command = [*lenet_train, *arguments]
            ways[f"lenet-train {name}"] = partial(seconds_of, command, folder)
            command = [sys.executable, str(empty_app), *arguments]
            ways[f"empty app {name}"] = partial(seconds_of, command, folder)
        for typed in MISTAKES:
            command = [*lenet_train, *typed.split()]
            ways[f"lenet-train {typed}"] = partial(seconds_of, command, folder, status=2)
        return interleave(ways, repeats)


def main() -> None:
    """Time the commands alternately, and print the ratios."""
    options = parser(__doc__, repeats=15)
    options.add_argument("--only", choices=ONLY, help="time only these commands")
    settings = options.parse_args()
    if settings.only is not None:
        seconds = ONLY[settings.only](settings.repeats)
        show_seconds(seconds, "seconds")
        goals = dict(ANSWERS)
        first, *others = seconds
        for name in others:
            goal = goals.get(name, "none")
            show_ratio(f"{name} / {first}", seconds[name], seconds[first], goal)
        print(f"{settings.repeats} rounds")
        keep(settings, f"startup {settings.only}", seconds)
        return

    seconds = time_processes(settings.repeats)
    show_seconds(seconds, "seconds a process")
    for name, goal in GOALS.items():
        ours = seconds[f"lenet-train {name}"]
        show_ratio(f"{name}: lenet-train / empty app", ours, seconds[f"empty app {name}"], goal)
    for typed in MISTAKES:
        mistake = seconds[f"lenet-train {typed}"]
        usual = seconds["lenet-train --help"]
        show_ratio(f"lenet-train {typed} / --help", mistake, usual, "<= 1.5")
    print(f"{settings.repeats} rounds")
    keep(settings, "startup", seconds)


if __name__ == "__main__":
    main()
