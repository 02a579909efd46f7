"""Compares any set of runs, separately for each dataset, because accuracies on different images are
not comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from lenet_exp.comparison.design import Design, RaceDesign, design_of
from lenet_exp.comparison.differing_flags import differing_flags, with_newest_code, with_recipes
from lenet_exp.comparison.effects import Effects, effects
from lenet_exp.comparison.group import ABSENT, Group, grouped
from lenet_exp.comparison.leader import choose_leader, is_remaining, leads_over, tested_leader
from lenet_exp.comparison.race import (
    CandidateState,
    SweepRace,
    in_order_of_race,
    sweep_race,
    with_listed_seeds,
)
from lenet_exp.comparison.runs import ComparedRun, from_results
from lenet_exp.comparison.search.summary import SearchSummary, searched
from lenet_exp.comparison.statistics.differences import Difference
from lenet_exp.comparison.statistics.outliers import far_below
from lenet_exp.comparison.statistics.pairs import Replicate
from lenet_exp.comparison.studies.interactions import Interactions, interactions
from lenet_exp.comparison.studies.new_images import NewImages, new_images
from lenet_exp.config.metric import Metric, definition
from lenet_exp.config.params import job_name
from lenet_exp.config.schema import EXECUTION_FLAGS, EpochChoice
from lenet_exp.errors import ConfigError
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_folder import SweepFolder
from lenet_exp.package_files import config_groups

SPLIT = "split_seed"

# The minimum ratio of numbers of parameters that counts as a difference in size. PReLU's slopes
# alone are below it.
SIZES_DIFFER = 1.01


@dataclass(frozen=True)
class Comparison:
    """A comparison of the configurations that were trained on one dataset.

    Attributes:
        dataset: name of the dataset.
        groups: the configurations with their runs, best mean first. Configurations with diverged
            runs rank last, regardless of their other runs.
        flags: the flags that differ between groups, swept flags first. If recipes were swept,
            `experiment` replaces every flag that follows from the recipe.
        leads: for each group, the difference between the leader and the group; None for the leader
            itself and for groups that have no finished runs or have diverged runs.
        leader: the best group with two or more replicates, or the first group if there is no such
            group; None if no run finished. In a confirmation, the leader being tested.
        design: the decisions made before the first result; the default if unknown.
        searched: summary of the search that the runs belong to; None for a grid, or if several
            sweeps are compared.
        part: description of the configurations, if they are a part of a comparison; otherwise,
            empty.
        race: the race of the configurations (`sweep.within`); None for other sweeps. The groups
            then have only the runs with the listed seeds, because runs that were added depending on
            results would bias every other statistic. Its candidates are keyed by these groups.
    """

    dataset: str
    groups: list[Group]
    flags: list[str]
    leads: list[Difference | None]
    leader: Group | None = None
    design: Design = field(default_factory=Design)
    searched: SearchSummary | None = None
    part: str = ""
    race: SweepRace | None = None

    @cached_property
    def plain_leads(self) -> list[Difference | None]:
        """The differences from the leader with unmoderated variances, for `part.part_of`; see
        `leads`.
        """
        return leads_over(self.groups, self.leader, self.design, fixed=True)

    @property
    def has_trials(self) -> bool:
        """Whether any run is a trial of a search. Pruning determines which trials finish, so they
        fill no grid.
        """
        return self.searched is not None or self.design.has_trials

    @property
    def not_excluded(self) -> list[Group]:
        """The groups that could be the best: the leader and every group that is not excluded
        (`leader_tests.pair_tests`, or the race).

        Groups that have no result, have a diverged run, or were dropped by a search are excluded.
        """
        if self.race is not None and self.race.leader is not None:
            states = (CandidateState.leader, CandidateState.open)
            candidates = self.race.candidates
            return [group for group in self.groups if candidates[group].state in states]

        leads = zip(self.groups, self.leads, strict=True)
        return [group for group, lead in leads if not self._is_excluded(group, lead)]

    def _is_excluded(self, group: Group, lead: Difference | None) -> bool:
        if not group.stable or not is_remaining(group, self.design):
            return True
        if group is self.leader:
            return False
        return lead is None or lead.excluded

    @property
    def metric(self) -> Metric:
        """The metric by which the runs are compared."""
        return self.groups[0].metric

    @property
    def epoch_choice(self) -> EpochChoice:
        """The epoch whose accuracy was requested (`by=`): by default, the best epoch."""
        return self.groups[0].epoch_choice

    @property
    def epoch(self) -> EpochChoice:
        """The epoch whose accuracy is compared; `last` if all runs select their last epoch."""
        selected = {group.flags.get("training.select") for group in self.groups}
        if selected == {EpochChoice.last}:
            return EpochChoice.last
        return self.epoch_choice

    @property
    def num_runs(self) -> int:
        """The number of runs in all groups."""
        return sum(len(group.runs) for group in self.groups_with_all_runs)

    def judged_group(self, position: int) -> Group:
        """Return the group at a position in the ranking with the runs by which it is judged: in a
        race, those of the last look.
        """
        group = self.groups[position]
        return group if self.race is None else self.race.candidates[group].group

    @property
    def groups_with_all_runs(self) -> list[Group]:
        """The groups with all their runs, also those that a race added."""
        if self.race is None:
            return self.groups
        return [self.race.candidates[group].trained for group in self.groups]

    @cached_property
    def effects(self) -> Effects:
        """The effects of the flags that differ between groups."""
        return effects(self.groups, self.flags)

    @cached_property
    def interactions(self) -> Interactions | None:
        """The interactions between the flags that differ between groups.

        None if there are fewer than two flags or three seeds, and for a search, because pruning
        determines which trials finish.
        """
        return None if self.has_trials else interactions(self.groups, self.flags)

    @cached_property
    def outliers(self) -> list[tuple[Group, Replicate]]:
        """The runs far below the other runs of their configuration, as pairs of group and
        replicate.
        """
        scores = [list(group.scores.values()) for group in self.groups]
        outliers = []
        for group_position, run_position in far_below(scores):
            group = self.groups[group_position]
            replicates = list(group.accuracy)
            outliers.append((group, replicates[run_position]))
        return outliers

    @cached_property
    def on_test_set(self) -> list[Group]:
        """The groups with their test accuracies; empty until `lenet-predict` has scored a run. In a
        race, each group has the runs of the last look.
        """
        judged = [self.judged_group(position) for position in range(len(self.groups))]
        tested = [replace(group, on_test=True) for group in judged]
        return tested if any(group.n for group in tested) else []

    @cached_property
    def test_leads(self) -> list[Difference | None]:
        """The differences in test accuracy between the leader and each group; see `leads`.

        The leader was selected by the validation accuracy of the same runs, and a seed that is
        lucky on the validation set tends to be lucky on the test set. The correction therefore
        covers all pairs, unless the leader was selected before these runs, as in a confirmation.
        Like all tests of pairs, they use the listed seeds of a race only.
        """
        if not self.on_test_set:
            return []
        tested = [replace(group, on_test=True) for group in self.groups]
        leader = None
        for group, tested_group in zip(self.groups, tested, strict=True):
            if group is self.leader:
                leader = tested_group

        is_confirmation = self.design.confirms is not None
        return leads_over(tested, leader, self.design, fixed=is_confirmation)

    @cached_property
    def new_images(self) -> NewImages | None:
        """Whether the leader's leads hold on new images; None if no lead was tested."""
        leads = zip(self.groups, self.leads, strict=True)
        others = [group for group, lead in leads if lead is not None and lead.test != "none"]
        if self.leader is None or not others:
            return None

        return new_images(
            [self.leader, *others],
            fixed=self.design.confirms is not None,
            test_first=self.epoch is EpochChoice.best,
        )

    @property
    def scored(self) -> bool:
        """Whether every finished run of the leader has a test result."""
        if self.leader is None:
            return False
        return all(run.test_accuracy() is not None for run in self.leader.finished)

    @cached_property
    def sizes_differ(self) -> bool:
        """Whether the networks of the configurations differ in size."""
        sizes = [group.parameters for group in self.groups if group.parameters is not None]
        return bool(sizes) and max(sizes) > SIZES_DIFFER * min(sizes)

    def is_baseline(self, group: Group) -> bool:
        """Return whether a group is a confirmation's baseline, which was not part of the confirmed
        sweep.
        """
        return self.design.has_baseline and group is not self.leader

    def is_dropped(self, group: Group) -> bool:
        """Return whether a search dropped a group, that is, trains it with no further seeds."""
        return group.n > 0 and not is_remaining(group, self.design)

    def values(self, group: Group) -> list[str]:
        """Return a group's values for `flags`; the value is `-` for a flag that has no effect in
        the group.
        """
        return [group.value(flag) for flag in self.flags]

    def name(self, group: Group) -> str:
        """Return a short name that consists of a group's values, such as `relu lr=0.1`, or `no
        augmentation.own`.
        """
        if not self.flags:
            return self.dataset
        return name_of(self.flags, self.values(group)) or f"no {self.flags[0]}"


