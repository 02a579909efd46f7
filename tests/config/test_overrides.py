"""Whatever is typed is a configuration or one line that says what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lenet_exp.api import compose
from lenet_exp.config.compose import typed
from lenet_exp.config.conf_dir import CONF_DIR
from lenet_exp.config.explain import known_flags
from lenet_exp.config.plain import plain
from lenet_exp.errors import ConfigError, nearest

KNOWN = sorted(known_flags((CONF_DIR,)))
GROUPS = ["dataset", "activation", "optimizer", "regularization", "schedule", "augmentation", "experiment"]
TARGETS = ["activation._target_", "optimizer._target_"]
MORE = ["tracking.tags.note", "hydra.job", "no_such_flag", ""]
CLASSES = ["torch.nn.Identity", "torch.optim.SGD", "torch.nn.functional.relu", "..a"]
VALUES = ["", "null", "true", "nan", "-1", "1e400", "[]", "{}", "{a:1}", "???", "a b", "1,2", "range(3)"]
SIGNS = ["${seed}", "${nope}", "${", "'", "\n", "\\", "é", "(", "@x", "~", "$"]

flags = st.sampled_from([*KNOWN, *GROUPS, *TARGETS, *MORE])
odd = st.sampled_from([*CLASSES, *VALUES, *SIGNS])
values = st.one_of(
    odd,
    st.text(max_size=8),
    st.integers().map(str),
    st.floats().map(str),
    st.lists(odd, max_size=3).map(lambda several: f"[{','.join(several)}]"),
)
overrides = st.builds("{}{}={}".format, st.sampled_from(["", "", "+", "++", "~"]), flags, values)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(overrides, min_size=1, max_size=2))
def test_any_override_is_a_configuration_or_one_line(given_overrides):
    config, line = None, ""
    try:
        config = compose(given_overrides)
    except ConfigError as e:
        line = str(e)
    assert typed(plain(config)) == config if config else len(line.splitlines()) == 1


@pytest.mark.parametrize("given_override", ["dataset=[null]", "augmentation=[null]"])
def test_what_hydra_trips_over_is_one_line_too(given_override):
    with pytest.raises(ConfigError, match="the overrides can't be read"):
        compose([given_override])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"num_epoch": "many"}, "num_epoch=many: allowed is a whole number"),
        ({"learning_rate": 0.1}, "learning_rate: no such flag"),
        ({"tracking": {"model": "all"}}, "tracking.model: no such flag; did you mean tracking.models?"),
        ({"engine": "Torch"}, "engine=Torch: allowed is auto or native or torch; did you mean torch?"),
    ],
)
def test_a_wrong_dict_is_one_line_too(changed, says):
    config = plain(compose([]))
    for key, value in changed.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    with pytest.raises(ConfigError) as caught:
        typed(config)
    assert str(caught.value).startswith(says)


@given(st.sampled_from(KNOWN), st.booleans(), st.sampled_from(["_", "-", ""]))
def test_the_nearest_name_does_not_mind_case_or_dashes(flag, upper, dash):
    written = flag.replace("_", dash)
    assert nearest(written.upper() if upper else written, KNOWN) == flag


def test_nothing_is_near_to_what_is_far():
    assert nearest("xyzzy", KNOWN) is None
