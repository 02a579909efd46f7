"""Any input gives a configuration or a one-line error."""

from __future__ import annotations

import pytest

from lenet_exp.api import compose
from lenet_exp.config.compose import typed
from lenet_exp.config.explain import SYNONYMS, explain_flag, known_flags
from lenet_exp.config.typed_json import to_plain
from lenet_exp.errors import ConfigError, nearest
from lenet_exp.package_files import config_groups

KNOWN = sorted(known_flags())
# Overrides whose error contains the flag, and overrides with other texts in the error.
LARGE = "9" * 400
NAMED = [
    "seed=",
    "seed=???",
    "num_epoch=1e400",
    "optimizer.lr=nan",
    f"optimizer.lr={LARGE}",
    f"schedule.final={LARGE}",
]
NAMED += ["batch_size={a:1}", "~no_such_flag=1", "++hydra.job=7", "seed='", "data_root=${"]
REFUSED = {override: override.partition("=")[0].lstrip("~+") for override in NAMED} | {
    "dataset=[null]": "",
    "augmentation=[null]": "",
    "activation._target_=..a": "..a",
    "optimizer._target_=torch.nn.Identity": "torch.nn.Identity",
    "num_epoch=${nope}": "nope",
    "dataset.class_names=${seed}": "dataset.class_names=0",
    "=": "",
    "a b": "a b",
    "@x": "@x",
    "tracking.models=Best": "best",
    "dataset.channels=2": "2",
    "dataset.channels=3": "mnist",
    "dataset.image_size=2": "at least 4",
    "dataset.archive=http://x/a.zip": "https",
}
TAKEN = [
    "data_root='\n'",
    "model_path='é'",
    "tracking.tags.note=[{a:1}]",
    "num_epoch=${batch_size}",
]


@pytest.mark.parametrize("override", REFUSED)
def test_invalid_override_is_one_line(override):
    with pytest.raises(ConfigError) as refused:
        compose([override])
    assert len(str(refused.value).splitlines()) == 1
    assert REFUSED[override] in str(refused.value)


@pytest.mark.parametrize("override", TAKEN)
def test_valid_override_gives_configuration_that_can_be_stored(override):
    config = compose([override])
    assert typed(to_plain(config)) == config


@pytest.mark.parametrize(
    ("section", "changed", "expected"),
    [
        ("", {"num_epoch": "many"}, ["num_epoch=many"]),
        ("", {"learning_rate": 0.1}, ["learning_rate"]),
        ("tracking", {"model": "all"}, ["tracking.model", "tracking.models?"]),
        ("", {"activation": ["a", "b"]}, ["activation=", "mapping"]),
        ("", {"engine": "Torch"}, ["engine=Torch", "auto, native", "torch?"]),
    ],
)
def test_invalid_dictionary_is_one_line(section, changed, expected):
    config = to_plain(compose([]))
    part = config[section] if section else config
    part.update(changed)
    with pytest.raises(ConfigError) as caught:
        typed(config)
    assert [part for part in expected if part not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SYNONYMS)
def test_names_of_other_tools_suggest_a_flag(name):
    assert SYNONYMS[name] in known_flags() | set(config_groups())
    assert explain_flag(name).endswith(f"did you mean {SYNONYMS[name]}?")


@pytest.mark.parametrize("dash", ["_", "-", ""])
def test_nearest_name_ignores_case_and_dashes(dash):
    for flag in KNOWN:
        written = flag.replace("_", dash)
        assert nearest(written, KNOWN) == flag
        assert nearest(written.upper(), KNOWN) == flag
    assert nearest("xyzzy", KNOWN) is None
