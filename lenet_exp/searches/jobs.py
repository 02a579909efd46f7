"""Creates the jobs of a search: determines which flags have an effect, checks extreme
configurations, and builds a job for each trial."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lenet_exp.comparison.group import ABSENT
from lenet_exp.config.class_groups import CLASS_GROUPS
from lenet_exp.config.fast_compose import Compose, FastComposer
from lenet_exp.config.own_code import with_code, with_code_digest
from lenet_exp.config.package_files import config_groups
from lenet_exp.config.params import job_name
from lenet_exp.config.schema import Config, Option, all_flags, has_effect
from lenet_exp.config.search import without_search
from lenet_exp.config.space import Choice, Flag, FloatRange
from lenet_exp.config.targets import accepted_arguments, keywords
from lenet_exp.errors import ConfigError
from lenet_exp.folders.job import Job
from lenet_exp.runs.initial_weights import find_weights
from lenet_exp.runs.jobs import freeze_jobs
from lenet_exp.searches.trials import Baseline, Choose, TooLarge
from lenet_exp.sweeps.checks import check_jobs, check_one_sweep
from lenet_exp.training.network import count_parameters

MOST_CORNERS = 32  # maximum number of pairs of corners to check
SAMPLE = 8  # number of random configurations to check in addition to the corners
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
        self._max_parameters, self._code = max_parameters, code
        self._compose = compose
        self._quick = FastComposer(lambda overrides: without_search(compose(overrides)))
        self._fixed = list(fixed)
        self.flags = list(flags)
        self._nodes: dict[tuple[str, ...], DictConfig] = {}
        self._find = cache(find_weights)  # a champion can change during the search
        self._only_with = {
            name: f for name, _, f in all_flags() if f.metadata["only_with"] is not None
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
        found: dict[str, str] = {}
        options = [flag for flag in self.flags if flag.group]
        # The model is chosen first, because some models accept no activation.
        for flag in sorted(options, key=lambda flag: flag.name != "model"):
            if flag.name != "activation" or "activation" in accepted_arguments(
                _option(self._node(found), "model", self._code)
            ):
                found[flag.key] = flag.values.text(choose(flag))
        node = self._node(found)
        there = [
            flag for flag in self.flags if not flag.group and _is_there(node, flag, self._code)
        ]
        free = [flag for flag in there if flag.name not in self._only_with]
        found |= {flag.key: flag.values.text(choose(flag)) for flag in free}
        bound = [flag for flag in there if flag.name in self._only_with]
        if bound:
            config = self._quick.config(self.overrides(found))
            bound = [flag for flag in bound if has_effect(config, self._only_with[flag.name])]
        found |= {flag.key: flag.values.text(choose(flag)) for flag in bound}
        return {flag.key: found[flag.key] for flag in self.flags if flag.key in found}

    def overrides(self, values: dict[str, str]) -> list[str]:
        """Return the overrides of a trial with these values."""
        return [*self._fixed, *(f"{key}={text}" for key, text in values.items())]

    def config(self, values: dict[str, str]) -> Config:
        """Return the configuration of a trial with these values.

        Raises:
            TooLarge: the configuration's network has more parameters than `max_parameters`.
            ConfigError: the configuration cannot be composed or is invalid.
        """
        try:
            overrides = self.overrides(values)
            config = with_code(self._quick.config(overrides), self._code)
            if (most := self._max_parameters) is not None and (
                parameters := count_parameters(config)
            ) > most:
                raise TooLarge(most, parameters)
            check_jobs([overrides], [config])
        except TooLarge:
            raise
        except ConfigError as e:
            given = " ".join(f"{key}={text}" for key, text in values.items())
            raise ConfigError(f"{e} (with {given})") from e
        return config

    def job(self, values: dict[str, str], seed: int | None = None) -> Job:
        """Return the job of a trial with these values.

        The sweep assigns the job's number later.

        Args:
            seed: seed to use instead of the seed that all trials share; None to use the shared
                seed.
        """
        config, overrides = self.config(values), self.overrides(values)
        if seed is not None:
            overrides = [*(o for o in overrides if not o.startswith("seed=")), f"seed={seed}"]
            config = replace(config, seed=seed)
        (job,) = freeze_jobs([], [overrides], [config], self._find)
        short = {
            flag.name: _short(flag, values[flag.key]) for flag in self.flags if flag.key in values
        }
        name = job_name(job.number, short, set(config_groups()))
        swept = {flag.name: short.get(flag.name, ABSENT) for flag in self.flags}
        return replace(job, name=name if seed is None else f"{name} seed={seed}", swept=swept)

    def baseline(self) -> Baseline | None:
        """Return the default values of the searched flags; None if the search space does not
        contain them.
        """
        found: Baseline = {}
        try:
            values = self.values(
                lambda flag: found.setdefault(flag.name, self._baseline_value(flag))
            )
            same = self.job(values).run == self.job({}).run
        except ConfigError:
            return None
        return found if same else None

    def _baseline_value(self, flag: Flag) -> object:
        """Return the value that a flag has when it is not searched.

        Raises:
            ConfigError: the search space does not contain that value.
        """
        values, value = flag.values, OmegaConf.select(self._node({}), flag.name)
        if isinstance(values, Choice):
            baseline = self._quick.config(self._fixed)
            for option in values.options:
                if self._quick.config(self.overrides({flag.key: option})) == baseline:
                    return option
        elif isinstance(value, int | float) and values.holds(value):
            return value
        raise ConfigError(flag.typed)

    def corners(self) -> dict[Values, Job]:
        """Compose and check the corners of the search space and a few random configurations.

        The corners include every option of every choice, once with all numbers at their low ends
        and once with all numbers at their high ends.

        Returns:
            The jobs for the checked configurations.

        Raises:
            ConfigError: a configuration is invalid, or a flag never has an effect.
            TooLarge: the networks of all these configurations are too large; the message reports
                the smallest network.
        """
        too_large: list[TooLarge] = []
        found: dict[Values, Job] = {}
        seen: set[str] = set()
        for choose in self._points():
            values = self.values(choose)
            seen.update(values)
            if tuple(values.items()) not in found:
                try:
                    found[tuple(values.items())] = self.job(values)
                except TooLarge as e:
                    too_large.append(e)
        if not found:
            raise min(too_large, key=lambda e: e.parameters)
        for flag in self.flags:
            if flag.key not in seen:
                self._refuse(flag)
        check_one_sweep([job.config for job in found.values()])
        seeds = {job.config.seed for job in found.values()}
        if len(seeds) > 1:
            raise ConfigError(
                f"seed={','.join(map(str, sorted(seeds)))}: must be a single value: the first seed of every trial"
            )
        return found

    def _points(self) -> Iterator[Choose]:
        most = max(
            (len(f.values.options) for f in self.flags if isinstance(f.values, Choice)), default=1
        )
        for n in range(min(most, MOST_CORNERS)):
            for end in (0, -1):
                yield lambda flag, n=n, end=end: _end(flag, n, end)  # type: ignore[misc]
        drawn = random.Random(0)
        for _ in range(SAMPLE):
            yield lambda flag: _drawn(flag, drawn)

    def _refuse(self, flag: Flag) -> None:
        """Raise an error that explains why a flag never has an effect.

        Raises:
            ConfigError: in every case.
        """
        options = {f.key: _end(f, 0, 0) for f in self.flags if f.group}
        values = {key: str(text) for key, text in options.items()} | {
            flag.key: flag.values.text(_end(flag, 0, 0))
        }
        self._quick.config(self.overrides(values))  # Hydra raises an error if the flag is unknown
        raise ConfigError(f"{flag.typed}: has no effect with any configuration in this search")

    def _node(self, options: dict[str, str]) -> DictConfig:
        which = tuple(options.values())
        if which not in self._nodes:
            node = self._compose(self.overrides(options))
            self._nodes[which] = OmegaConf.masked_copy(
                node, [str(key) for key in node if key != "hydra"]
            )
        return self._nodes[which]


def _is_there(node: DictConfig, flag: Flag, code: Mapping[str, str]) -> bool:
    """Return whether the chosen options contain the flag and their class accepts the flag as a
    keyword.
    """
    if flag.key.startswith("+"):
        return True
    group, _, key = flag.name.partition(".")
    section, last = (flag.name.rpartition(".")[i] for i in (0, 2))
    parent: Any = OmegaConf.select(node, section) if section else node
    if not OmegaConf.is_dict(parent) or last not in parent:
        return False
    accepted = accepted_arguments(_option(node, "model", code))
    if (group == "activation" and group not in accepted) or (
        last == "dropout_rate" and last not in accepted
    ):
        return False
    if group not in CLASS_GROUPS or not key:
        return True
    return key.partition(".")[0] in keywords(group, _option(node, group, code))


def _option(node: DictConfig, group: str, code: Mapping[str, str]) -> Option:
    option = OmegaConf.to_container(node[group], resolve=True)
    assert isinstance(option, dict)
    return with_code_digest({str(k): v for k, v in option.items()}, code)


def _end(flag: Flag, n: int, end: int) -> object:
    return flag.ends[n % len(flag.ends)] if isinstance(flag.values, Choice) else flag.ends[end]


def _drawn(flag: Flag, drawn: random.Random) -> object:
    values = flag.values
    if isinstance(values, Choice):
        return drawn.choice(values.options)
    low, high = values.low, values.high
    if isinstance(values, FloatRange) and values.step is None:
        share = drawn.random()
        return low * (high / low) ** share if values.log else drawn.uniform(low, high)
    step = values.step or 1
    return low + step * drawn.randint(0, round((high - low) / step))


def _short(flag: Flag, text: str) -> str:
    """Format a value for names and tables. Floating-point numbers are rounded to four significant
    digits.
    """
    return f"{float(text):.4g}" if isinstance(flag.values, FloatRange) else text
