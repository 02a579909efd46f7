"""lenet_exp: sweeps of LeNet-5 over MNIST-like data. Light to import: torch and mlflow come with first use."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lenet_exp.api import compare, compose, load, search, train

__all__ = ["compare", "compose", "load", "search", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from lenet_exp import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