def name_of(flags: Sequence[str], values: Sequence[str]) -> str:
    """Return a short name that consists of the values of flags, without `-`; empty if no flag has
    an effect.
    """
    value_of_flag = dict(zip(flags, values, strict=True))
    present = {flag: value for flag, value in value_of_flag.items() if value != ABSENT}
    return job_name(0, present, set(config_groups())) if present else ""


def compare_sweep(sweep: SweepFolder, results: Sequence[JobResult]) -> list[Comparison]:
    """Compare the runs of a single sweep, given the results of its jobs."""
    plan = sweep.started()
    return compare_runs(
        from_results(results),
        plan.swept,
        design=design_of(plan, results, sweep),
        search=searched(plan, results),
    )


def compare_runs(
    runs: Sequence[ComparedRun],
    swept: Sequence[str] = (),
    by: EpochChoice = EpochChoice.best,
    design: Design | None = None,
    search: SearchSummary | None = None,
) -> list[Comparison]:
    """Compare runs separately for each dataset, and return the comparisons in the order in which
    the datasets appear.

    Args:
        swept: the swept flags, which are listed first. Execution flags distinguish configurations
            only if they were swept. A swept split does not distinguish configurations; like the
            seed, it is a source of random variation.
        by: the epoch whose accuracy is compared. A race judges the best epoch, so that another one
            is compared over the listed seeds.
        design: the decisions made before the first result; None if unknown.
        search: summary of the search that the runs belong to; None for a grid, or if several sweeps
            are compared.

    Raises:
        ConfigError: the runs have several metrics.
    """
    _check_same_metric(runs)
    design = design or Design()
    runs_by_dataset: dict[str, list[ComparedRun]] = {}
    for run in runs:
        runs_by_dataset.setdefault(run.flags["dataset"], []).append(run)

    comparisons = []
    for dataset, runs_on_dataset in runs_by_dataset.items():
        configured_runs = _configured(runs_on_dataset, swept)
        if design.race is not None and by is not EpochChoice.best:
            configured_runs = with_listed_seeds(configured_runs, design.race)
        groups = grouped(configured_runs, by)
        groups = with_newest_code(with_recipes(groups))
        race = None
        if design.race is not None and by is EpochChoice.best:
            groups, race = _raced(groups, runs_on_dataset, design.race)
        comparison = Comparison(
            dataset,
            groups,
            differing_flags(groups, swept),
            leads=[],
            design=design,
            searched=None if search is None else search.of(dataset),
            race=race,
        )
        leader = choose_leader(groups, design)
        if race is not None and race.leader is not None:
            leader = groups[0]
        comparisons.append(with_leader(comparison, leader))
    return comparisons


