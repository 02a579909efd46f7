"""The outputs in docs/tutorials/first_hour.ipynb match its execution."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from benchmarks.notebook import NOTEBOOK, executed, neutral

nbformat = pytest.importorskip("nbformat")
SMALLER = {
    "num_epoch=10": 'num_epoch=3", "sweep.workers=1", "tracking.plots=false',
    "num_epoch=5": 'num_epoch=1", "sweep.workers=1", "tracking.plots=false',
    "n_trials=8": "n_trials=3",
    "range(3)": "range(2)",
}


def cells() -> list:
    return nbformat.read(NOTEBOOK, as_version=4).cells


def text(cell) -> str:
    return "".join(
        o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in cell.outputs
    )


def pictures(cell) -> int:
    return sum("image/png" in o.get("data", {}) for o in cell.outputs)


def test_notebook_has_ten_cells_with_outputs_and_no_local_paths():
    kept = cells()
    assert [re.match(r"# (\d+)\. ", cell.source).group(1) for cell in kept] == [
        str(n) for n in range(1, 11)
    ]
    assert [n for n, cell in enumerate(kept, 1) if pictures(cell)] == [4, 6, 8, 9, 10]
    assert all(cell.outputs for cell in kept)
    assert not any(o.output_type == "error" for cell in kept for o in cell.outputs)
    written = NOTEBOOK.read_text()
    paths = set(re.findall(r"(?<![\w.:/])/(?:home|tmp|root|work|usr|var|opt)/[\w.-]+", written))
    assert paths <= {"/home/me"}


@pytest.mark.by_hand
def test_executed_cells_match_stored_outputs(tmp_path: Path, empty_store: Path):
    """The test trains less, and with a single worker."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    shutil.copytree(empty_store, tmp_path / "outputs")
    small = nbformat.read(NOTEBOOK, as_version=4)
    for cell in small.cells:
        for large, less in SMALLER.items():
            cell.source = cell.source.replace(large, less)
    nbformat.write(small, tmp_path / "small.ipynb")
    found = nbformat.from_dict(
        neutral(executed(tmp_path / "small.ipynb", tmp_path), tmp_path)
    ).cells
    for here, kept in zip(found, cells(), strict=True):
        assert pictures(here) == pictures(kept), here.source
        assert bool(text(here)) == bool(text(kept)), here.source
    assert float(re.findall(r"best (\d\d\.\d\d)%", text(found[2]))[0]) > 50
    assert "True" in text(found[3])
    assert "two.png: 2 " in text(found[9])


LINE = [
    "dataset=digits",
    "batch_size=32",
    "num_epoch=3",
    "tracking.plots=false",
    "tracking.models=none",
]
CELLS = (
    f"import lenet_exp\nlenet_exp.train({LINE});",
    "from tqdm.auto import tqdm",  # as Optuna and mlflow do
    "lenet_exp.compose('activation=relo')",
)


@pytest.mark.slow(seconds=9)
def test_notebook_shows_progress_and_one_line_errors_without_warning(
    tmp_path: Path, empty_store: Path
):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    shutil.copytree(empty_store, tmp_path / "outputs")
    written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    written.cells[-1].metadata["tags"] = ["raises-exception"]
    nbformat.write(written, tmp_path / "small.ipynb")
    trained, imported, wrong = executed(tmp_path / "small.ipynb", tmp_path).cells
    epochs = [line[:10] for line in text(trained).splitlines() if line.startswith("epoch ")]
    assert epochs == ["epoch 1/3:", "epoch 2/3:", "epoch 3/3:"]
    assert imported.outputs == []
    (error,) = wrong.outputs
    assert (len(error.traceback), error.traceback[0].count("\n")) == (1, 0)
    assert "did you mean relu" in error.traceback[0]
