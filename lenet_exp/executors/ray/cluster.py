"""Connects to a Ray cluster, and determines how many runs fit on its nodes."""

from __future__ import annotations

import logging
import math
import socket
from dataclasses import dataclass
from typing import Any

import ray
import torch

from lenet_exp.errors import ConfigError, first_line
from lenet_exp.executors.host import SlotProcess
from lenet_exp.machine import cpu_count

REACH_SECONDS = 10.0  # maximum time to connect to the cluster's address
NAMESPACE = "lenet_exp"
AT_ONCE = (
    4  # maximum number of concurrent calls to an actor: `start` or `answer`, `stop`, and `close`
)

log = logging.getLogger("lenet_exp")


@dataclass(frozen=True)
class RayOptions:
    """Options of the Ray launcher (`hydra.launcher.*`).

    Attributes:
        address: address of a cluster (`auto`, host:port, or ray://host:port); None to start Ray on
            this machine.
        workers: maximum number of simultaneous runs; None for as many as fit on the cluster.
        cpus, gpus: number of CPUs and number of GPUs per run; the number of GPUs can be a fraction.
        memory: memory per run, in bytes; None for no requirement.
        resources: custom Ray resources per run, keyed by name.
        init: additional arguments for `ray.init`.
    """

    address: str | None
    workers: int | None
    cpus: float
    gpus: float
    memory: int | None
    resources: dict[str, float]
    init: dict[str, Any]


class Cluster:
    """A connection to a Ray cluster. Each process has at most one connection.

    Args:
        options: options of the launcher.

    Attributes:
        actor: Ray actor class of a place, which is a process that runs one job at a time. The
            class's `remote` method requires a `ray.put` reference to a `PortableWork`. Ray starts
            the actor once a node has enough free resources.

    Raises:
        ConfigError: the cluster cannot be reached, no node has the resources for a run, or GPUs are
            requested but this machine has no GPU.
    """

    def __init__(self, options: RayOptions) -> None:
        if options.gpus and not torch.cuda.is_available():
            raise ConfigError(
                f"hydra.launcher.gpus={options.gpus:g}: no GPU on this machine; the device is selected where the "
                "command runs, so run it on a node that has a GPU"
            )
        # The keys are Ray's names for resources.
        self._needs = {
            "CPU": options.cpus,
            "GPU": options.gpus,
            "memory": options.memory or 0,
            **options.resources,
        }
        self.actor = _actor(options)
        _connect(options)
        nodes = _nodes()
        if not any(node.get("CPU") for node in nodes):  # an autoscaler may add nodes
            log.warning(
                "hydra/launcher=cluster_ray: waiting for a node with CPUs to join the cluster"
            )
        elif not any(self._fits(node) for node in nodes):
            ray.shutdown()
            raise ConfigError(_no_room(self._needs, nodes))

    def room(self) -> int:
        """Return the number of simultaneous runs that fit on the cluster's nodes if no one else
        uses them.
        """
        return sum(self._fits(node) for node in _nodes())

    def _fits(self, node: dict[str, float]) -> int:
        shares = [node.get(name, 0.0) / value for name, value in self._needs.items() if value]
        return math.floor(min(shares) + 1e-9) if shares else cpu_count()


def _actor(options: RayOptions) -> Any:
    try:
        return ray.remote(SlotProcess).options(
            num_cpus=options.cpus,
            num_gpus=options.gpus,
            memory=options.memory,
            resources=options.resources or None,
            max_concurrency=AT_ONCE,
            max_restarts=0,
        )
    except ValueError as e:
        raise ConfigError(f"hydra.launcher.*: invalid resources for a run ({first_line(e)})") from e


def _connect(options: RayOptions) -> None:
    if ray.is_initialized() and ray.get_runtime_context().namespace == NAMESPACE:
        return  # `check` has already connected
    address = options.address
    given = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "namespace": NAMESPACE,
        "address": address,
    }
    wrong = f"hydra.launcher.address={address}: no Ray cluster found at this address"
    if address is None:  # With address=None, Ray would use RAY_ADDRESS or a running cluster.
        given |= {"address": "local", "num_cpus": cpu_count(), "include_dashboard": False}
        wrong = "hydra/launcher=cluster_ray: cannot start Ray on this machine"
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdigit():  # fail early, because Ray would retry for minutes
            socket.create_connection((host, int(port)), REACH_SECONDS).close()
        ray.init(**given | options.init)
    except (OSError, RuntimeError, ValueError) as e:
        raise ConfigError(f"{wrong} ({first_line(e)})") from e


def _nodes() -> list[dict[str, float]]:
    """Return the resources of the nodes that are alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _no_room(needs: dict[str, float], nodes: list[dict[str, float]]) -> str:
    asked = {name: value for name, value in needs.items() if value}
    most = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in asked}
    wanted, have = (
        ", ".join(f"{name}={value:g}" for name, value in found.items()) for found in (asked, most)
    )
    return (
        f"hydra/launcher=cluster_ray: each run requires {wanted}, but no node has more than {have}"
    )
