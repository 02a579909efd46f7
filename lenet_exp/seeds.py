"""Generators for every random choice of a run, each from its own stream of the seed."""

import hashlib

import torch


def generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose (`weights`, `order`, `noise`, `split`).

    Streams are independent: one that draws more or less (dropout on or off) leaves the others as they are.
    """
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