def _raced(
    groups: Sequence[Group], runs: Sequence[ComparedRun], design: RaceDesign
) -> tuple[list[Group], SweepRace]:
    """Return the groups of a race with only the runs of the listed seeds, and the race, whose
    candidates are keyed by these groups.

    Args:
        groups: the groups with all runs.
        runs: the runs in the order of the sweep's jobs.
    """
    position_of = {run.id: position for position, run in enumerate(runs)}
    in_order_of_jobs = sorted(
        groups, key=lambda group: min(position_of[run.id] for run in group.runs)
    )
    race = sweep_race(in_order_of_jobs, design)

    listed: dict[Group, Group] = {}
    for group in in_order_of_race(in_order_of_jobs, race):
        listed[group] = replace(group, runs=with_listed_seeds(group.runs, design))
    return list(listed.values()), race.with_groups(listed)


def _check_same_metric(runs: Sequence[ComparedRun]) -> None:
    metrics = {definition(run.flags) for run in runs}
    if len(metrics) > 1:
        names = "; ".join(sorted(metrics))
        raise ConfigError(f"several metrics cannot be compared ({names}); select one with filter=")


def _configured(runs: Sequence[ComparedRun], swept: Sequence[str]) -> list[ComparedRun]:
    """Return the runs with only the flags that define a configuration.

    If the split was swept, it is moved from the flags to `ComparedRun.split`, so that splits are
    replicates. Runs on other data files stay apart, because their splits hold other images.
    """
    data_versions = {run.data for run in runs if run.data}
    splits_are_replicates = SPLIT in swept and len(data_versions) <= 1

    omitted = EXECUTION_FLAGS.difference(swept)
    if splits_are_replicates:
        omitted = omitted | {SPLIT}

    configured = []
    for run in runs:
        flags = {flag: value for flag, value in run.flags.items() if flag not in omitted}
        split = 0
        if splits_are_replicates:
            split = int(run.flags.get(SPLIT, 0))
        configured.append(replace(run, flags=flags, split=split))
    return configured


def with_leader(comparison: Comparison, leader: Group | None) -> Comparison:
    """Return a comparison of the same groups with a leader."""
    groups = comparison.groups
    design = comparison.design
    is_confirmation = tested_leader(groups, design) is not None
    leads = leads_over(groups, leader, design, fixed=is_confirmation)
    return replace(comparison, leader=leader, leads=leads)
