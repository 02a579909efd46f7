"""Properties that a run's exact results depend on, in addition to its fingerprint.

This module does not import torch, so that comparing records is fast.
"""

from __future__ import annotations

from collections.abc import Mapping

from lenet_exp.config.schema import EngineName

WORDS = {"engine_why", "compiled"}  # entries of `execution` that are only descriptions


def bits_depend_on(execution: Mapping[str, str | int], versions: Mapping[str, str]) -> dict[str, str | int]:
    """Return the entries of a record's `execution` and `versions` that affect the run's exact results.

    Results of the torch engine depend on torch's version and on all entries of `execution` except descriptions. Results
    of the native engine depend only on its kernels' arithmetic.
    """
    found = {"engine": EngineName.torch.value, **execution}  # release 0.1 had only this engine
    if found["engine"] == EngineName.native:
        return {key: found[key] for key in ("engine", "kernel", "augmentation") if key in found}
    found = {key: value for key, value in found.items() if key not in WORDS}
    return found | ({"torch": versions["torch"]} if "torch" in versions else {})
