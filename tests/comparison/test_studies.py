"""Questions that come after which configuration is best."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from lenet_exp.comparison.compare import Comparison, compare_runs
from lenet_exp.comparison.studies.numeric import numeric_flags
from lenet_exp.reports.terminal.leaderboard import effect_lines
from tests.comparison.made_up import made, many


def compared(*runs) -> Comparison:
    (found,) = compare_runs([run for its in runs for run in its], ["activation", "optimizer.lr"])
    return found


def at(lr: str, mean: float, **flags: str):
    random = Random(f"{lr} {flags}")
    return many([mean + random.gauss(0, 0.001) for _ in range(4)], optimizer__lr=lr, **flags)


def test_numeric_flag_has_its_best_value_and_those_not_significantly_worse():
    found = compared(at("1e-3", 0.8), at("0.1", 0.95), at("0.05", 0.9503), at("0.2", 0.9), [made(0, 0.3, "diverged",
                     optimizer__lr="9")])  # fmt: skip
    (numeric,) = numeric_flags(found)
    assert (numeric.flag, numeric.log, numeric.best) == ("optimizer.lr", True, "0.1")
    assert (numeric.not_worse, numeric.worse) == (("0.05",), ("1e-3", "0.2"))
    assert [g.flags["optimizer.lr"] for g in numeric.lines[0].groups] == ["1e-3", "0.05", "0.1", "0.2"]
    assert "0.05" in effect_lines(found)[-1]
    assert numeric_flags(replace(found, searched=object())) == []  # type: ignore[arg-type]


def test_value_is_worse_only_if_all_its_configurations_are():
    runs = [at(lr, mean, activation=name) for lr, name, mean in [
        ("0.1", "selu", 0.95), ("0.1", "relu", 0.8), ("0.2", "selu", 0.9), ("0.2", "relu", 0.949),
        ("0.3", "selu", 0.9), ("0.3", "relu", 0.8)]]  # fmt: skip
    (numeric,) = numeric_flags(compared(*runs))
    assert (numeric.best, numeric.not_worse, numeric.worse, numeric.log) == ("0.1", ("0.2",), ("0.3",), False)
    assert [(line.name, len(line.groups)) for line in numeric.lines] == [("selu", 3), ("relu", 3)]


def test_two_values_words_and_single_seeds_have_no_best_value():
    assert numeric_flags(compared(at("0.1", 0.9), at("0.2", 0.8))) == []
    assert numeric_flags(compared(at("0.1", 0.9), at("0.2", 0.8), at("auto", 0.8))) == []
    (numeric,) = numeric_flags(compared(*([made(0, 0.9, optimizer__lr=lr)] for lr in ("0.1", "0.2", "0.3"))))
    assert (numeric.best, numeric.not_worse, numeric.worse) == ("", (), ())
