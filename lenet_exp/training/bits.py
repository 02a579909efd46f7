"""On what the bits of a run depend besides its fingerprint. Without torch: who compares records need not load it."""

from __future__ import annotations

from collections.abc import Mapping

from lenet_exp.config.schema import EngineName

WORDS = {"engine_why", "compiled"}  # of an execution: for people


def bits_depend_on(execution: Mapping[str, str | int], versions: Mapping[str, str]) -> dict[str, str | int]:
    """The part of a record's `execution` and `versions` on which its engine's bits depend.

    torch's: on all of its execution but for words, and on its own version. The native one's: on the arithmetic of its
    kernels alone; where torch augmented the images, as an older release had it, on all of that as well.
    """
    found = {"engine": EngineName.torch.value, **execution}  # before there was a choice, it was torch
    if found["engine"] == EngineName.native and found.get("augmentation") != EngineName.torch:
        return {key: found[key] for key in ("engine", "kernel", "augmentation") if key in found}
    found = {key: value for key, value in found.items() if key not in WORDS}
    return found | ({"torch": versions["torch"]} if "torch" in versions else {})
