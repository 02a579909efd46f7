"""A user's tags never take the place of the program's own, by which it finds its runs."""

from __future__ import annotations

import pytest

from lenet_exp.api import compose
from lenet_exp.config.tags import checked, is_own, merged
from lenet_exp.errors import ConfigError


@pytest.mark.parametrize(
    "name",
    ["kind", "fingerprint", "outcome", "sweep", "sweeps", "sweep_folder", "swept", "git_commit", "owner"],
)
def test_a_name_of_the_programs_own_is_refused_in_one_line(name):
    with pytest.raises(ConfigError) as refused:
        compose([f"tracking.tags.{name}=x"])
    assert str(refused.value).startswith(
        f"tracking.tags.{name}=x: this name is the program's own; allowed is any but kind,"
    )
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "override",
    [
        "tracking.tags.mlflow.note.content=x",
        "tracking.tags.version.torch=1",
        "+tracking.tags={a: {b: 1}, mlflow: {user: me}}",
    ],
)
def test_nor_is_one_whose_dots_hydra_took_apart(override):
    with pytest.raises(ConfigError, match="this name is the program's own"):
        compose([override])


def test_others_may_have_any_name():
    tags = ["note=kind", "version=2", "Kind=a", "mlflow_note=1", "kind2={kind: 1}"]
    assert len(compose([f"tracking.tags.{tag}" for tag in tags]).tracking.tags) == 5


def test_where_nobody_checked_the_programs_own_win():
    assert merged({"kind": "run"}, {"kind": "sweep", "fingerprint": "mine", "note": "a"}) == {
        "kind": "run",
        "note": "a",
    }


def test_a_tag_that_the_list_lacks_is_not_set():
    assert not is_own("note")
    with pytest.raises(ValueError, match="note"):
        checked({"kind": "run", "note": "a"})
