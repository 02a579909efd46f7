"""Run the commands of a page in order, in a new folder."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from benchmarks.transcripts import differing
from lenet_exp.folders.find import all_runs
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import all_sweeps
from tests.browser.served import lenet_ui
from tests.documents.pages import Block, Command
from tests.documents.rules import SMALLER, Need, Rule, Way, rule_of
from tests.tools.commands import NO_NETWORK, ROOT, Done, end, start
from tests.tools.warm import Process

SMALL = "dataset=digits batch_size=32 num_epoch=1 tracking.plots=false"
SWEEP = f"lenet-train -m hydra/launcher=basic {SMALL} optimizer=sgd,adam"
SHELL = re.compile(r"[|<>;$`]")  # syntax that requires a shell
IDS = r"(?:[0-9a-f]{4,32}|<[\w ]+>)"


class Reader(contextlib.ExitStack):
    """Runs the commands of pages.

    Args:
        folder: working directory of the commands.
        data: folder with MNIST.
    """

    def __init__(self, folder: Path, data: str) -> None:
        super().__init__()
        self.folder = folder
        self.data = data
        self.outputs = folder / "outputs"
        self.wrong: list[str] = []  # commands that did not end as the page states

    def type(self, command: Command) -> None:
        """Run a command according to its rule, and record a problem."""
        rule = rule_of(command)
        if rule.way is Way.elsewhere or command.is_mistake:
            return
        if rule.needs:
            self._have(rule.needs, command.text)
        text = self._filled(command, rule)

        if rule.way is Way.stays:
            problem = self._stays(text)
        else:
            problem = self._problem(command, self._run(text))
        if problem:
            self.wrong.append(f"{command}\n    typed: {text}\n    {problem}")

    def _problem(self, command: Command, done: Done) -> str:
        """Return how a command did not end as the page states, or an empty string."""
        if done.returncode != command.status:
            return f"status {done.returncode}: {done.stderr[-2000:]}"
        if command.is_compared:
            return "\n    ".join(differing(command.shown or "", done.stdout, done.stderr))
        return ""

    def execute(self, block: Block) -> None:
        """Execute a python block, with less training, or save a block that is a file."""
        script = block.text
        if block.file is not None:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(script + "\n")
            return
        for large, small in SMALLER.items():
            script = script.replace(large, small)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name, value in self._environment().items():
                patch.setenv(name, value)
            exec(compile(script, f"{block.page}:{block.line}", "exec"), {"__name__": "__main__"})

    def _environment(self) -> dict[str, str]:
        loopback = "127.0.0.1,localhost"
        return {
            **NO_NETWORK,
            "no_proxy": loopback,
            "NO_PROXY": loopback,
            "BROWSER": "true %s",
            "LENET_EXP_DATA": self.data,
            "LENET_EXP_OUTPUTS": str(self.outputs),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }

    def _run(self, text: str) -> Done:
        """Run a command to its end, in a shell only if its syntax requires one."""
        words = shlex.split(text)
        environment = self._environment()
        unquoted = re.sub(r"'[^']*'", "", text)
        if not SHELL.search(unquoted):
            if words[0].startswith("PYTHONPATH="):
                environment["PYTHONPATH"] = words.pop(0).partition("=")[2]
            if words[0].startswith("lenet-"):
                return end(self._started(words, environment))
            if words[:2] == ["python", "-m"]:
                module = words[2]
                process = start(
                    *words[3:],
                    outputs=self.outputs,
                    module=module,
                    cwd=self.folder,
                    env=environment,
                )
                return end(process)

        shell = {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
        return subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder,
            env=os.environ | shell | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def _started(self, words: list[str], env: dict[str, str]) -> Process | subprocess.Popen[str]:
        return start(
            *words[1:],
            program=words[0].removeprefix("lenet-"),
            outputs=self.outputs,
            cwd=self.folder,
            module="tests.documents.console",
            env=env,
        )

    def _stays(self, text: str) -> str:
        """Start lenet-ui, stop it with Ctrl-C, and return a problem or an empty string."""
        words = shlex.split(text)[1:]
        environment = self._environment()
        with lenet_ui(*words, outputs=self.outputs, cwd=self.folder, env=environment) as served:
            with requests.Session() as session:
                session.trust_env = False
                response = session.get(served.address, auth=served.login, timeout=60)
            served.process.send_signal(signal.SIGINT)
            exit_status = end(served.process).returncode

        if response.status_code == 200 and exit_status == 130:
            return ""
        return f"its server answers {response.status_code}, and it ends with {exit_status}"

    def _have(self, need: Need, text: str) -> None:
        """Create what a command needs, unless the folder has it."""
        match need:
            case Need.sweep:
                self._sweeps(1)
            case Need.seeds:
                self._sweep_over_seeds()
            case Need.running:
                self._start_sweep()
            case Need.network:
                network = text.partition("trained_model=")[2].partition("-")[0]
                self._run_successfully(f"lenet-train dataset=digits num_epoch=1 model={network}")

    def _sweep_over_seeds(self) -> None:
        """Run a sweep over seeds and other flags, unless the last sweep is one."""
        sweeps = all_sweeps(self.outputs)
        if sweeps and {"seed"} < set(sweeps[0].started().swept):
            return
        # A finished sweep that runs again would not become the last one.
        first_seed = 10 * len(sweeps)
        self._run_successfully(f"{SWEEP} 'seed=range({first_seed},{first_seed + 2})'")

    def _start_sweep(self) -> None:
        """Start a sweep, and return while it trains."""
        line = f"lenet-train -m {SMALL} seed=0,1".replace("num_epoch=1", "num_epoch=100000")
        process = self._started(shlex.split(line), self._environment())
        while not any(sweep.owner() and sweep.active() for sweep in all_sweeps(self.outputs)):
            assert process.poll() is None, end(process).stderr
            time.sleep(0.1)
        self.callback(end, process)
        self.callback(process.send_signal, signal.SIGTERM)  # if nothing stopped it

    def _sweeps(self, count: int) -> list[str]:
        """Return the IDs of `count` sweeps, the latest first."""
        for seed in range(count + 1):
            ids = [sweep.id for sweep in all_sweeps(self.outputs)]
            if len(ids) >= count:
                return ids[:count]
            self._run_successfully(f"{SWEEP} seed={seed}")
        raise AssertionError("no sweep was created")

    def _lone_run(self) -> Path:
        """Return the folder of a run that is in no sweep."""
        self._run_successfully(f"lenet-train {SMALL} seed=77")
        swept = {job.run for sweep in all_sweeps(self.outputs) for job in sweep.jobs()}
        return next(run.path for run in all_runs(self.outputs) if run.id not in swept)

    def _run_successfully(self, line: str) -> None:
        done = self._run(line)
        assert done.returncode == 0, (line, done.stderr)

    def _filled(self, command: Command, rule: Rule) -> str:
        """Return the command with its placeholders replaced by existing runs, sweeps, and
        folders.
        """
        text = command.text.replace("$PWD", str(self.folder))
        if not command.is_compared:
            text = re.sub(r"\brange\((?:(\d+),)?\d+\)", fewer, text)

        for written, typed in rule.instead:
            text = text.replace(written, typed.format(outputs=self.outputs))
        for flag in rule.more:  # without changing the quotes of other flags
            name = re.escape(flag.partition("=")[0])
            text = re.sub(rf"\s(?:'{name}=[^']*'|{name}=\S*)", "", text) + f" {flag}"

        for placeholder in re.findall(rf"\bsweep=({IDS}(?:,{IDS})*)(?![\w.])", text):
            count = placeholder.count(",") + 1
            ids = ",".join(self._sweeps(count))
            text = text.replace(f"sweep={placeholder}", f"sweep={ids}")

        run = re.search(rf"\brun=({IDS})(?![\w.:])", text)
        if run and not list(self.outputs.glob(f"runs/{run[1]}*")):
            text = re.sub(rf"\brun={IDS}", f"run={self._lone_run().name}", text)

        in_mlflow = re.search(rf"\b(runs:/|champion=){IDS}", text)
        if in_mlflow:
            (delivered,) = RunFolder(self._lone_run()).delivered().mlflow_runs
            text = text.replace(in_mlflow[0], f"{in_mlflow[1]}{delivered.run_id}")
        return text


def fewer(seeds: re.Match[str]) -> str:
    """Reduce a range of seeds to two seeds."""
    first = int(seeds[1] or 0)
    return f"range({first},{first + 2})"
