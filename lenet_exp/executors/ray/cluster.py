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
from lenet_exp.executors.slot_process import SlotProcess
from lenet_exp.machine import cpu_count

REACH_SECONDS = 10.0  # maximum time to connect to the cluster's address
NAMESPACE = "lenet_exp"
# Maximum number of concurrent calls to an actor: `start` or `answer`, `stop`, and `close`.
AT_ONCE = 4

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
        actor: Ray actor class of a job slot, which is a process that runs one job at a time. The
            class's `remote` method requires a `ray.put` reference to a `PortableWork`. Ray starts
            the actor once a node has enough free resources.

    Raises:
        ConfigError: the cluster cannot be reached, no node has the resources for a run, or GPUs are
            requested but this machine has no GPU.
    """

    def __init__(self, options: RayOptions) -> None:
        if options.gpus and not torch.cuda.is_available():
            raise ConfigError(
                f"hydra.launcher.gpus={options.gpus:g}: no GPU on this machine; "
                "the device is selected where the command runs, so run it on a node that has a GPU"
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
        """Return the number of simultaneous runs that fit on the cluster's nodes.

        Other users of the nodes are ignored.
        """
        return sum(self._fits(node) for node in _nodes())

    def _fits(self, node: dict[str, float]) -> int:
        """Return the number of runs that fit on a node with these resources."""
        ratios = [node.get(name, 0.0) / value for name, value in self._needs.items() if value]
        if not ratios:
            return cpu_count()
        return math.floor(min(ratios) + 1e-9)  # tolerate rounding errors in fractions of GPUs


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
    arguments = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "namespace": NAMESPACE,
        "address": address,
    }
    problem = f"hydra.launcher.address={address}: no Ray cluster found at this address"
    if address is None:  # With address=None, Ray would use RAY_ADDRESS or a running cluster.
        arguments |= {"address": "local", "num_cpus": cpu_count(), "include_dashboard": False}
        problem = "hydra/launcher=cluster_ray: cannot start Ray on this machine"

    try:
        _check_reachable(address)
        ray.init(**arguments | options.init)
    except (OSError, RuntimeError, ValueError) as e:
        raise ConfigError(f"{problem} ({first_line(e)})") from e


def _check_reachable(address: str | None) -> None:
    """Connect to the address once, because Ray would retry for minutes.

    Raises:
        OSError: the address cannot be reached.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), REACH_SECONDS).close()


def _nodes() -> list[dict[str, float]]:
    """Return the resources of the nodes that are alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _no_room(needs: dict[str, float], nodes: list[dict[str, float]]) -> str:
    """Return the message that no node has the resources for a run."""
    required = {name: value for name, value in needs.items() if value}
    largest = {}
    for name in required:
        largest[name] = max((node.get(name, 0.0) for node in nodes), default=0.0)
    return (
        f"hydra/launcher=cluster_ray: each run requires {_listed(required)}, "
        f"but no node has more than {_listed(largest)}"
    )


def _listed(resources: dict[str, float]) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in resources.items())
