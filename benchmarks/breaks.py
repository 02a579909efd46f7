"""Break guarantees on purpose in a copy of the program, and list the tests that fail.

This verifies that a simplified test still fails if its guarantee is broken. Each row of
docs/explanation/promises.md is broken at least once.

    python -m benchmarks.breaks                # break all guarantees, in about twelve minutes
    python -m benchmarks.breaks flock stamps   # apply only these two breaks

One break requires the real MNIST dataset in $LENET_EXP_DATA.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROMISES = "docs/explanation/promises.md"
# time limit in seconds for the tests of a break, because a break may make a test wait forever
LONGEST = 300.0


@dataclass(frozen=True, kw_only=True)
class Break:
    """A change to the code that breaks a guarantee.

    Attributes:
        promise: text of the guarantee in `page`; for docs/explanation/promises.md, the start of its
            row.
        file: path of the file to change.
        old: code to replace; it must occur exactly once in the file.
        new: code that replaces `old`.
        tests: arguments for pytest that select the tests that may fail: files, optionally with -k.
        page: path of the file that states the guarantee.
    """

    promise: str
    file: str
    old: str
    new: str
    tests: str
    page: str = PROMISES


ONCE = "Each configuration is trained once"
COMPOSED = "A sweep trains the jobs"
COMMITTED = "An interrupted run resumes from its last"
DAMAGE = "A corrupt or edited"
SIGNALS = "On Ctrl-C or SIGTERM"
NATIVE = "The native engine produces bit-identical results"
CODE = "A run of your own network"
TRUTH = "MLflow shows how"
AWAY = "An unavailable or slow"
FULL = "On a [full disk]"
ANSWER = "Results are saved and printed before their upload"
BACKUP = "`lenet-sync again=true`"
REMOVAL = "`lenet-sweep rm`"
STORES = "Any number of outputs folders"
PASSWORD = "The server of `lenet-ui`"
WORKERS = "A worker that dies"
TOGETHER = "Overlapping sweeps"
RELEASES = "Outputs folders and stores of release 0.3.0"

COMMITS = "tests/folders/test_checkpoints.py"
UPLOADING_PROCESS = "lenet_exp/tracking/uploader/process.py"
DELIVER = "tests/tracking/run_uploads/test_upload.py"
BREAKS = {
    "own code": Break(
        promise=CODE,
        file="lenet_exp/config/own_code.py",
        old="if not is_copied(identity):",
        new="if True:",
        tests="tests/config/test_own_code.py",
    ),
    "own code in fingerprint": Break(
        promise=CODE,
        file="lenet_exp/config/fingerprint.py",
        old='values["code"] = option[CODE_KEY]',
        new="pass",
        tests="tests/sweeps/test_own_code.py",
    ),
    "answer before uploads": Break(
        promise=ANSWER,
        file="lenet_exp/sweeps/end.py",
        old="print_sweep(results, seconds, sweep, comparisons)\n",
        new="pass\n",
        tests="tests/sweeps/test_answer.py -k sync_closes_it",
    ),
    "uploads after answer": Break(
        promise=ANSWER,
        file="lenet_exp/tracking/uploader/uploads.py",
        old='return state != "" and entry.database == state',
        new="return True",
        tests="tests/sweeps/test_answer.py -k only_if_database_changed",
    ),
    "mlflow in training": Break(  # the process that trains imports mlflow
        promise="the only one of them that imports mlflow",
        page=UPLOADING_PROCESS,
        file="lenet_exp/tracking/uploader/client.py",
        old="        self.pid = os.getpid()\n",
        new="        self.pid = os.getpid()\n        import mlflow  # noqa: F401\n",
        tests="tests/tracking/uploader/test_process.py -k imports_mlflow",
    ),
    "orphaned uploads": Break(  # the uploading process outlives the command
        promise="exits within 10 s",
        page=UPLOADING_PROCESS,
        file=UPLOADING_PROCESS,
        old="        self.has_ended.set()\n        self.requests.put(None)\n        time.sleep(EXIT_SECONDS)\n",
        new="        time.sleep(1e6)\n",
        tests="tests/tracking/uploader/test_process.py -k leaves_no_uploading_process",
    ),
    "reopened run": Break(  # a run stays RUNNING if its uploads fail after it was reopened
        promise=TRUTH,
        file="lenet_exp/tracking/run_uploads/upload.py",
        old="            folder.set_delivered(entry)\n            store.client.update_run",
        new="            store.client.update_run",
        tests=DELIVER,
    ),
    "continued bits": Break(
        promise="A run with `schedule=constant` that",
        file="lenet_exp/folders/checkpoints.py",
        old="            self.seconds = end.seconds\n",
        new="            self.seconds = end.seconds\n            state.order.manual_seed(0)\n",
        tests="tests/runs/test_continuation.py -k equals_uninterrupted",
    ),
    "given weights": Break(
        promise="A run that started from given weights keeps them",
        file="lenet_exp/folders/given_weights.py",
        old="    if not weights_digest(weights).startswith(digest):\n",
        new="    if False:\n",
        tests="tests/runs/test_given_weights.py -k corrupt",
    ),
    "once": Break(
        promise=ONCE,
        file="lenet_exp/runs/run.py",
        old="        saved_record = folder.checked_result()\n        earlier = folder.begun()\n",
        new="        saved_record = earlier = None\n",
        tests="tests/runs/test_run.py -k returned",
    ),
    "fingerprint": Break(
        promise=ONCE,
        file="lenet_exp/config/fingerprint.py",
        old='if not field.metadata["result"]:',
        new='if flag == "training.label_smoothing" or not field.metadata["result"]:',
        tests="tests/config/test_fingerprint.py -k setting",
    ),
    # the same command resumes the same sweep, even if it would now train different runs
    "frozen": Break(
        promise=COMPOSED,
        file="lenet_exp/folders/sweep_folder.py",
        old="*sorted(job.run for job in jobs)",
        new="*sorted(job.name for job in jobs)",
        tests="tests/sweeps/test_lasting.py -k frozen",
    ),
    "parent": Break(
        promise=COMPOSED,
        file="lenet_exp/tracking/sweep_runs/parent.py",
        old="_find(store, sweep, plan) or _create(store, sweep, plan)",
        new="_create(store, sweep, plan)",
        tests="tests/sweeps/test_damage.py -k rerun",
    ),
    # the files of the current checkpoint are removed before the next checkpoint is written
    "commit": Break(
        promise=COMMITTED,
        file="lenet_exp/folders/checkpoints.py",
        old="        self._write_history(best)\n        self._remove_files(",
        new="        self._remove_files({state})\n        self._write_history(best)\n        self._remove_files(",
        tests=COMMITS,
    ),
    "digest": Break(
        promise=COMMITTED,
        file="lenet_exp/folders/checkpoints.py",
        old="if file_sha256(self.path / name) != sha256:",
        new="if False:",
        tests=COMMITS,
    ),
    "tidy": Break(
        promise=COMMITTED,
        file="lenet_exp/folders/run_folder.py",
        old="        if not self.needs_cleanup():\n",
        new="        if True:\n",
        tests="tests/folders/test_run_folder.py",
    ),
    "stamps": Break(
        promise=COMMITTED,
        file="lenet_exp/tracking/stores/points.py",
        old='yield Metric("step_loss", loss, time_ms, iteration)',
        new='yield Metric("step_loss", loss, __import__("time").time_ns() // 1_000_000, iteration)',
        tests=DELIVER,
    ),
    "lookup": Break(
        promise=COMMITTED,
        file="lenet_exp/tracking/run_uploads/open_run.py",
        old="run_ids = _find_runs(folder, begun, store)",
        new="run_ids = list[str]()",
        tests=DELIVER,
    ),
    "seal": Break(
        promise=DAMAGE,
        file="lenet_exp/folders/digests.py",
        old='value.get("digest") in (None, _digest(value, "digest"))',
        new="True",
        tests="tests/folders/test_digests.py",
    ),
    "weights": Break(
        promise=DAMAGE,
        file="lenet_exp/reproduction/verify.py",
        old="if actual_digest != digest:",
        new="if False:",
        tests="tests/reproduction/test_reproduce.py -k without_training",
    ),
    "stop": Break(  # a stopped job of a cluster trains on until the signal arrives
        promise=SIGNALS,
        file="lenet_exp/executors/slot_process.py",
        old="if self._stopping and self._pool is not None:",
        new="if False:",
        tests="tests/executors/test_slot_process.py -k stopped",
    ),
    "signal": Break(  # the training since the last checkpoint before the signal is lost
        promise=SIGNALS,
        file="lenet_exp/runs/training.py",
        old="            self._write_checkpoint()\n            return Outcome.killed, signal.name",
        new="            return Outcome.killed, signal.name",
        tests="tests/sweeps/test_stopping.py -k stopped_run",
    ),
    "threads": Break(  # with several threads, the parts of a batch are summed in a different order
        promise=NATIVE,
        file="lenet_exp/training/native/kernels/batch.h",
        old="work.sums[p]);",
        new="work.sums[threads > 1 ? pieces - 1 - p : p]);",
        tests="tests/training/native/test_engine.py -k 'mnist or cpus'",
    ),
    "killed": Break(
        promise=TRUTH,
        file="lenet_exp/tracking/run_uploads/upload.py",
        old='Outcome.killed: "KILLED"',
        new='Outcome.killed: "FINISHED"',
        tests=DELIVER,
    ),
    "living": Break(  # a run whose process is still alive is reported as killed
        promise=TRUTH,
        file="lenet_exp/folders/results.py",
        old="    if _has_died(folder):\n        with folder.claim():\n",
        new="    if folder.begun() is not None and folder.record() is None:\n        if True:\n",
        tests="tests/sweeps/test_orphans.py tests/commands/test_lenet_sweep.py",
    ),
    "warning": Break(
        promise=AWAY,
        file="lenet_exp/tracking/stores/connection.py",
        old="        if key not in self._warned:\n",
        new="        if True:\n",
        tests="tests/tracking/uploader/test_away.py -k one_warning",
    ),
    "delivered": Break(  # an upload is not recorded
        promise=AWAY,
        file="lenet_exp/tracking/run_uploads/upload.py",
        old="    if uploaded != entry:\n        folder.set_delivered(uploaded)",
        new="    pass",
        tests=DELIVER,
    ),
    "backup": Break(
        promise=BACKUP,
        file="lenet_exp/folders/run_folder.py",
        old="begun=False, epochs=0, ended_ms=None, model=False)",
        new="begun=False, ended_ms=None, model=False)",
        tests="tests/tracking/run_uploads/test_restored.py -k backup",
    ),
    "sweeps of a deleted run": Break(
        promise=BACKUP,
        file="lenet_exp/tracking/run_uploads/open_run.py",
        old="sweeps = [] if former is None else _alive_sweeps(former, store)",
        new="sweeps = list[str]()",
        tests="tests/sweeps/test_sync.py -k deleted_in_mlflow",
    ),
    "shared": Break(
        promise=REMOVAL,
        file="lenet_exp/removal/plan.py",
        old="    return sweeps_of_run\n",
        new="    return {}\n",
        tests="tests/removal/test_remove.py -k missing_database",
    ),
    "registered": Break(
        promise=REMOVAL,
        file="lenet_exp/removal/stored_runs.py",
        old="        if names:\n",
        new="        if False:\n",
        tests="tests/removal/test_remove.py -k registered",
    ),
    "champion": Break(
        promise=STORES,
        file="lenet_exp/tracking/models/champion.py",
        old="return _score_of_run(record) > _score_of_version(current)",
        new="return True",
        tests="tests/tracking/models/test_champion.py -k better",
    ),
    # if two versions are registered at the same time, the later version becomes the champion
    "rivals": Break(
        promise=STORES,
        file="lenet_exp/tracking/models/champion.py",
        old="rivals = [version for version in versions if _basis_of_version(version) == basis]",
        new="rivals = [own_version]",
        tests="tests/tracking/models/test_champion.py -k delayed",
    ),
    "worker": Break(
        promise=WORKERS,
        file="lenet_exp/executors/local/pool.py",
        old="            return self._lost(worker, job)\n",
        new="            raise\n",
        tests="tests/executors/local/test_pool.py -k 'dies or died'",
    ),
    "flock": Break(
        promise=TOGETHER,
        file="lenet_exp/folders/owner.py",
        old="        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n    except",
        new="        pass\n    except",
        tests="tests/folders/test_owner.py tests/folders/test_run_folder.py",
    ),
    "stored_field": Break(  # sweep.json of release 0.3.0 has the former name
        promise=RELEASES,
        file="lenet_exp/folders/sweep_plan.py",
        old='stored_as("told", default=0)',
        new='stored_as("ended", default=0)',
        tests="tests/folders/test_records.py -k written_back",
    ),
    "stored_value": Break(
        promise=RELEASES,
        file="lenet_exp/comparison/runs.py",
        old="best_epoch=record.best_epoch,",
        new="best_epoch=record.epochs,",
        tests="tests/upgrade/test_release_0_3.py -k same_values",
    ),
    "stored field of a run": Break(
        promise=RELEASES,
        file="lenet_exp/folders/records.py",
        old="    end_state: str = ",
        new="    final_state: str = ",
        tests="tests/folders/test_records.py -k written_back",
    ),
    "stored field of a sweep": Break(
        promise=RELEASES,
        file="lenet_exp/folders/sweep_plan.py",
        old="    points: float | None = None",
        new="    lead: float | None = None",
        tests="tests/folders/test_records.py -k written_back",
    ),
    "stored outcome": Break(
        promise=RELEASES,
        file="lenet_exp/folders/records.py",
        old='    pruned = "pruned"',
        new='    pruned = "stopped"',
        tests="tests/folders/test_records.py -k written_back",
    ),
    "stored bits of images": Break(
        promise=RELEASES,
        file="lenet_exp/training/score.py",
        old="np.packbits(right.cpu().numpy()).tobytes()",
        new="np.packbits(right.cpu().numpy(), bitorder='little').tobytes()",
        tests="tests/upgrade/test_release_0_3.py -k same_record",
    ),
    "stored file": Break(
        promise=RELEASES,
        file="lenet_exp/folders/checkpoints.py",
        old='END = "end.safetensors"',
        new='END = "final.safetensors"',
        tests="tests/upgrade/test_release_0_3.py -k continues",
    ),
    "intervals of stored runs": Break(
        promise=RELEASES,
        file="lenet_exp/comparison/statistics/moderation.py",
        old="USUAL_CERTAINTY = 0.10",
        new="USUAL_CERTAINTY = 0.12",
        tests="tests/upgrade/test_release_0_3.py -k same_values",
    ),
    "final state": Break(  # a run without room for it fails, although it is finished
        promise=FULL,
        file="lenet_exp/runs/training.py",
        old="        except OSError as e:  # the run has its result, which needs less space than the state\n",
        new="        except EOFError as e:\n",
        tests="tests/runs/test_continuation.py -k cannot_be_written",
    ),
    "outcome after an error": Break(
        promise=FULL,
        file="lenet_exp/runs/training.py",
        old="            outcome = Outcome.failed  # also if the error occurred after the last epoch\n",
        new="",
        tests="tests/runs/test_continuation.py -k fails_after",
    ),
    "quick": Break(
        promise="a finished job takes at most half the time",
        page="benchmarks/README.md",
        file="lenet_exp/config/fast_compose.py",
        old="        if other_overrides not in self._bases:\n",
        new="        if True:\n",
        tests="tests/config/test_fast_compose.py -k once",
    ),
    "pruned": Break(
        promise="A pruned run does not count as a result",
        page="docs/how-to/search.md",
        file="lenet_exp/folders/records.py",
        old="RESULTS = frozenset({Outcome.finished, Outcome.diverged})",
        new="RESULTS = frozenset({Outcome.finished, Outcome.diverged, Outcome.pruned})",
        tests="tests/runs/test_run.py -k pruned",
    ),
    "verdict": Break(
        promise="corrected for all pairs of configurations, because any two of them could have become the leader",
        page="docs/explanation/statistics.md",
        file="lenet_exp/comparison/statistics/leader_tests.py",
        old="return step_down(pairs.p, levels)",
        new="return step_down(pairs.p, np.full(comb(k, 2), LEVEL))",
        tests="tests/comparison/test_statistics.py",
    ),
    "could be the best": Break(
        promise="the best one is missing",
        page="docs/explanation/statistics.md",
        file="lenet_exp/comparison/statistics/leader_tests.py",
        old="is_small = pairs.p <= EXCLUDED_LEVEL / others",
        new="is_small = pairs.p <= EXCLUDED_LEVEL",
        tests="tests/comparison/test_statistics.py",
    ),
    "picked": Break(
        promise="A filter that names a metric gets no verdict",
        page="docs/explanation/statistics.md",
        file="lenet_exp/comparison/design.py",
        old='return bool(re.search(r"\\bmetrics?\\b", self.filter, re.IGNORECASE))',
        new="return False",
        tests="tests/comparison/test_confirm.py",
    ),
    "sign test": Break(
        promise="compared by the exact sign test",
        page="docs/how-to/datasets.md",
        file="lenet_exp/comparison/studies/datasets.py",
        old="if configurations == 2:",
        new="if configurations == 1:",
        tests="tests/comparison/test_datasets.py",
    ),
    "interval of interaction": Break(
        promise="the interval is wider",
        page="docs/how-to/interactions.md",
        file="lenet_exp/comparison/studies/interactions.py",
        old="widening = np.sqrt(np.maximum(along * interaction_df / error / NOISIER, 1.0))",
        new="widening = np.ones_like(f)",
        tests="tests/comparison/test_interactions.py",
    ),
    "confirmed": Break(  # a lead over one of several configurations is enough
        promise='"Confirmed" means that the lead is significantly greater than 0',
        page="docs/how-to/compare.md",
        file="lenet_exp/comparison/confirmation_result.py",
        old="all(lead.ahead for _, lead in self.leads)",
        new="any(lead.ahead for _, lead in self.leads)",
        tests="tests/comparison/test_confirm.py",
    ),
    "interactions": Break(
        promise="the number of pairs (Holm 1979)",
        page="docs/how-to/interactions.md",
        file="lenet_exp/comparison/studies/interactions.py",
        old="corrected = holm_adjusted(p_of_pairs)",
        new="corrected = p_of_pairs",
        tests="tests/comparison/test_interactions.py",
    ),
    "on each dataset": Break(  # better on one dataset is enough
        promise="The p-value of a pair is the largest of its p-values on the datasets",
        page="docs/how-to/datasets.md",
        file="lenet_exp/comparison/studies/datasets.py",
        old="largest_p = np.where(better | worse, p.max(axis=0), np.nan)",
        new="largest_p = np.where(better | worse, p.min(axis=0), np.nan)",
        tests="tests/comparison/test_datasets.py",
    ),
    "label noise": Break(  # validation labels are replaced, too
        promise="Validation and test labels stay correct",
        page="docs/how-to/train.md",
        file="lenet_exp/data/label_noise.py",
        old="chosen = data.train_index.cpu()[positions]",
        new="chosen = torch.arange(len(data.labels))[positions]",
        tests="tests/training/test_training_options.py -k noise",
    ),
    "test set": Break(
        promise="`lenet-predict` is the only command that opens a test set",
        page="docs/how-to/predict.md",
        file="lenet_exp/data/images.py",
        old='    return read_images(source.dataset, data_root, "train")',
        new='    return [read_images(source.dataset, data_root, part) for part in ("test", "train")][1]',
        tests="tests/prediction/test_predict.py -k test_set",
    ),
    "another folder": Break(  # the MLflow run of another outputs folder is removed
        promise="MLflow runs that do not come from this outputs folder",
        page="docs/how-to/disk.md",
        file="lenet_exp/removal/stored_runs.py",
        old='    if run.data.tags.get("run_folder") != folder.id:\n        return False\n',
        new="",
        tests="tests/removal/test_remove.py -k another_outputs_folder",
    ),
    "temporary folder": Break(
        promise="training continues with a warning",
        page="docs/how-to/disk.md",
        file="lenet_exp/tracking/stores/connection.py",
        old="            self._warn_of_disk(error)\n",
        new="            raise error\n",
        tests="tests/sweeps/test_full_disk.py -k temporary_folder",
    ),
    "moved folder": Break(  # a new, empty folder is created at the old path
        promise="move the folder back and rerun the command",
        page="docs/how-to/disk.md",
        file="lenet_exp/files.py",
        old="path.parent.mkdir(exist_ok=True)",
        new="path.parent.mkdir(parents=True, exist_ok=True)",
        tests="tests/sweeps/test_full_disk.py -k moved",
    ),
    "partial file": Break(  # an export to a full disk leaves a part of the file
        promise="under its name, a file is complete or missing",
        page="docs/reference/formats.md",
        file="lenet_exp/files.py",
        old="        temporary_file.unlink(missing_ok=True)\n        if isinstance",
        new="        if isinstance",
        tests="tests/prediction/test_export.py -k full_disk",
    ),
    "lock": Break(
        promise="if it is not a regular file, commands ask you to remove it",
        page="docs/reference/formats.md",
        file="lenet_exp/files.py",
        old="        check_regular(path)\n    return path.open",
        new="        pass\n    return path.open",
        tests="tests/folders/test_owner.py -k regular",
    ),
    "inherited epochs": Break(
        promise="total number of epochs trained for this search",
        page="docs/how-to/search.md",
        file="lenet_exp/searches/epoch_counts.py",
        old="max(epochs_before, folder.inherited_epochs())",
        new="epochs_before",
        tests="tests/searches/test_search.py -k inherited",
    ),
    "starting worker": Break(  # a worker that starts while its pool dies begins a job
        promise="Local workers save a checkpoint and exit within 30 s",
        page="ARCHITECTURE.md",
        file="lenet_exp/executors/local/worker.py",
        old="""        threading.Thread(target=self._read, daemon=True).start()
        prepare(slot)
