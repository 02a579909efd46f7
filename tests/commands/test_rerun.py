"""`--experimental-rerun`, for which Hydra 1.3 unpickles a file, is refused before the file is opened."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tests.training.trained.test_ancestor import Call

SPELLINGS = [
    ["--experimental-rerun", "FILE"],
    ["--experimental-rerun=FILE"],
    ["--e", "FILE"],
    ["-m", "--experimental-rerun=FILE", "dataset=digits"],
    ["--cfg", "job", "dataset=digits", "--exp=FILE"],
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A pickle that, when loaded, creates a file `ran` in its folder."""
    path = tmp_path / "config.pickle"
    path.write_bytes(pickle.dumps(Call(open, str(tmp_path / "ran"), "w")))
    return path


@pytest.mark.parametrize("spelled", SPELLINGS, ids=" ".join)
def test_experimental_rerun_is_refused_in_one_line(spelled, file, main, outputs):
    for program in ("train", "predict"):
        done = main(*(word.replace("FILE", str(file)) for word in spelled), program=program)
        assert done.returncode == 2
        assert done.stderr.startswith(f"lenet-{program}: --experimental-rerun: ")
        assert done.stderr.count("\n") == 1
        assert not (file.parent / "ran").exists()
        assert not outputs.exists()
