"""Search spaces in Hydra's grammar: every value that a search may draw is a value of the
expression.
"""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet_exp.config.space import Choice, Flag, FloatRange, IntegerRange, flag_of, size
from lenet_exp.errors import ConfigError


def parsed(line: str) -> Flag:
    (override,) = OverridesParser.create().parse_overrides([line])
    return flag_of(override, {"optimizer"})


SPELT = {
    "x=1,2,1": Choice(("1", "2")),
    "optimizer=[1,2],null": Choice(("[1,2]", "null")),
    "x=interval(0,1)": FloatRange(0.0, 1.0),
    "x=int(interval(1,5))": IntegerRange(1, 5),
    "x=tag(log,interval(1e-3,1))": FloatRange(0.001, 1.0, None, True),
    "x=tag(log,int(interval(1,64)))": IntegerRange(1, 64, 1, True),
    "x=range(0,10,3)": IntegerRange(0, 9, 3),  # 10 is not included
    "x=range(5,0,-2)": IntegerRange(1, 5, 2),
    "x=range(0,0.5,0.1)": FloatRange(0.0, 0.4, 0.1),
    "x=float(range(1,4))": FloatRange(1.0, 3.0, 1.0),
    "+x=range(2)": IntegerRange(0, 1),
}


@pytest.mark.parametrize("line", SPELT)
def test_expression_is_parsed_into_search_space(line):
    flag = parsed(line)
    assert flag.values == SPELT[line]
    assert flag.name == line.partition("=")[0].lstrip("+")
    assert flag.group == line.startswith("optimizer")


REFUSED = {  # override: text in the error
    "x=interval(2,1)": "low <= high",
    "x=interval(0,inf)": "finite",
    "x=tag(log,interval(0,1))": "greater than 0",
    "x=tag(lgo,interval(1,2))": "log?",
    "x=tag(log,choice(1,2))": "a list",
    "x=tag(log,range(1,9,2))": "interval()",
    "x=range(1,1)": "one value",
    "x=range(0,1,0)": "step",
    "seed=1,2": "single value",
    "split_seed=range(3)": "single value",
    "sweep.workers=1,2": "single value",
}


@pytest.mark.parametrize("line", REFUSED)
def test_invalid_search_space_is_one_line(line):
    with pytest.raises(ConfigError) as refused:
        parsed(line)
    assert REFUSED[line] in str(refused.value)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(-1000, 1000).filter(bool))
@settings(max_examples=30)
def test_integer_range_has_the_values_of_a_grid(start, stop, step):
    line = f"x=range({start},{stop},{step})"
    if not range(start, stop, step):
        with pytest.raises(ConfigError):
            parsed(line)
        return

    flag = parsed(line)
    assert sorted(flag.values.all) == sorted(range(start, stop, step))
    assert size([flag]) == len(range(start, stop, step))


@given(
    *[st.decimals(-5, 5, places=2).map(str)] * 2,
    st.sampled_from(["0.01", "0.1", "0.25", "3", "-0.5"]),
)
@settings(max_examples=50)
def test_decimal_range_has_the_values_of_a_grid(start, stop, step):
    line = f"x=range({start},{stop},{step})"
    (override,) = OverridesParser.create().parse_overrides([line])
    grid = [float(value) for value in override.value().range()]
    try:
        values = parsed(line).values
    except ConfigError:
        assert len(grid) <= 1  # with binary fractions, an empty range may have one value
        return

    drawable = [float(values.text(value)) for value in values.all]
    if step.startswith("-"):
        drawable.reverse()
    # Hydra adds up binary fractions, and may include one more value: the stop, except for its last
    # digit.
    assert len(grid) - len(drawable) in {0, 1}
    assert drawable == pytest.approx(grid[: len(drawable)], abs=1e-9)
    assert all(len(values.text(value)) < 8 for value in values.all)  # 0.3, not 0.30000000000000004
