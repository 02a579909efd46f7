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
        self.folder, self.data = folder, data
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
            done = self._run(text)
            problem = (
                ""
                if done.returncode == command.status
                else f"status {done.returncode}: {done.stderr[-2000:]}"
            )
            if command.is_compared and not problem:
                problem = "\n    ".join(differing(command.shown or "", done.stdout, done.stderr))
        if problem:
            self.wrong.append(f"{command}\n    typed: {text}\n    {problem}")

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
        here = {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        browser = {"BROWSER": "true %s"}
        folders = {"LENET_EXP_DATA": self.data, "LENET_EXP_OUTPUTS": str(self.outputs)}
        return NO_NETWORK | here | browser | folders | {"PATH": path}

    def _run(self, text: str) -> Done:
        words, environment = shlex.split(text), self._environment()
        if not SHELL.search(re.sub(r"'[^']*'", "", text)):
            if words[0].startswith("PYTHONPATH="):
                environment["PYTHONPATH"] = words.pop(0).partition("=")[2]
            if words[0].startswith("lenet-"):
                return end(self._started(words, environment))
            if words[:2] == ["python", "-m"]:
                return end(
                    start(
                        *words[3:],
                        outputs=self.outputs,
                        module=words[2],
                        cwd=self.folder,
                        env=environment,
                    )
                )
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
        program = words[0].removeprefix("lenet-")
        known = {"outputs": self.outputs, "cwd": self.folder, "module": "tests.documents.console"}
        return start(*words[1:], program=program, env=env, **known)

    def _stays(self, text: str) -> str:
        """Start lenet-ui, stop it with Ctrl-C, and return a problem or an empty string."""
        words = shlex.split(text)[1:]
        with lenet_ui(
            *words, outputs=self.outputs, cwd=self.folder, env=self._environment()
        ) as served:
            with requests.Session() as session:
                session.trust_env = False
                status = session.get(served.address, auth=served.login, timeout=60).status_code
            served.process.send_signal(signal.SIGINT)
            left = end(served.process).returncode
        return (
            ""
            if (status, left) == (200, 130)
            else f"its server answers {status}, and it ends with {left}"
        )

    def _have(self, need: Need, text: str) -> None:
        """Create what a command needs, unless the folder has it."""
        match need:
            case Need.sweep:
                self._sweeps(1)
            case Need.seeds:
                if not any(
                    {"seed"} < set(sweep.started().swept) for sweep in all_sweeps(self.outputs)[:1]
                ):
                    # A finished sweep that runs again would not become the last one.
                    first_seed = 10 * len(all_sweeps(self.outputs))
                    self._made(f"{SWEEP} 'seed=range({first_seed},{first_seed + 2})'")
            case Need.running:
                self._start_sweep()
            case Need.network:
                network = text.partition("trained_model=")[2].partition("-")[0]
                self._made(f"lenet-train dataset=digits num_epoch=1 model={network}")

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
            found = [sweep.id for sweep in all_sweeps(self.outputs)]
            if len(found) >= count:
                return found[:count]
            self._made(f"{SWEEP} seed={seed}")
        raise AssertionError("no sweep was created")

    def _lone_run(self) -> Path:
        """Return the folder of a run that is in no sweep."""
        self._made(f"lenet-train {SMALL} seed=77")
        swept = {job.run for sweep in all_sweeps(self.outputs) for job in sweep.jobs()}
        return next(run.path for run in all_runs(self.outputs) if run.id not in swept)

    def _made(self, line: str) -> None:
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
        for which in re.findall(rf"\bsweep=({IDS}(?:,{IDS})*)(?![\w.])", text):
            text = text.replace(
                f"sweep={which}", "sweep=" + ",".join(self._sweeps(which.count(",") + 1))
            )
        if (which := re.search(rf"\brun=({IDS})(?![\w.:])", text)) and not list(
            self.outputs.glob(f"runs/{which[1]}*")
        ):
            text = re.sub(rf"\brun={IDS}", f"run={self._lone_run().name}", text)
        if found := re.search(rf"\b(runs:/|champion=){IDS}", text):
            (delivered,) = RunFolder(self._lone_run()).delivered().mlflow_runs
            text = text.replace(found[0], f"{found[1]}{delivered.run_id}")
        return text


def fewer(found: re.Match[str]) -> str:
    """Reduce a range of seeds to two seeds."""
    first = int(found[1] or 0)
    return f"range({first},{first + 2})"
