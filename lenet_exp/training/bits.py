"""Properties besides the fingerprint that a run's exact results depend on.

This module does not load torch, so that comparing records is fast.
"""

from __future__ import annotations

from collections.abc import Mapping

from lenet_exp.config.schema import EngineName

WORDS = {"engine_why", "compiled"}  # descriptions in an execution


def bits_depend_on(execution: Mapping[str, str | int], versions: Mapping[str, str]) -> dict[str, str | int]:
    """Return the part of a record's `execution` and `versions` that affects the exact results of its engine.

    Results of the torch engine depend on its entire execution except descriptions, and on torch's version. Results of
    the native engine depend only on its kernels' arithmetic. If torch augmented the images, as in older releases, they
    also depend on everything that affects the torch engine.
    """
    found = {"engine": EngineName.torch.value, **execution}  # older releases had only torch
    if found["engine"] == EngineName.native and found.get("augmentation") != EngineName.torch:
        return {key: found[key] for key in ("engine", "kernel", "augmentation") if key in found}
    found = {key: value for key, value in found.items() if key not in WORDS}
    return found | ({"torch": versions["torch"]} if "torch" in versions else {})
