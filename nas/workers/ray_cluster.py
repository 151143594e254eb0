"""Workers on a Ray cluster: one that is there already, or one for this command alone."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from math import ceil
from typing import Any

from nas.errors import NasError, shown
from nas.extras import require
from nas.text import integer
from nas.workers.contract import Task, one_line
from nas.workers.cores import n_cores
from nas.workers.crew import MAX_WORKERS, checked_timeout
from nas.workers.ray_workers import RayWorkers
from nas.workers.remote import Remote

ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux too: no other address than the loopback's
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""For a cluster of this command's own; Ray reads the first when it is imported."""
CONNECT_SECONDS = 5.0
STORE_BYTES = 100 * 2**20
"""Of shared memory for a cluster of this command's own; what is handed over is text."""


class RayCluster:
    """Chooses workers that Ray places on a cluster.

    Args:
        address: of the cluster, `host:port`, `auto` for the one that runs here, or `ray://...`;
            None starts one on this machine, which no other can reach and which ends with the
            command.
        n: workers; None: as many as the cluster has cores for.
        cpus: cores that one worker takes; a share, such as 0.5, is allowed.
        gpus: likewise GPUs.
        timeout_s: seconds that a job may take, after which its worker is killed; None: any.

    Raises:
        NasError: an option out of its bounds.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        n: int | None = None,
        cpus: float = 1,
        gpus: float = 0,
        timeout_s: float | None = None,
    ) -> None:
        self.address = address
        self.n = None if n is None else integer(n, "workers.n", 1, MAX_WORKERS)
        self.cpus, self.gpus = _amount(cpus, "workers.cpus"), _amount(gpus, "workers.gpus")
        if not self.cpus + self.gpus:
            raise NasError("workers.cpus or workers.gpus must be above 0, but both are 0.")
        self.timeout_s = checked_timeout(timeout_s)

    def start(self, task: Task) -> "RayWorkers":
        """Connect to the cluster, or start one, and return workers.

        Raises:
            NasError: Ray is not installed, or no cluster answers.
        """
        with _environment_of_our_own(self.address is None):
            ray = require("ray", "ray")
            is_ours = not ray.is_initialized()
            if is_ours:
                with _untouched_signals():
                    self._connect(ray)
        if is_ours and self.address is None:
            _check_alone(ray)
        n = self.n or self._n_that_fit(ray.cluster_resources())
        actors = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus)(Remote)
        return RayWorkers(ray, task, actors, n=n, timeout_s=self.timeout_s, is_ours=is_ours)

    def _connect(self, ray: Any) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if self.address is None:
            n = self.n or max(1, int(n_cores() / (self.cpus or 1)))
            options |= {
                "address": "local",
                "num_cpus": max(n_cores(), ceil(n * self.cpus)),
                "include_dashboard": False,
                "object_store_memory": STORE_BYTES,
            }
        else:
            check_answers(self.address)
            options["address"] = self.address
        try:
            ray.init(**options)
        except (ConnectionError, OSError, RuntimeError, TimeoutError, ValueError) as error:
            where = f"at {self.address}" if self.address else "can be started on this machine"
            raise NasError(
                f"no Ray cluster {where}: {one_line(str(error))[:300]}. {_advice(error)}"
            ) from error

    def _n_that_fit(self, resources: Mapping[str, float]) -> int:
        fits = [
            int(resources.get(name, 0) / amount)
            for name, amount in (("CPU", self.cpus), ("GPU", self.gpus))
            if amount
        ]
        if not min(fits):
            raise NasError(
                f"a worker takes {self.cpus:g} CPUs and {self.gpus:g} GPUs, but the whole cluster "
                f"has {resources.get('CPU', 0):g} and {resources.get('GPU', 0):g}. Lower "
                "workers.cpus or workers.gpus."
            )
        return min(*fits, MAX_WORKERS)


def _amount(value: float, name: str) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and 0 <= value <= 1024):
        raise NasError(f"{name} must be from 0 to 1024, but is {shown(value)}.")
    if value > 1 and value != int(value):
        raise NasError(f"{name} must be a whole number above 1, but is {value:g}.")
    return value


def _advice(error: BaseException) -> str:
    said, cause = "", error.__context__
    while cause is not None:
        said, cause = said + str(cause), cause.__context__
    if "token" in said.lower():
        return (
            "It wants a token: set RAY_AUTH_MODE=token, and copy ~/.ray/auth_token from the "
            "machine where the cluster was started."
        )
    return "Start one (ray start --head) and give its workers.address=, or try workers=processes."


def check_answers(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself would try for minutes.

    Raises:
        NasError: it is none, or nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address in ("auto", "local"):
        return
    if not host or not port.isdecimal():
        raise NasError(
            f"workers.address must be host:port, ray://host:port or auto, but is {shown(address)}."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise NasError(
            f"no Ray cluster answers at {address}: {error}. Start one (ray start --head "
            f"--port={port}), or correct workers.address."
        ) from error


def _check_alone(ray: Any) -> None:
    own = ray.util.get_node_ip_address()
    if not own.startswith(("127.", "::1")):
        ray.shutdown()
        raise NasError(
            f"a cluster of its own must listen on the loopback alone, but listens on {own}, as Ray "
            "was imported before it could be told. Do not import ray before this, or start a "
            "cluster yourself (ray start --head) and give its workers.address=."
        )


@contextmanager
def _environment_of_our_own(is_wanted: bool) -> Iterator[None]:
    """Let the processes of a cluster of our own import what we can, and keep to themselves."""
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    wanted = ALONE | {"PYTHONPATH": paths} if is_wanted else {}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _untouched_signals() -> Iterator[None]:
    """Put back what a SIGTERM does: Ray would end the process, with nothing written out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(TypeError):
            signal.signal(signal.SIGTERM, before)
