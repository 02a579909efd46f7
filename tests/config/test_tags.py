"""A user's tags never replace the tags by which lenet_exp finds its runs."""

from __future__ import annotations

import pytest

from lenet_exp.api import compose
from lenet_exp.config.tags import NAMES, check_tags, merged
from lenet_exp.errors import ConfigError


def test_reserved_tag_names_are_refused_in_one_line():
    found_by = [
        "kind",
        "fingerprint",
        "outcome",
        "sweep",
        "sweeps",
        "sweep_folder",
        "swept",
        "git_commit",
        "owner",
    ]
    for name in {*found_by, *NAMES}:
        with pytest.raises(ConfigError) as refused:
            check_tags({name: "x"})
        assert str(refused.value).startswith(f"tracking.tags.{name}=x: ")
        assert "\n" not in str(refused.value)


def test_reserved_tag_names_with_dots_are_refused():
    nested = "+tracking.tags={a: {b: 1}, version: {torch: 1}}"
    for override, named in (
        ("tracking.tags.mlflow.user=x", "mlflow.user=x"),
        (nested, "version.torch=1"),
    ):
        with pytest.raises(ConfigError, match=f"^tracking.tags.{named}: "):
            compose([override])


def test_other_tags_may_have_any_name():
    tags = ["note=kind", "version=2", "Kind=a", "mlflow_note=1", "kind2={kind: 1}"]
    assert len(compose([f"tracking.tags.{tag}" for tag in tags]).tracking.tags) == 5


def test_own_tags_replace_unchecked_user_tags():
    users = {"kind": "sweep", "fingerprint": "mine", "note": "a"}
    assert merged({"kind": "run"}, users) == {"kind": "run", "note": "a"}
