"""Compares any set of runs, separately for each dataset, because accuracies on different images are
not comparable.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from lenet_exp.comparison.design import Design, design_of
from lenet_exp.comparison.effects import Effects, effects
from lenet_exp.comparison.group import ABSENT, Group, grouped
from lenet_exp.comparison.outliers import far_below
from lenet_exp.comparison.pairs import Replicate
from lenet_exp.comparison.runs import EXECUTION, RECIPE, ComparedRun, from_results
from lenet_exp.comparison.search.summary import SearchSummary, searched
from lenet_exp.comparison.statistics import Difference, against_chosen, against_fixed
from lenet_exp.comparison.studies.interactions import Interactions, interactions
from lenet_exp.comparison.studies.new_images import NewImages, new_images
from lenet_exp.config.class_groups import CLASS_GROUPS, TARGET, VERSION
from lenet_exp.config.metric import Metric, definition
from lenet_exp.config.package_files import config_groups
from lenet_exp.config.params import job_name
from lenet_exp.config.schema import EpochChoice
from lenet_exp.errors import ConfigError
from lenet_exp.folders.records import Record
from lenet_exp.folders.results import JobResult
from lenet_exp.folders.sweep_folder import SweepFolder

SPLIT = "split_seed"
SIZES_DIFFER = (
    1.01  # minimum ratio of numbers of parameters; PReLU's slopes alone are no difference in size
)


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
    """

    dataset: str
    groups: list[Group]
    flags: list[str]
    leads: list[Difference | None]
    leader: Group | None = None
    design: Design = field(default_factory=Design)
    searched: SearchSummary | None = None
    part: str = ""

    @cached_property
    def plain_leads(self) -> list[Difference | None]:
        """The differences from the leader with unmoderated variances, for `part.part_of`; see
        `leads`.
        """
        return _leads(self.groups, None if self.design.picked else self.leader, named=True)

    @property
    def has_trials(self) -> bool:
        """Whether any run is a trial of a search. Pruning determines which trials finish, so they
        fill no grid.
        """
        return self.searched is not None or self.design.trials

    @property
    def not_excluded(self) -> list[Group]:
        """The groups that could be the best: the leader and every group that is not excluded
        (`statistics.pair_tests`).

        Groups that have no result, have a diverged run, or were dropped by a search are excluded.
        """
        pairs = zip(self.groups, self.leads, strict=True)
        found = [
            g for g, lead in pairs if g is self.leader or (lead is not None and not lead.excluded)
        ]
        return [g for g in found if g.stable and _is_left(g, self.design)]

    @property
    def metric(self) -> Metric:
        """The metric by which the runs are compared."""
        return self.groups[0].metric

    @property
    def epoch_choice(self) -> EpochChoice:
        """The epoch whose accuracy was asked for: that of the runs' models, which is `best` by
        default, or the last.
        """
        return self.groups[0].epoch_choice

    @property
    def epoch(self) -> EpochChoice:
        """The epoch whose accuracy is compared; `last` if all runs select their last epoch."""
        selected = {group.flags.get("training.select") for group in self.groups}
        return EpochChoice.last if selected == {EpochChoice.last} else self.epoch_choice

    @property
    def num_runs(self) -> int:
        """The number of runs in all groups."""
        return sum(len(g.runs) for g in self.groups)

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
        found = far_below([list(group.scores.values()) for group in self.groups])
        return [(self.groups[i], list(self.groups[i].accuracy)[run]) for i, run in found]

    @cached_property
    def on_test_set(self) -> list[Group]:
        """The groups with their test accuracies; empty until `lenet-predict` has scored a run."""
        groups = [replace(g, on_test=True) for g in self.groups]
        return groups if any(g.n for g in groups) else []

    @cached_property
    def test_leads(self) -> list[Difference | None]:
        """The differences in test accuracy between the leader and each group; see `leads`.

        The leader was selected by the validation accuracy of the same runs, and a seed that is
        lucky on the validation set tends to be lucky on the test set. The correction therefore
        covers all pairs, unless the leader was selected before these runs, as in a confirmation.
        """
        leader = next(
            (
                its
                for g, its in zip(self.groups, self.on_test_set, strict=False)
                if g is self.leader
            ),
            None,
        )
        return _leads(
            self.on_test_set,
            None if self.design.picked else leader,
            named=self.design.confirms is not None,
        )

    @cached_property
    def new_images(self) -> NewImages | None:
        """Whether the leader's leads hold on new images; None if no lead was tested."""
        leads = zip(self.groups, self.leads, strict=True)
        others = [group for group, lead in leads if lead is not None and lead.test != "none"]
        if self.leader is None or not others:
            return None
        best = self.epoch is EpochChoice.best
        return new_images(
            [self.leader, *others], fixed=self.design.confirms is not None, test_first=best
        )

    @property
    def scored(self) -> bool:
        """Whether every finished run of the leader has a test result."""
        return self.leader is not None and all(
            run.test_accuracy() is not None for run in self.leader.finished
        )

    @cached_property
    def sizes_differ(self) -> bool:
        """Whether the networks of the configurations differ in size."""
        known = [group.parameters for group in self.groups if group.parameters is not None]
        return bool(known) and max(known) > SIZES_DIFFER * min(known)

    def is_baseline(self, group: Group) -> bool:
        """Return whether a group is a confirmation's baseline, which was not part of the confirmed
        sweep.
        """
        return self.design.against and group is not self.leader

    def is_dropped(self, group: Group) -> bool:
        """Return whether a search dropped a group, that is, trains it with no further seeds."""
        return group.n > 0 and not _is_left(group, self.design)

    def values(self, group: Group) -> list[str]:
        """Return a group's values for `flags`; the value is `-` for a flag that has no effect in
        the group.
        """
        return list(map(group.value, self.flags))

    def name(self, group: Group) -> str:
        """Return a short name that consists of a group's values, such as `relu lr=0.1`, or `no
        augmentation.own`.
        """
        return name_of(self.flags, self.values(group)) or (
            f"no {self.flags[0]}" if self.flags else self.dataset
        )


