"""Hydra's own tests of launchers, on ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite
from hydra.version import _UNSPECIFIED_, VersionBase

from lenet_exp.executors.local_launcher import LocalLauncher


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
class TestLocalLauncher(LauncherTestSuite):
    pass


@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=local"])])
class TestLocalLauncherIntegration(IntegrationTestSuite):
    pass
