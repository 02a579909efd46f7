"""benchmarks/transcripts.py compares shown output with printed output exactly, and updates it."""

from __future__ import annotations

import pytest

from benchmarks.transcripts import differing

ERR = "sweep of 4 runs\nepoch 1/5: loss 1.2843, 9,480 images/s\n"
OUT = """digits: 4 runs
 #   activation    best val, %   seconds   vs. leader
 ───────────────────────────────────────────────────────────────
 1   relu         97.76 ± 0.46       0.7   ahead by 1.28 points
selu wins.
run folder: /tmp/a/outputs/runs/e50ebcc8916d3ec31451b4cffa9f0021
weights 3630cd9ec9981261
"""
SHOWN = """epoch 1/5: loss 1.2843, 800 images/s
 ...
 #   activation    best val, %   seconds   vs. leader
 ──────────────────────────────────────
 1   relu         97.76 ± 0.46       2.7   ahead by 1.28 points
selu wins.
run folder: /home/me/outputs/runs/00000cc8916d3ec31451b4cffa9f0021
weights 3630cd9ec9981261"""


def test_only_times_speeds_ids_and_paths_may_differ():
    assert differing(SHOWN, OUT, ERR) == []


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("97.76", "97.77"),
        ("1.28 points", "1.29 points"),
        ("loss 1.2843", "loss 1.2"),
        ("3630cd9e", "00000000"),
    ],
)
def test_changed_digit_is_detected(shown, printed):
    assert len(differing(SHOWN.replace(shown, printed), OUT, ERR)) == 1


def test_unmarked_omission_of_lines_is_detected():
    assert differing(SHOWN.replace("selu wins.\n", ""), OUT, ERR)
    assert differing(SHOWN.replace(" ...\n", ""), OUT, ERR)
    assert differing(SHOWN.rpartition("\n")[0], OUT, ERR)
    assert differing(SHOWN.rpartition("\n")[0] + "\n ...", OUT, ERR) == []
