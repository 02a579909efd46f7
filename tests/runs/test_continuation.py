"""A run with a larger `num_epoch` continues the final state of a shorter run, bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lenet_exp.config.schema import Option
from lenet_exp.errors import ConfigError
from lenet_exp.folders.checkpoints import Checkpoints
from lenet_exp.folders.records import Outcome
from lenet_exp.folders.results import RunResult
from lenet_exp.folders.run_folder import RunFolder
from lenet_exp.runs.jobs import lone_job
from lenet_exp.runs.run import run
from lenet_exp.training.epoch import EpochResult
from lenet_exp.training.score import unpacked
from tests.tools.commands import SMALL, end, lenet_train, start, succeeded
from tests.tools.configs import compose
from tests.tools.until import until

LINE = (
    *SMALL,
    "dataset.train_size=320",
    "num_threads=1",
    "tracking.plots=false",
    "tracking.models=none",
)
NOISY = (
    "optimizer.momentum=0.9",
    "training.ema_decay=0.9",
    "training.label_noise=0.1",
    "regularization.dropout_rate=0.2",
    "augmentation.shift=1",
)
OWN = {"_target_": "tests.tools.networks.Residual", "name": "residual", "maps": 3}


def trained(
    *line: str,
    model: Option | None = None,
    forced_ms: int = 0,
    prune: Callable[[EpochResult], bool] = lambda result: False,
) -> RunResult:
    """Train a run without MLflow."""
    config = compose([*LINE, *line])
    job = lone_job(replace(config, model=model or config.model))
    return run(job, command="lenet-train", default_threads=1, forced_ms=forced_ms, prune=prune)


def epochs(result: RunResult) -> list[tuple[float | str, ...]]:
    """Return what each epoch of a run computed."""
    rows = []
    for epoch in RunFolder(result.folder).history().epochs:
        row = (
            epoch.epoch,
            epoch.train_loss,
            epoch.train_accuracy,
            epoch.val_loss,
            epoch.lr,
            epoch.weights_digest,
        )
        rows.append(row)
    return rows


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunResult]:
    """Return a function that trains a run in an empty outputs folder, so that it cannot continue
    another run.
    """

    def train(*line: str, model: Option | None = None) -> RunResult:
        with monkeypatch.context() as patch:
            patch.setenv("LENET_EXP_OUTPUTS", str(tmp_path / "elsewhere"))
            return trained(*line, model=model)

    return train


def right(result: RunResult) -> tuple[str, str]:
    """Return which validation images are right after the best and after the last epoch, which must
    agree with their accuracies."""
    best = result.record.best_right
    last = result.record.last_right
    last_epoch = RunFolder(result.folder).history().epochs[-1]
    assert unpacked(best).mean() == result.record.best_val_accuracy
    assert unpacked(last).mean() == last_epoch.val_accuracy
    return best, last


@pytest.mark.parametrize(
    ("line", "model"),
    [
        (("engine=native", *NOISY), None),
        (("engine=torch", *NOISY, "optimizer=adam", "training.select=last"), None),
        (("engine=torch", "training.ema_decay=0.9"), OWN),
    ],
    ids=["native", "torch", "own network"],
)
def test_longer_run_equals_uninterrupted_run(line, model, outputs, elsewhere):
    first = trained(*line, "num_epoch=2", model=model)
    second = trained(*line, "num_epoch=3", model=model)
    third = trained(*line, "num_epoch=5", model=model)
    uninterrupted = elsewhere(*line, "num_epoch=5", model=model)

    assert first.record.inherited_epochs == 0
    assert second.record.inherited_epochs == 2
    assert third.record.inherited_epochs == 3
    assert third.record.continued_from == second.folder.name
    assert third.record.resumed == 0
    assert uninterrupted.record.continued_from == ""

    assert epochs(third) == epochs(uninterrupted)
    assert third.record.weights_digest == uninterrupted.record.weights_digest
    assert third.record.best_epoch == uninterrupted.record.best_epoch
    assert third.record.confusion_matrix == uninterrupted.record.confusion_matrix
    assert right(third) == right(uninterrupted)


def test_run_continues_early_stopped_run(outputs, elsewhere):
    line = ("optimizer.lr=1e-9", "training.patience=2")
    assert trained(*line, "num_epoch=6").record.stopped_early

    longer = trained(*line, "num_epoch=9")
    uninterrupted = elsewhere(*line, "num_epoch=9")

    assert longer.record.inherited_epochs == uninterrupted.record.epochs
    assert longer.record.epochs == uninterrupted.record.epochs
    assert longer.record.stopped_early
    assert epochs(longer) == epochs(uninterrupted)
    assert right(longer) == right(uninterrupted)


def test_run_that_would_have_stopped_early_ends_at_same_epoch(outputs, elsewhere):
    line = ("optimizer.lr=1e-9", "training.patience=2")
    stopped_at = elsewhere(*line, "num_epoch=9").record.epochs
    assert not trained(*line, f"num_epoch={stopped_at}").record.stopped_early

    longer = trained(*line, "num_epoch=9").record

    assert longer.inherited_epochs == stopped_at
    assert longer.epochs == stopped_at
    assert longer.stopped_early is True


def test_run_continues_longest_run_even_if_it_was_pruned(outputs, elsewhere):
    trained("num_epoch=2")
    pruned = trained("num_epoch=6", prune=lambda result: result.epoch == 3)
    assert pruned.outcome is Outcome.pruned

    longer = trained("num_epoch=8")

    assert longer.record.continued_from == pruned.folder.name
    assert longer.record.inherited_epochs == 3
    assert epochs(longer) == epochs(elsewhere("num_epoch=8"))
    assert trained("num_epoch=6").record.epochs == 6  # the pruned run can still resume


@pytest.mark.parametrize("line", ["schedule=linear", "schedule=one_cycle", "schedule=cosine"])
def test_schedule_that_depends_on_length_starts_over_with_reason(line, outputs, caplog):
    caplog.set_level(logging.INFO)
    first = trained(line, "num_epoch=2")
    assert first.record.end_state == ""
    assert list(first.folder.glob("end*")) == []
    assert trained(line, "num_epoch=3").record.continued_from == ""
    (message,) = [text for text in caplog.messages if "not continuing" in text]
    assert f"schedule.shape={line.partition('=')[2]}" in message


def test_own_schedule_starts_over_with_its_name(outputs, caplog):
    caplog.set_level(logging.INFO)
    own = "+schedule.own={_target_:tests.training.clumsy.parts.triangle}"
    trained(own, "num_epoch=2")
    assert trained(own, "num_epoch=3").record.continued_from == ""
    (message,) = [text for text in caplog.messages if "not continuing" in text]
    assert "because schedule.own=triangle depends" in message


@pytest.mark.parametrize("damage", ["changed", "foreign", "truncated", "missing"])
def test_unusable_state_starts_over(damage, outputs, elsewhere, caplog):
    caplog.set_level(logging.INFO)
    first = trained("num_epoch=2")
    state = first.folder / "end.safetensors"
    if damage == "missing":
        state.unlink()
    elif damage == "foreign":
        other = trained("seed=1", "num_epoch=2")
        state.write_bytes((other.folder / state.name).read_bytes())
    elif damage == "changed":
        state.write_bytes(state.read_bytes()[:-1] + b"x")
    else:
        state.write_bytes(state.read_bytes()[:100])

    longer = trained("num_epoch=3")

    assert longer.record.continued_from == ""
    assert longer.record.inherited_epochs == 0
    assert epochs(longer) == epochs(elsewhere("num_epoch=3"))
    reason = "was not kept" if damage == "missing" else "end.safetensors"
    assert len([text for text in caplog.messages if reason in text]) == 1


def test_run_continues_only_in_equal_environment(outputs):
    trained("engine=torch", "num_epoch=2")
    assert trained("engine=torch", "num_threads=2", "num_epoch=3").record.continued_from == ""
    torch.set_num_threads(1)
    assert trained("engine=native", "num_epoch=3").repeated


def test_forced_run_does_not_continue_earlier_run(outputs):
    first = trained("num_epoch=2")
    assert trained("num_epoch=3", forced_ms=first.record.created_ms + 1).record.continued_from == ""


def test_state_is_not_kept_with_keep_state_false(outputs):
    first = trained("num_epoch=2", "keep_state=false")
    assert list(first.folder.glob("end*")) == []
    assert trained("num_epoch=3").record.continued_from == ""


def test_run_whose_final_state_cannot_be_written_is_finished(outputs, caplog):
    def block(folder: RunFolder) -> None:
        (folder.path / "end.safetensors").mkdir()

    job = lone_job(compose([*LINE, "num_epoch=2"]))
    first = run(job, command="lenet-train", default_threads=1, on_start=block)
    stored = RunFolder(first.folder).record()
    assert stored.outcome is Outcome.finished
    assert stored.reason == ""
    assert stored.end_state == ""
    assert any("final training state not kept" in text for text in caplog.messages)
    assert trained("num_epoch=2").repeated
    assert trained("num_epoch=3").record.continued_from == ""


def test_run_that_fails_after_its_last_epoch_is_not_stored_as_finished(outputs, monkeypatch):
    def fail(*arguments: object) -> str:
        raise RuntimeError("device lost")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "write_state", fail)
        with pytest.raises(RuntimeError):
            trained("num_epoch=1")
    stored = lone_job(compose([*LINE, "num_epoch=1"])).folder.record()
    assert stored.outcome is Outcome.failed
    assert stored.reason == "RuntimeError: device lost"

    assert trained("num_epoch=1").outcome is Outcome.finished


def test_process_killed_before_first_checkpoint_continues_again(outputs):
    trained("num_epoch=2")
    longer = trained("num_epoch=3")
    folder = RunFolder(longer.folder)
    with folder.claim():
        folder.start(longer.record.begun)  # removes all checkpoints

    rerun = trained("num_epoch=3")

    assert rerun.record.inherited_epochs == 2
    assert rerun.record.weights_digest == longer.record.weights_digest


def test_process_killed_before_first_checkpoint_keeps_start_of_run(outputs):
    """MLflow finds the run by its start, so it stays one run there."""
    killed = trained("num_epoch=3")
    folder = RunFolder(killed.folder)
    with folder.claim():
        folder.start(killed.record.begun)  # removes all checkpoints
    shorter = trained("num_epoch=2")

    rerun = trained("num_epoch=3").record

    assert rerun.created_ms == killed.record.created_ms
    assert rerun.continued_from == shorter.folder.name
    assert rerun.inherited_epochs == 2
    assert rerun.weights_digest == killed.record.weights_digest


class Counting(torch.optim.SGD):
    """An optimizer whose steps depend on a counter that its state dict lacks."""

    count = 0

    def step(self, closure: None = None) -> None:
        self.count += 1
        self.param_groups[0]["weight_decay"] = 0.1 * self.count
        super().step(closure)


def test_optimizer_with_unsaved_state_is_refused(outputs):
    config = compose([*LINE])
    optimizer = {"_target_": f"{__name__}.Counting", "name": "counting", "lr": 0.1}
    with pytest.raises(ConfigError, match="state_dict"):
        lone_job(replace(config, optimizer=optimizer))


def test_sweep_over_epochs_in_one_worker_trains_no_epoch_twice(ready):
    done = lenet_train("-m", *LINE, "num_epoch=6,2,4", "seed=0,1", "sweep.workers=1", outputs=ready)
    assert done.returncode == 0, done.stderr
    records = [RunFolder(path).record() for path in (ready / "runs").iterdir()]
    inherited = sorted((record.config.num_epoch, record.inherited_epochs) for record in records)
    assert inherited == [(2, 0), (2, 0), (4, 2), (4, 2), (6, 4), (6, 4)]


@pytest.mark.slow(seconds=14)
def test_killed_continued_run_resumes_and_is_reproduced(ready):
    succeeded(end(start(*LINE, "num_epoch=2", outputs=ready)))
    process = start(*LINE, "num_epoch=800", outputs=ready)
    # one checkpoint after the inherited one
    until(lambda: len(list((ready / "runs").glob("*/state-*"))) > 1, process)
    process.kill()
    end(process)
    succeeded(end(start(*LINE, "num_epoch=800", outputs=ready)))
    folders = [RunFolder(path) for path in (ready / "runs").iterdir()]
    (folder,) = [folder for folder in folders if folder.record().config.num_epoch == 800]
    record = folder.record()
    assert record.inherited_epochs == 2
    assert record.resumed == 1
    assert record.epochs == 800

    done = succeeded(end(start(f"run={folder.id}", outputs=ready, program="reproduce")))
    assert "identical" in done.stdout
