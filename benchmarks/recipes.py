"""The published results: which configurations were trained with which seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# no recipe was selected with these seeds; exceptions are stated in search.md
SEEDS = range(300, 320)
# for recipes that extend recipes whose results with the seeds above were known
NEW_SEEDS = range(400, 420)
NEWEST_SEEDS = range(600, 620)  # for recipes of release 0.3


@dataclass(frozen=True, kw_only=True)
class Row:
    """A configuration whose results are published.

    Attributes:
        name: name of the recipe or of the network, without spaces.
        dataset: name of the dataset.
        recipe: recipe in conf/experiment.
        flags: flags that differ from the recipe.
        seeds: the seeds.
        engine: the engine that trains the runs.
    """

    name: str
    dataset: str
    recipe: str
    flags: tuple[str, ...] = ()
    seeds: range = SEEDS
    engine: str = "native"

    @property
    def key(self) -> str:
        """The name and the dataset, which identify the row in the manifest."""
        return f"{self.name} {self.dataset}"

    @property
    def overrides(self) -> list[str]:
        """The overrides for `lenet-train`, without the seed."""
        return [f"experiment={self.recipe}", f"dataset={self.dataset}", *self.flags]


def recipe(name: str, dataset: str, seeds: range = SEEDS, engine: str = "native") -> Row:
    """Return the row of a recipe in conf/experiment."""
    return Row(name=name, dataset=dataset, recipe=name, seeds=seeds, engine=engine)


RECIPES = (
    recipe("ancestor", "mnist"),
    recipe("mnist_99", "mnist", NEWEST_SEEDS),
    recipe("mnist_fast", "mnist"),
    recipe("mnist_best", "mnist"),
    recipe("mnist_final", "mnist", NEW_SEEDS),
    recipe("mnist_10k", "mnist", NEW_SEEDS),
    recipe("mnist_100k", "mnist", NEW_SEEDS),
    recipe("mnist_convnet_2k", "mnist", NEWEST_SEEDS[:10], engine="torch"),
    recipe("mnist_convnet_5k", "mnist", NEWEST_SEEDS[:10], engine="torch"),
    recipe("mnist_convnet_100k", "mnist", NEWEST_SEEDS[:5], engine="torch"),
    recipe("ancestor", "fashion_mnist"),
    recipe("fashion_fast", "fashion_mnist"),
    recipe("fashion_best", "fashion_mnist"),
    recipe("fashion_final", "fashion_mnist", NEW_SEEDS),
    recipe("fashion_10k", "fashion_mnist", NEW_SEEDS),
    recipe("fashion_100k", "fashion_mnist", NEW_SEEDS),
    recipe("fashion_convnet_2k", "fashion_mnist", NEWEST_SEEDS[:10], engine="torch"),
    recipe("fashion_convnet_10k", "fashion_mnist", NEWEST_SEEDS[:10], engine="torch"),
    recipe("fashion_convnet_100k", "fashion_mnist", NEWEST_SEEDS[:5], engine="torch"),
)


def network(
    dataset: str, channels: Sequence[int], units: Sequence[int], kernel_size: int = 5
) -> Row:
    """Return the row of a network on the frontier, which is trained with ten seeds."""
    model = {"channels": list(channels), "units": list(units), "kernel_size": kernel_size}
    flags = [f"model.{name}={value}".replace(" ", "") for name, value in model.items()]
    return Row(
        name=network_name(channels, units, kernel_size),
        dataset=dataset,
        recipe={"mnist": "mnist_best", "fashion_mnist": "fashion_best"}[dataset],
        flags=(*flags, "optimizer.lr=0.1", "num_epoch=40"),
        seeds=SEEDS[:10],
    )


def convnet(channels: Sequence[int], *flags: str) -> Row:
    """Return the row of a convolutional network on the frontier of MNIST, which is trained with ten
    seeds.
    """
    return Row(
        name=network_name(channels, [], 3),
        dataset="mnist",
        recipe="mnist_convnet_2k",
        flags=(f"model.channels={list(channels)}".replace(" ", ""), *flags),
        seeds=NEWEST_SEEDS[:10],
        engine="torch",
    )


ORDINARY = (
    "model.depthwise=false",
    "model.residual=true",
    "optimizer.lr=0.3",
    "regularization.weight_decay=2e-4",
)


def network_name(channels: Sequence[object], units: Sequence[object], kernel_size: object) -> str:
    """Return the name of a network on the frontier."""
    return "_".join(map(str, ["channels", *channels, "units", *units, "kernel", kernel_size]))


FRONTIER = (
    network("mnist", [2, 4], [6, 6]),
    network("mnist", [2, 4], [16, 16]),
    network("mnist", [4, 10], [10, 10], 3),
    network("mnist", [6, 16], [16, 16]),
    network("mnist", [12, 32], [32, 16]),
    network("mnist", [16, 40], [72, 32]),
    convnet([8, 16, 16, 16, 16], *ORDINARY),
    network("fashion_mnist", [2, 4], [6, 6]),
    network("fashion_mnist", [2, 4], [16, 16]),
    network("fashion_mnist", [4, 10], [10, 10]),
    network("fashion_mnist", [8, 16], [14, 14]),
    network("fashion_mnist", [8, 24], [32, 16]),
)