""",
        new="""        prepare(slot)
        threading.Thread(target=self._read, daemon=True).start()
""",
        tests="tests/executors/local/test_pool.py -k starting_worker",
    ),
    "hook": Break(
        promise="`lenet-train` prints one line, and the exit status does not change",
        page="docs/how-to/sweep.md",
        file="lenet_exp/sweeps/hooks.py",
        old="    except Exception as e:\n        failure = first_line(e)",
        new="    except OSError as e:\n        failure = first_line(e)",
        tests="tests/sweeps/test_hooks.py -k summary_that",
    ),
    "joining node": Break(  # a Ray node that does not meet the requirements ends the sweep
        promise="the sweep continues on the other nodes",
        page="docs/how-to/clusters.md",
        file="lenet_exp/executors/ray/ray_executor.py",
        old="            if not self._usable:\n                raise\n",
        new="            raise\n",
        tests="tests/executors/ray/test_ray.py -k unsuitable_node",
    ),
    "password": Break(  # MLflow's server accepts requests without a password
        promise=PASSWORD,
        file="lenet_exp/ui/server.py",
        old=', "--app-name", APP_NAME]',
        new="]",
        tests="tests/ui/test_ui.py -k every_mlflow_route",
    ),
    "origin": Break(  # pages of other ports of this machine can send requests through the browser
        promise="It refuses requests that name",
        page="SECURITY.md",
        file="lenet_exp/ui/app.py",
        old="if all(origin == self._origin for origin in origins):",
        new="if True:",
        tests="tests/ui/test_ui.py -k other_hosts",
    ),
    "group rates": Break(  # all parameter groups get the scheduled rate of the first one
        promise="learning rate of each of the optimizer's parameter groups",
        page="lenet_exp/training/state.py",
        file="lenet_exp/training/engine.py",
        old='group["lr"] = rate * fraction',
        new='group["lr"] = state.rates[0] * fraction',
        tests="tests/training/test_schedule.py -k each_parameter_group",
    ),
    "compiled module": Break(  # an edited compiled module gives the old result
        promise=CODE,
        file="lenet_exp/code_text.py",
        old="        return hashlib.sha256(content).hexdigest()\n",
        new='        return ""\n',
        tests="tests/config/test_own_code.py -k compiled_module_is_copied",
    ),
    "shared module": Break(  # each own class has its own copy of a module that several import
        promise="A file that several of your classes import is imported once",
        page="docs/how-to/own-network.md",
        file="lenet_exp/folders/code_folder.py",
        old="    import_together([LOADED_CODE[digest] for digest in digests.values()])\n",
        new="",
        tests="tests/config/test_own_code.py -k shared_module",
    ),
    "writable own code": Break(  # code that others can change runs
        promise="Your own Python files and compiled modules run only if",
        page="SECURITY.md",
        file="lenet_exp/config/own_code.py",
        old="if problem and not _is_editable_install(top):",
        new="if False:",
        tests="tests/config/test_own_code.py -k others_can_change",
    ),
    "discarded signal": Break(  # a signal whose exception Python discarded does not end the command
        promise=SIGNALS,
        file="lenet_exp/stopping.py",
        old="        raise _raised\n",
        new="        return\n",
        tests="tests/commands/test_clumsy_networks.py -k discarded",
    ),
    "contradicting accuracy": Break(  # an accuracy that its own predictions contradict is believed
        promise=DAMAGE,
        file="lenet_exp/folders/records.py",
        old="    error = accuracy_error(result.accuracy, result.right)\n",
        new='    error = ""\n',
        tests="tests/folders/test_digests.py -k agree_with_its_correct_images",
    ),
    # a resumed or confirmed sweep of release 0.3 trains with other learning rates
    "former default values": Break(
        promise=RELEASES,
        file="lenet_exp/runs/former_defaults.py",
        old='        for key, change in CHANGES.get(optimizer, {}).items():\n            former[f"optimizer.{key}"]',
        new='        for key, change in CHANGES.get("", {}).items():\n            former[f"optimizer.{key}"]',
        tests="tests/upgrade/test_default_values.py -k confirmation",
    ),
    "cache": Break(  # a library is loaded although another user may have created it
        promise="must not be writable by others",
        page="lenet_exp/cache.py",
        file="lenet_exp/cache.py",
        old="return status.st_uid == os.geteuid() and not",
        new="return not",
        tests="tests/training/native/test_build.py -k user",
    ),
}


def main() -> None:
    """Apply the breaks and print the tests that fail. Exit with status 1 if a break makes no test
    fail.
    """
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BREAKS)} (default: all)"
    )
    names = options.parse_args().names or list(BREAKS)
    unnoticed = []
    for name in names:
        start = time.monotonic()
        noticed = tests_that_notice(BREAKS[name])
        result_line = f"{name} ({BREAKS[name].promise}): {len(noticed)} tests notice, {time.monotonic() - start:.0f} s"
        print(result_line, *noticed or ["NONE"], sep="\n    ", flush=True)
        unnoticed += [] if noticed else [name]
    sys.exit(1 if unnoticed else 0)


def tests_that_notice(what: Break) -> list[str]:
    """Apply a break in a copy of the repository, and return the tests that fail, with their
    messages.

    Test files that cannot be imported do not count.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for name in listed.splitlines():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
        text = (copy / what.file).read_text()
        if text.count(what.old) != 1:
            raise RuntimeError(
                f"{what.file} has changed: {what.old!r} stands there {text.count(what.old)} times"
            )
        (copy / what.file).write_text(text.replace(what.old, what.new))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "slow or not slow",
            "-rfE",
            *shlex.split(what.tests),
        ]
        environment = os.environ | {"PYTHONPATH": str(copy)}
        ended = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LONGEST
        )
    return sorted(re.findall(r"^(?:FAILED|ERROR) (\S+::.*)", ended.stdout, re.MULTILINE))


if __name__ == "__main__":
    main()
