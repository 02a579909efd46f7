"""Random generators for a run, each with its own stream derived from the seed."""

import hashlib

import torch


def generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a random generator for a single purpose, such as `weights`, `order`, `noise`, or
    `split`.

    Streams are independent: drawing more numbers from one stream, for example with dropout, does
    not change the others.

    Args:
        stream: name of the purpose, which selects the stream.
    """
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
