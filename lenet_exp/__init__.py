"""Train, sweep, and compare LeNet-5 and other small networks on MNIST-like datasets.

`train` trains a single configuration, `sweep` trains a grid of configurations, and `search`
searches for the best configuration. `compare` reports which configuration won, `contrasts` compares
the values of one flag, averaged over the others, `interactions` tests whether flags interact, and
`predict` evaluates models on the test set. `load` returns a trained network, and `compose` returns
the configuration that `train` would train. All these functions raise `UserError` for errors that
the user can fix.

Importing this package is fast: torch and mlflow are imported on first use.
"""

from typing import TYPE_CHECKING, Any

from lenet_exp.errors import UserError

if TYPE_CHECKING:
    from lenet_exp.api import (
        compare,
        compose,
        contrasts,
        interactions,
        load,
        predict,
        search,
        sweep,
        train,
    )
    from lenet_exp.config.schema import Config
    from lenet_exp.folders.results import RunResult

    __version__: str

__all__ = [
    "Config",
    "RunResult",
    "UserError",
    "__version__",
    "compare",
    "compose",
    "contrasts",
    "interactions",
    "load",
    "predict",
    "search",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("lenet_exp")
    if name == "RunResult":  # importing RunResult loads torch
        from lenet_exp.folders.results import RunResult

        return RunResult
    if name in __all__:
        from lenet_exp import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
