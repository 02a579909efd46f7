"""Creates the jobs of a search: determines which flags have an effect, checks extreme
configurations, and builds a job for each trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf

from lenet_exp.comparison.group import ABSENT
from lenet_exp.config.class_groups import CLASS_GROUPS
from lenet_exp.config.fast_compose import Compose, FastComposer
from lenet_exp.config.flags import all_flags, has_effect
from lenet_exp.config.own_code import with_code, with_code_digest
from lenet_exp.config.params import job_name
from lenet_exp.config.schema import Config, Option
from lenet_exp.config.search import without_search
from lenet_exp.config.space import Choice, Flag, FloatRange
from lenet_exp.config.targets import accepted_arguments, keywords
from lenet_exp.errors import ConfigError
from lenet_exp.folders.job import Job
from lenet_exp.package_files import config_groups
from lenet_exp.runs.initial_weights import find_weights
from lenet_exp.runs.jobs import freeze_jobs
from lenet_exp.searches.corners import corner_value, points_to_check
from lenet_exp.searches.trials import Baseline, Choose, TooLarge
from lenet_exp.sweeps.checks import check_jobs, check_one_sweep
from lenet_exp.training.network import count_parameters

Values = tuple[tuple[str, str], ...]  # the flags of a trial and their values


class JobMaker:
    """Builds configurations and jobs from the values of the searched flags.

    Args:
        compose: function that composes overrides with Hydra.
        fixed: overrides that all trials share.
        flags: the searched flags.
        max_parameters: maximum number of parameters of a network; None if there is no limit.
        code: digest of the copied code of own classes, by the path of the class, if the search has
            copied it.
    """

    def __init__(
        self,
        compose: Compose,
        fixed: Sequence[str],
        flags: Sequence[Flag],
        max_parameters: int | None = None,
        *,
        code: Mapping[str, str],
    ) -> None:
        self.flags = list(flags)
        self._fixed = list(fixed)
        self._max_parameters = max_parameters
        self._code = code
        self._compose = compose
        self._composer = FastComposer(lambda overrides: without_search(compose(overrides)))
        self._nodes: dict[tuple[str, ...], DictConfig] = {}  # keyed by the options of all groups
        self._find_weights = cache(find_weights)  # a champion can change during the search
        self._dependent_fields = {
            name: field for name, _, field in all_flags() if field.metadata["only_with"] is not None
        }

    def values(self, choose: Choose) -> dict[str, str]:
        """Choose a value for each flag that has an effect.

        Options of configuration groups are chosen first, because they determine which other flags
        exist. Flags that depend on other flags are chosen last.

        Args:
            choose: function that returns a value for a flag.

        Returns:
            The values as text, keyed by flag.

        Raises:
            ConfigError: the chosen options cannot be composed with the fixed overrides.
        """
        values: dict[str, str] = {}
        groups = [flag for flag in self.flags if flag.group]
        # The model is chosen first, because some models accept no activation.
        groups.sort(key=lambda flag: flag.name != "model")
        for flag in groups:
            if flag.name != "activation" or self._accepts_activation(values):
                values[flag.key] = flag.values.text(choose(flag))

        node = self._node(values)
        independent_flags: list[Flag] = []
        dependent_flags: list[Flag] = []
        for flag in self.flags:
            if flag.group or not _is_accepted(node, flag, self._code):
                continue
            if flag.name in self._dependent_fields:
                dependent_flags.append(flag)
            else:
                independent_flags.append(flag)

        for flag in independent_flags:
            values[flag.key] = flag.values.text(choose(flag))

        if dependent_flags:
            config = self._composer.config(self.overrides(values))
            for flag in dependent_flags:
                if has_effect(config, self._dependent_fields[flag.name]):
                    values[flag.key] = flag.values.text(choose(flag))

        return {flag.key: values[flag.key] for flag in self.flags if flag.key in values}

    def overrides(self, values: dict[str, str]) -> list[str]:
        """Return the overrides of a trial with these values."""
        return [*self._fixed, *(f"{key}={text}" for key, text in values.items())]

    def config(self, values: dict[str, str]) -> Config:
        """Return the configuration of a trial with these values.

        Raises:
            TooLarge: the configuration's network has more parameters than `max_parameters`.
            ConfigError: the configuration cannot be composed or is invalid.
        """
        overrides = self.overrides(values)
        try:
            config = with_code(self._composer.config(overrides), self._code)
            self._check_size(config)
            check_jobs([overrides], [config])
        except TooLarge:
            raise
        except ConfigError as e:
            chosen = " ".join(f"{key}={text}" for key, text in values.items())
            raise ConfigError(f"{e} (with {chosen})") from e
        return config

    def job(self, values: dict[str, str], seed: int | None = None) -> Job:
        """Return the job of a trial with these values.

        The sweep assigns the job's number later.

        Args:
            seed: seed to use instead of the seed that all trials share; None to use the shared
                seed.
        """
        config = self.config(values)
        overrides = self.overrides(values)
        if seed is not None:
            config = replace(config, seed=seed)
            overrides = [override for override in overrides if not override.startswith("seed=")]
            overrides.append(f"seed={seed}")
        (job,) = freeze_jobs([], [overrides], [config], self._find_weights)

        shown_values: dict[str, str] = {}
        for flag in self.flags:
            if flag.key in values:
                shown_values[flag.name] = _shown_value(flag, values[flag.key])
        name = job_name(job.number, shown_values, set(config_groups()))
        if seed is not None:
            name = f"{name} seed={seed}"
        swept = {flag.name: shown_values.get(flag.name, ABSENT) for flag in self.flags}
        return replace(job, name=name, swept=swept)

    def baseline(self) -> Baseline | None:
        """Return the default values of the searched flags; None if the search space does not
        contain them.
        """
        baseline: Baseline = {}

        def choose(flag: Flag) -> object:
            baseline[flag.name] = self._baseline_value(flag)
            return baseline[flag.name]

        try:
            run = self.job(self.values(choose)).run
            run_without_search = self.job({}).run
        except ConfigError:
            return None
        return baseline if run == run_without_search else None

    def _baseline_value(self, flag: Flag) -> object:
        """Return the value that a flag has when it is not searched.

        Raises:
            ConfigError: the search space does not contain that value.
        """
        value = OmegaConf.select(self._node({}), flag.name)
        if isinstance(flag.values, Choice):
            config = self._composer.config(self._fixed)
            for option in flag.values.options:
                if self._composer.config(self.overrides({flag.key: option})) == config:
                    return option
        elif isinstance(value, int | float) and flag.values.holds(value):
            return value
        raise ConfigError(flag.typed)

    def corners(self) -> dict[Values, Job]:
        """Compose and check the corners of the search space and a few random configurations.

        Returns:
            The jobs for the checked configurations.

        Raises:
            ConfigError: a configuration is invalid, or a flag never has an effect.
            TooLarge: the networks of all these configurations are too large; the message reports
                the smallest network.
        """
        jobs: dict[Values, Job] = {}
        too_large: list[TooLarge] = []
        flags_with_effect: set[str] = set()
        for choose in points_to_check(self.flags):
            values = self.values(choose)
            flags_with_effect.update(values)
            point = tuple(values.items())
            if point in jobs:
                continue
            try:
                jobs[point] = self.job(values)
            except TooLarge as e:
                too_large.append(e)

        if not jobs:
            raise min(too_large, key=lambda error: error.parameters)
        for flag in self.flags:
            if flag.key not in flags_with_effect:
                self._raise_no_effect(flag)

        check_one_sweep([job.config for job in jobs.values()])
        seeds = sorted({job.config.seed for job in jobs.values()})
        if len(seeds) > 1:
            raise ConfigError(
                f"seed={','.join(map(str, seeds))}: "
                "must be a single value: the first seed of every trial"
            )
        return jobs

    def _check_size(self, config: Config) -> None:
        """Check that the network of a configuration is not too large.

        Raises:
            TooLarge: the network has more parameters than `max_parameters`.
        """
        if self._max_parameters is None:
            return
        parameters = count_parameters(config)
        if parameters > self._max_parameters:
            raise TooLarge(self._max_parameters, parameters)

    def _raise_no_effect(self, flag: Flag) -> NoReturn:
        """Raise an error that explains why a flag never has an effect.

        Raises:
            ConfigError: in every case.
        """
        groups = [other for other in self.flags if other.group]
        values = {group.key: str(corner_value(group)) for group in groups}
        values[flag.key] = flag.values.text(corner_value(flag))
        # Hydra raises an error if the flag is unknown.
        self._composer.config(self.overrides(values))
        raise ConfigError(f"{flag.typed}: has no effect with any configuration in this search")

    def _accepts_activation(self, options: dict[str, str]) -> bool:
        """Return whether the model accepts an activation, given the options chosen so far."""
        model = _chosen_option(self._node(options), "model", self._code)
        return "activation" in accepted_arguments(model)

    def _node(self, options: dict[str, str]) -> DictConfig:
        """Return the composed configuration with these options of configuration groups."""
        key = tuple(options.values())
        if key not in self._nodes:
            node = self._compose(self.overrides(options))
            sections = [str(section) for section in node if section != "hydra"]
            self._nodes[key] = OmegaConf.masked_copy(node, sections)
        return self._nodes[key]


def _is_accepted(node: DictConfig, flag: Flag, code: Mapping[str, str]) -> bool:
    """Return whether the chosen options contain the flag and their class accepts the flag as a
    keyword.
    """
    if flag.key.startswith("+"):
        return True
    section_name, _, key = flag.name.rpartition(".")
    section: Any = OmegaConf.select(node, section_name) if section_name else node
    if not OmegaConf.is_dict(section) or key not in section:
        return False

    group, _, key_in_group = flag.name.partition(".")
    model_arguments = accepted_arguments(_chosen_option(node, "model", code))
    if group == "activation" and group not in model_arguments:
        return False
    if key == "dropout_rate" and key not in model_arguments:
        return False

    if group not in CLASS_GROUPS or not key_in_group:
        return True
    keyword = key_in_group.partition(".")[0]
    return keyword in keywords(group, _chosen_option(node, group, code))


def _chosen_option(node: DictConfig, group: str, code: Mapping[str, str]) -> Option:
    option = OmegaConf.to_container(node[group], resolve=True)
    assert isinstance(option, dict)
    return with_code_digest({str(key): value for key, value in option.items()}, code)


def _shown_value(flag: Flag, text: str) -> str:
    """Format a value for names and tables. Floating-point numbers are rounded to four significant
    digits.
    """
    if isinstance(flag.values, FloatRange):
        return f"{float(text):.4g}"
    return text
