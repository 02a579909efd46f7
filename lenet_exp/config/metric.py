"""The metric of a run: it chooses the best epoch, and runs are compared, pruned, and stopped by
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lenet_exp.config.class_groups import VERSION, option_name
from lenet_exp.config.schema import Option
from lenet_exp.errors import ConfigError

MAXIMIZE = "maximize"  # direction of a metric by default
DIRECTIONS = (MAXIMIZE, "minimize")
BUILT_IN = ("accuracy", "balanced_accuracy", "loss", "macro_f1")


@dataclass(frozen=True)
class Metric:
    """A description of a metric, without its function.

    Attributes:
        name: name of the metric.
        larger: whether larger values are better.
        percent: whether the values are fractions, which are shown as percentages.
    """

    name: str = "accuracy"
    larger: bool = True
    percent: bool = True

    @classmethod
    def of(cls, option: Option) -> Metric:
        """Return the metric that an option describes."""
        name = option_name(option)
        is_larger_better = option.get("direction", MAXIMIZE) == MAXIMIZE
        percent = option.get("percent", name == cls.name)
        # The params of a run in MLflow contain booleans as text.
        is_percent = str(percent).lower() == "true"
        return cls(name, is_larger_better, is_percent)

    @classmethod
    def of_params(cls, params: Mapping[str, str]) -> Metric:
        """Return the metric that the params of a run in MLflow describe."""
        option = {}
        for name, value in params.items():
            if name.startswith("metric."):
                option[name.removeprefix("metric.")] = value
        option["name"] = params.get("metric", cls.name)
        return cls.of(option)

    def require_points(self, override: str) -> None:
        """Check that the metric's values are compared in percentage points.

        Args:
            override: flag and value that require this, as `flag=value`.

        Raises:
            ConfigError: the metric is not in percent, or smaller values are better.
        """
        if not (self.larger and self.percent):
            raise ConfigError(
                f"{override}: requires a metric in percent, of which larger values are better"
            )

    @property
    def is_accuracy(self) -> bool:
        """Whether this is the default metric, whose limits and chance level are known."""
        return self == Metric()

    @property
    def sign(self) -> int:
        """1 if larger values are better; -1 if smaller values are better."""
        return 1 if self.larger else -1

    @property
    def key(self) -> str:
        """The name of the metric in MLflow, such as `val_accuracy`."""
        return f"val_{self.name}"

    @property
    def label(self) -> str:
        """Title of a table's column or a figure's axis, without the unit, such as ` loss`.

        It is empty for accuracy.
        """
        return "" if self.is_accuracy else f" {self.name}"

    def number(self, value: float, sign: str = "") -> str:
        """Format a value without its unit: `98.04` for a fraction, or `0.1234`.

        Args:
            sign: `+` to add a sign to positive values.
        """
        if not self.percent:
            return f"{value + 0.0:{sign}.4g}"
        return f"{round(value * 100, 2) + 0.0:{sign}.2f}"  # not -0.00

    def text(self, value: float) -> str:
        """Format a value with the metric's name, such as `macro_f1 97.13%` or `loss 0.1234`.

        Accuracy is not named: `98.04%`.
        """
        return f"{self.label} {self.plain(value)}".lstrip()

    def plain(self, value: float) -> str:
        """Format a value with its unit, but without the metric's name: `98.04%`, or `0.1234`."""
        return self.number(value) + "%" * self.percent

    def size(self, difference: float) -> str:
        """Format the size of a difference: `0.23 points`, or `0.0123`."""
        return self.number(abs(difference)) + " points" * self.percent


def definition(params: Mapping[str, str]) -> str:
    """Return how a run's metric is defined. Only values with the same definition are compared.

    If the metric is the loss, its definition contains the loss. The code of an own function is part
    of it unless the network or another class has the same code, because an edit of that class then
    changes both.

    Args:
        params: params of the run, such as `{metric: accuracy, metric.percent: true}`.

    Returns:
        The params that define the metric, such as `metric=accuracy metric.percent=true`.
    """
    groups = {"metric"}
    if params.get("metric") == "loss":
        groups.add("loss")

    defining = {"metric": Metric.name}
    codes_of_other_classes = set[str]()
    for name, value in params.items():
        if name.partition(".")[0] in groups:
            defining[name] = value
        elif name.endswith(f".{VERSION}"):
            codes_of_other_classes.add(value)

    parts = []
    for name, value in sorted(defining.items()):
        is_code = name.endswith(f".{VERSION}")
        if not is_code or value not in codes_of_other_classes:
            parts.append(f"{name}={value}")
    return " ".join(parts)
