"""Hydra has the private parts that hydra_parts uses."""

from __future__ import annotations

import inspect

from hydra.types import RunMode

from lenet_exp.config.hydra_parts import command_line_parser, hydra_app


def test_hydra_app_runs_and_composes():
    with hydra_app("train") as app:
        for call in (app.run, app.multirun):
            parameters = list(inspect.signature(call).parameters)
            assert parameters[:3] == ["config_name", "task_function", "overrides"]
        composed = app.compose_config(
            "train", ["seed=7"], RunMode.RUN, with_log_configuration=False
        )
    assert composed.seed == 7
    assert composed.hydra.job.name == "train"


def test_hydra_parser_has_the_flags_that_are_read():
    parsed = command_line_parser().parse_args(["-m", "seed=1,2", "--config-dir", "mine"])
    assert parsed.multirun is True
    assert parsed.overrides == ["seed=1,2"]
    assert parsed.config_dir == "mine"
    others = (
        "help",
        "hydra_help",
        "cfg",
        "info",
        "shell_completion",
        "resolve",
        "config_path",
        "config_name",
        "run",
        "experimental_rerun",
    )
    for name in others:
        assert not getattr(parsed, name), name
