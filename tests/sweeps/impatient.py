"""lenet-train, which waits two seconds instead of thirty for a worker that does not end."""

from __future__ import annotations

from lenet_exp.commands import train
from lenet_exp.pool import pool


def main() -> None:
    pool.STOP_SECONDS = 2.0
    train.main()
