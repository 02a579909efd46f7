"""A person who types what a page says, line by line, in a folder that was empty."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from lenet_exp.folders.find import all_runs
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.folders.sweep_folder import all_sweeps
from tests.browser.served import lenet_ui
from tests.commands import NO_NETWORK, ROOT, Done, end, free_port, start
from tests.documents.pages import Block, Command
from tests.documents.rules import BROUGHT, SMALLER, Need, Rule, Way, rule_of
from tests.warm import Process

SMALL = "dataset=digits batch_size=32 tracking.plots=false"
SWEEP = f"lenet-train -m {SMALL} num_epoch=1 optimizer=sgd,adam"
SHELL = re.compile(r"[|<>;$`]|^\w+=")  # what only a shell understands
IDS = r"(?:[0-9a-f]{4,32}|<[\w ]+>)"


class Reader:
    """
    Args:
        folder: where it is typed.
        samples: the folder that `python -m docs.samples` wrote, with what else BROUGHT names.
        data: the folder with MNIST; None where there is none.
    """

    def __init__(self, folder: Path, samples: Path, data: str | None) -> None:
        self.folder, self.samples, self.data = folder, samples, data
        self.exported: dict[str, str] = {}
        self.outputs = folder / "outputs"
        self.wrong: list[str] = []  # what did not end as the page says
        self.left_out: list[str] = []  # what needs data that are not there
        self._staying = contextlib.ExitStack()
        self._port = free_port()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._staying.close()

    def type(self, command: Command) -> None:
        """Types it as its rule says, and notes what is wrong."""
        rule = rule_of(command)
        if rule.way is Way.elsewhere or command.is_mistake:  # those are typed one by one
            return
        if self.data is None and wants_mnist(command.text):
            self.left_out.append(str(command))
            return
        if rule.needs:
            self._have(rule.needs, command.text)
        text = self._filled(command.text, rule)
        self._bring(text)
        if rule.way is Way.stays:
            try:
                said = self._stays(text)
            except AssertionError as e:
                said = str(e)
        else:
            done = self._run(text)
            said = "" if done.returncode == command.status else f"status {done.returncode}: {done.stderr[-2000:]}"
        if said:
            self.wrong.append(f"{command}\n    typed: {text}\n    {said}")

    def execute(self, block: Block) -> None:
        """A python block."""
        if self.data is None and "digits" not in block.text:
            self.left_out.append(f"{block.page}:{block.line}")
            return
        script = block.text
        for large, small in SMALLER.items():
            script = script.replace(large, small)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name, value in (self._environment() | self.exported).items():
                patch.setenv(name, value)
            try:
                exec(compile(script, f"{block.page}:{block.line}", "exec"), {"__name__": "__main__"})
            except Exception as e:
                self.wrong.append(f"{block.page}:{block.line}: {type(e).__name__}: {e}")

    def _environment(self) -> dict[str, str]:
        data = {"LENET_EXP_DATA": self.data} if self.data else {}
        here = {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        browser = {"BROWSER": "true %s"}
        return data | NO_NETWORK | here | browser | {"PATH": path, "LENET_EXP_OUTPUTS": str(self.outputs)}

    def _run(self, text: str) -> Done:
        words = shlex.split(text)
        environment = self._environment() | self.exported
        match words:  # these hold for the lines after it
            case ["cd", folder]:
                self.folder = (self.folder / folder).resolve(strict=True)
                return Done(words, 0, "", "")
            case ["export", *settings]:
                self.exported |= dict(setting.split("=", 1) for setting in settings)
                return Done(words, 0, "", "")
        if not SHELL.search(re.sub(r"'[^']*'", "", text)):
            if words[0].startswith("lenet-"):
                return end(self._started(words, environment))
            if words[:2] == ["python", "-m"]:
                return end(start(*words[3:], outputs=self.outputs, module=words[2], cwd=self.folder, env=environment))
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
        """What is wrong with a command that goes on until Ctrl-C; a server of models stays to the page's end."""
        words = shlex.split(text)
        if words[0] != "lenet-ui":
            self._staying.enter_context(self._serving(text))
            return ""
        with lenet_ui(*words[1:], outputs=self.outputs, cwd=self.folder, env=self._environment()) as served:
            status = asked(f"{served.address}/health")
            served.process.send_signal(signal.SIGINT)
            left = end(served.process).returncode
        return "" if (status, left) == (200, 130) else f"its server answers {status}, and it ends with {left}"

    @contextlib.contextmanager
    def _serving(self, text: str) -> Iterator[None]:
        log = self.folder / "server.log"
        with log.open("w") as out:
            server = subprocess.Popen(
                ["bash", "-c", f"exec env {text}"],
                cwd=self.folder,
                env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"} | self._environment(),
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            status = 0
            while not status:
                assert server.poll() is None, log.read_text()
                with contextlib.suppress(requests.ConnectionError):
                    status = asked(f"http://127.0.0.1:{self._port}/ping")
            assert status == 200, f"its server answers {status}: {log.read_text()}"
            yield
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGINT)
            server.wait(60)

    def _have(self, need: Need, text: str) -> None:
        """Makes what the page's reader has by then, where it is not there."""
        match need:
            case Need.sweep:
                self._sweeps(1)
            case Need.seeds:
                if not any("seed" in sweep.started().swept for sweep in all_sweeps(self.outputs)[:1]):
                    self._made(f"{SWEEP} 'seed=range(2)'")
            case Need.running:
                self._start_sweep()
            case Need.experiment:
                self._made(f"lenet-train {SMALL} num_epoch=1 tracking.{text.split()[2]}")
            case Need.champion:
                self._made("lenet-train dataset=mnist num_epoch=1")  # of the whole training set, or it is none

    def _start_sweep(self) -> None:
        """Returns while it trains."""
        process = self._started(shlex.split(f"lenet-train -m {SMALL} num_epoch=100000 seed=0,1"), self._environment())
        while not any(sweep.owner() and sweep.active() for sweep in all_sweeps(self.outputs)):
            assert process.poll() is None, end(process).stderr
            time.sleep(0.1)
        self._staying.callback(end, process)
        self._staying.callback(process.send_signal, signal.SIGTERM)  # if nothing stopped it

    def _sweeps(self, count: int) -> list[str]:
        """The ids of so many sweeps, the latest first."""
        for seed in range(count + 1):
            found = [sweep.id for sweep in all_sweeps(self.outputs)]
            if len(found) >= count:
                return found[:count]
            self._made(f"{SWEEP} seed={seed}")
        raise AssertionError("no sweep comes of it")

    def _lone_run(self) -> Path:
        """The folder of a run that is in no sweep."""
        self._made(f"lenet-train {SMALL} num_epoch=1 seed=77")
        swept = {job.run for sweep in all_sweeps(self.outputs) for job in sweep.jobs()}
        return next(run.path for run in all_runs(self.outputs) if run.id not in swept)

    def _made(self, line: str) -> None:
        done = self._run(line)
        assert done.returncode == 0, (line, done.stderr)

    def _filled(self, text: str, rule: Rule) -> str:
        """The command with what is in the folder by now in place of what stands for it."""
        for written, typed in rule.instead:
            text = text.replace(written, typed.format(outputs=self.outputs, port=self._port))
        for flag in rule.more:  # the quotes of the others stay as they are
            name = re.escape(flag.partition("=")[0])
            text = re.sub(rf"\s(?:'{name}=[^']*'|{name}=\S*)", "", text) + f" {flag}"
        for which in re.findall(rf"\bsweep=({IDS}(?:,{IDS})*)(?![\w.])", text):
            text = text.replace(f"sweep={which}", "sweep=" + ",".join(self._sweeps(which.count(",") + 1)))
        if re.search(rf"\brun=({IDS})(?![\w.:])", text):
            text = re.sub(rf"\brun={IDS}", f"run={self._lone_run().name}", text)
        if found := re.search(rf"\bruns:/{IDS}", text):
            (delivered,) = RunFolder(self._lone_run()).delivered().mlflow_runs
            text = text.replace(found[0], f"runs:/{delivered.run_id}")
        return text

    def _bring(self, text: str) -> None:
        """Copies the files that the command names and the page's reader brings along."""
        for said, (name, sample) in BROUGHT.items():
            file = self.folder / name
            if names(text, said) and not file.exists():
                file.parent.mkdir(exist_ok=True)
                shutil.copy(self.samples / sample, file)


def names(text: str, said: str) -> bool:
    """Whether a command says it, and not as the end of a longer path."""
    return re.search(rf"(?<![\w/.]){re.escape(said)}", text) is not None


def wants_mnist(text: str) -> bool:
    """Whether images of MNIST or FashionMNIST are read."""
    words = text.split()
    if words[0] == "lenet-train":
        return not re.search(r"dataset=(digits|folder)|sweep\.resume|--(help|cfg)", text)
    if words[0] == "lenet-predict":
        return "images=" not in text and "dataset=digits" not in text
    return bool(re.search(r"champion:|models:/lenet5-mnist|/invocations", text))


def asked(address: str) -> int:
    """The status of a server's answer; it may take some seconds to come up."""
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(max_retries=Retry(total=20, backoff_factor=0.05, backoff_max=0.5)))
        return session.get(address, timeout=60).status_code
