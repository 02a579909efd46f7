"""Comparing or resuming a foreign sweep folder imports none of the classes that it names."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from lenet_exp.folders.digests import record_with_digests, with_digest
from tests.tools.commands import SMALL, lenet_train, succeeded

LINE = (
    "-m",
    "hydra/launcher=basic",
    *SMALL,
    "num_epoch=1",
    "seed=0,1",
    "tracking.plots=false",
    "tracking.models=none",
)


@pytest.fixture(scope="module")
def foreign(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a foreign outputs folder with a sweep of two runs."""
    outputs = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("foreign") / "outputs"))
    succeeded(lenet_train(*LINE, outputs=outputs))
    return outputs


@pytest.fixture(params=["job", "record"])
def hostile(request, foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the sweep after a job or a run names a class whose module leaves a file when it is
    imported.
    """
    modules = tmp_path / "path"
    modules.mkdir()
    (modules / "evil.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom torch.nn import SELU\n"
    )
    monkeypatch.syspath_prepend(str(modules))

    copy = Path(shutil.copytree(foreign, tmp_path / "foreign"))
    (sweep,) = (copy / "sweeps").iterdir()
    first, second = (json.loads(line) for line in (sweep / "jobs.jsonl").read_text().splitlines())
    run = copy / "runs" / second["run"]

    if request.param == "job":
        second["config"]["optimizer"]["_target_"] = "evil.SELU"
        forged = with_digest(second)  # digests do not detect forgery
        (sweep / "jobs.jsonl").write_text(f"{json.dumps(first)}\n{json.dumps(forged)}\n")
        shutil.rmtree(run)
    else:
        record = json.loads((run / "record.json").read_text())
        record["config"]["activation"]["_target_"] = "evil.SELU"
        forged = record_with_digests(record, run / "history.json")
        (run / "record.json").write_text(json.dumps(forged))
    return sweep


@pytest.mark.parametrize("flags", [[], ["sweep.dry_run=true"]], ids=["train", "estimate"])
def test_foreign_sweep_is_compared_without_imports_and_not_resumed(
    flags, hostile, main, tmp_path, outputs
):
    compared = succeeded(main(f"sweep={hostile}", program="compare"))
    assert compared.stderr == ""

    resume = ("-m", f"sweep.resume={hostile}", "hydra/launcher=basic")
    resumed = lenet_train(*resume, *flags, outputs=outputs)
    assert resumed.returncode == 2
    assert resumed.stderr.count("\n") == 1
    assert f"LENET_EXP_OUTPUTS={hostile.parent.parent}" in resumed.stderr

    assert "evil" not in sys.modules
    assert not (tmp_path / "ran").exists()
