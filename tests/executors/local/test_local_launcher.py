"""Hydra's own tests of launchers, on ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite
from hydra.version import _UNSPECIFIED_, VersionBase

from lenet_exp.executors.local.local_launcher import LocalLauncher


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> Iterator[None]:
    """Hydra's suite counts on the defaults of Hydra 1.1; tests before it in this process asked for those of 1.3."""
    before = VersionBase.instance().version_base
    VersionBase.instance().version_base = _UNSPECIFIED_
    yield
    VersionBase.instance().version_base = before


def test_hydra_finds_it():
    assert LocalLauncher.__name__ in [x.__name__ for x in Plugins.instance().discover(Launcher)]


@pytest.mark.parametrize(("launcher_name", "overrides"), [("local", [])])
class TestLocalLauncher:
    """Of those that take several jobs, in one process each; the rest of the suite is of Hydra's sweeper."""

    get_task_function = LauncherTestSuite.get_task_function
    test_sweep_2_jobs = LauncherTestSuite.test_sweep_2_jobs
    test_sweep_and_override = LauncherTestSuite.test_sweep_and_override
    test_sweep_with_custom_resolver = LauncherTestSuite.test_sweep_with_custom_resolver


@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=local"])])
class TestLocalLauncherIntegration:
    """Where a job runs, by an application of its own."""

    get_test_app_working_dir = IntegrationTestSuite.get_test_app_working_dir
    get_test_scratch_dir = IntegrationTestSuite.get_test_scratch_dir
    generate_custom_cmd = IntegrationTestSuite.generate_custom_cmd
    test_to_absolute_path_multirun = IntegrationTestSuite.test_to_absolute_path_multirun