def name_of(flags: Sequence[str], values: Sequence[str]) -> str:
    """Return a short name that consists of the values of flags, without `-`; empty if no flag has
    an effect.
    """
    named = {flag: value for flag, value in zip(flags, values, strict=True) if value != ABSENT}
    return job_name(0, named, set(config_groups())) if named else ""


def compare_sweep(sweep: SweepFolder, results: Sequence[JobResult]) -> list[Comparison]:
    """Compare the runs of a single sweep, given the results of its jobs."""
    plan = sweep.started()
    design, search = design_of(plan, results, sweep), searched(plan, results)
    return compare_runs(from_results(results), plan.swept, design=design, search=search)


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
        by: the epoch whose accuracy is compared.
        design: the decisions made before the first result; None if unknown.
        search: summary of the search that the runs belong to; None for a grid, or if several sweeps
            are compared.

    Raises:
        ConfigError: the runs have several metrics.
    """
    if len(metrics := {definition(run.flags) for run in runs}) > 1:
        raise ConfigError(
            f"several metrics cannot be compared ({'; '.join(sorted(metrics))}); select one with filter="
        )
    by_dataset: dict[str, list[ComparedRun]] = {}
    for run in runs:
        by_dataset.setdefault(run.flags["dataset"], []).append(run)
    found = []
    for dataset, its in by_dataset.items():
        groups = _with_newest_code(_with_recipes(grouped(_configured(its, swept), by)))
        flags, of_dataset = (
            _differing(groups, swept),
            search.of(dataset) if search is not None else None,
        )
        whole = Comparison(
            dataset, groups, flags, leads=[], design=design or Design(), searched=of_dataset
        )
        found.append(with_leader(whole, leader_of(groups, whole.design)))
    return found


def _configured(runs: Sequence[ComparedRun], swept: Sequence[str]) -> list[ComparedRun]:
    """Return the runs with only the flags that define a configuration."""
    without = EXECUTION.difference(swept)
    pooled = SPLIT in swept and len({run.data for run in runs if run.data}) <= 1
    if pooled:
        without = without | {SPLIT}
    return [
        replace(
            run,
            flags={flag: value for flag, value in run.flags.items() if flag not in without},
            split=int(run.flags.get(SPLIT, 0)) if pooled else 0,
        )
        for run in runs
    ]


def leader_of(groups: Sequence[Group], design: Design) -> Group | None:
    """Return the leader of groups, which are sorted by their mean; see `Comparison.leader`."""
    judged = [g for g in groups if g.stable and g.n > 1]
    racing = [
        g for g in judged if _is_left(g, design)
    ]  # configurations that a search dropped have fewer seeds
    most = max((g.n for g in racing), default=0) if design.left is not None else 0
    first = next(iter([*(g for g in racing if g.n >= most), *judged, *groups]), None)
    leader = named_leader(groups, design) or first
    return leader if leader is not None and leader.n else None


def with_leader(comparison: Comparison, leader: Group | None) -> Comparison:
    """Return a comparison of the same groups with a leader."""
    groups, design = comparison.groups, comparison.design
    named = named_leader(groups, design) is not None
    leads = _leads(groups, None if design.picked else leader, named=named)
    return replace(comparison, leader=leader, leads=leads)


def _leads(
    groups: Sequence[Group], leader: Group | None, *, named: bool
) -> list[Difference | None]:
    """Return the difference between the leader and each group; see `Comparison.leads`.

    Args:
        named: whether the leader was selected before these runs, as in a confirmation.
    """
    stable = [g for g in groups if g.stable]
    judged = [g for g in stable if g.n > 1]
    found: dict[Group, Difference] = {}
    if leader in judged and len(judged) > 1:
        others = [g for g in judged if g is not leader]
        scores = [g.scores for g in others]
        images = {g.images for g in judged} if not leader.on_test else set()
        differences = (
            against_fixed(leader.scores, scores)
            if named
            else against_chosen(leader.scores, scores, images.pop() if len(images) == 1 else None)
        )
        if leader.metric.is_accuracy:
            differences = [
                replace(d, low=max(d.low, -1.0), high=min(d.high, 1.0)) for d in differences
            ]
        found = dict(zip(others, differences, strict=True))
    if leader in stable:
        for g in stable:
            if g is not leader and g not in found:  # a group with a single run
                found[g] = Difference(leader.metric.sign * (leader.mean - g.mean), 1)
    return [found.get(g) for g in groups]


def _is_left(group: Group, design: Design) -> bool:
    """Return whether the search kept a group."""
    return design.left is None or any(run.id in design.left for run in group.runs)


def named_leader(groups: Sequence[Group], design: Design) -> Group | None:
    """Return the leader that a confirmation tests; None for other sweeps."""
    if design.confirms is None:
        return None
    return next((g for g in groups if any(run.id == design.leader for run in g.runs)), None)


def _with_recipes(groups: Sequence[Group]) -> list[Group]:
    """Return the groups with the recipe's name added to the flags of each group, if recipes were
    swept for all groups."""
    if not all(run.recipe for g in groups for run in g.runs):
        return list(groups)
    names = [" = ".join(dict.fromkeys(run.recipe for run in g.runs)) for g in groups]
    return [
        replace(g, flags=g.flags | {RECIPE: name}) for g, name in zip(groups, names, strict=True)
    ]


def _with_newest_code(groups: Sequence[Group]) -> list[Group]:
    """Return the groups with the newest version of the user's code marked, if a class has several
    versions.
    """
    for flag in (f"{group}.{VERSION}" for group in CLASS_GROUPS):
        began: dict[str, int] = {}
        for group, run in ((g, run) for g in groups if flag in g.flags for run in g.runs):
            created_ms = run.provenance.created_ms if isinstance(run.provenance, Record) else 0
            began[group.flags[flag]] = max(began.get(group.flags[flag], 0), created_ms)
        newest = max(began, key=lambda version: began[version], default="")
        if len(began) > 1 and all(began.values()):
            marked = {flag: f"{newest} (newest)"}
            groups = [
                replace(g, flags=g.flags | marked) if g.flags.get(flag) == newest else g
                for g in groups
            ]
    return list(groups)


def _differing(groups: Sequence[Group], swept: Sequence[str]) -> list[str]:
    """Return the flags that differ between groups, except flags that merely accompany another flag
    (such as `betas`, which accompanies Adam)."""
    swept = [flag.lstrip("+") for flag in swept]
    known = dict.fromkeys(flag for g in groups for flag in g.flags)
    first = [flag for s in swept for flag in known if flag == s or flag.startswith(f"{s}.")]
    order = list(dict.fromkeys([*first, *known]))
    with_values = {flag: {g.flags[flag] for g in groups if flag in g.flags} for flag in order}
    chosen = [
        f
        for f in order
        if len(with_values[f]) > 1 and (f in swept or not _follows(f, swept, groups))
    ]
    for flag in order:  # flags whose mere presence distinguishes groups
        if (
            flag not in chosen
            and any(flag not in g.flags for g in groups)
            and _kinds(groups, chosen) < len(groups)
        ):
            more = [f for f in order if f in {*chosen, flag}]
            chosen = more if _kinds(groups, more) > _kinds(groups, chosen) else chosen
    if RECIPE in chosen:  # the recipe's name covers flags that differ only because of the recipe
        named = [RECIPE, *(f for f in first if f != RECIPE)]
        chosen = [
            f
            for f in chosen
            if f in named or _kinds(groups, [RECIPE, f]) > _kinds(groups, [RECIPE])
        ]
    return chosen


def _follows(flag: str, swept: Collection[str], groups: Sequence[Group]) -> bool:
    """Return whether a keyword differs only because swept classes differ, such as `model.units` for
    two models.
    """
    group, _, key = ("model" if flag == "regularization.dropout_rate" else flag).partition(
        "."
    )  # some have no dropout
    if (
        "." not in flag
        or group not in CLASS_GROUPS
        or (group not in swept and key not in {TARGET, VERSION})
    ):
        return False
    values: dict[str, set[str]] = {}
    for g in groups:
        if flag in g.flags:
            values.setdefault(g.flags.get(group, ""), set()).add(g.flags[flag])
    return all(len(of_class) == 1 for of_class in values.values())


def _kinds(groups: Sequence[Group], flags: Sequence[str]) -> int:
    return len({tuple(g.flags.get(flag) for flag in flags) for g in groups})
