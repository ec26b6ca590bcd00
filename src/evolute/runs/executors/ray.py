"""Workers on the nodes of a Ray cluster: the one file that uses Ray.

Each worker is an actor that keeps a worker process on its node (:mod:`.process`) and passes lines
on. So a rule that kills its process kills no actor, a node that goes down is a worker that died,
and what crosses the network is the same JSON as on one machine.

Source: Moritz et al., Ray: A Distributed Framework for Emerging AI Applications, 2018.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from evolute.errors import InputError, shorten
from evolute.runs.executors.crowd import GRACE_SECONDS, CrowdExecutor, Inbox
from evolute.runs.executors.messages import encode
from evolute.runs.executors.process import WorkerProcess
from evolute.tasks.base import Task
from evolute.tasks.extras import optional_module
from evolute.train.equipment import Equipment

SECONDS_BETWEEN_SIGNS = 1.0
"""How long an actor waits for words of its process before it answers without any."""

SECONDS_TO_ANSWER = 10.0
"""How long the head of a cluster may take to accept a connection."""

SECONDS_TO_CLOSE = 5.0
"""How long an actor may take to end its process before it is ended itself, and the process too."""

ROUNDING = 1e-6
"""Far more than 1/(1/n) is off n, far less than Ray tells apart (a share of 0.0001)."""

TALKING, LISTENING = "talking", "listening"
"""What an actor does side by side, each with one thread, so that lines arrive in their order."""


def _ray() -> ModuleType:
    return optional_module("ray", extra="ray", what="the executor 'ray'")


class _Post:
    """Keeps a worker process on its node and passes lines on; an actor.

    Parameters
    ----------
    greeting
        The first line that the process is told.
    gpus
        How much of a GPU is its own, or how many are.
    """

    def __init__(self, greeting: str, gpus: float) -> None:
        self._inbox: Inbox = queue.SimpleQueue()
        numbers = _ray().get_runtime_context().get_accelerator_ids().get("GPU", [])
        self._process = WorkerProcess(on_its_gpu(greeting, numbers, share=gpus), self._inbox)

    def send(self, line: str) -> None:
        """Pass a line on to the process."""
        self._process.send(line)

    def listen(self) -> list[Mapping[str, Any] | None]:
        """Return what the process said since the last call; None stands for its end."""
        heard: list[Mapping[str, Any] | None] = []
        with contextlib.suppress(queue.Empty):
            heard.append(self._inbox.get(timeout=SECONDS_BETWEEN_SIGNS)[1])
            while True:
                heard.append(self._inbox.get_nowait()[1])
        return heard

    def close(self) -> str:
        """End the process; return its last words."""
        return self._process.close()


def on_its_gpu(greeting: str, numbers: Sequence[object], *, share: float) -> str:
    """Return a greeting whose equipment trains on the GPU that Ray gave an actor, if it gave one.

    Ray shows an actor its own GPUs alone (``CUDA_VISIBLE_DEVICES``), and the process that the actor
    begins inherits that: the first one that it sees is its own. A device that was named otherwise,
    such as another kind of accelerator, stays. Its memory is shared by the workers on that GPU, not
    by all those on the node.

    Parameters
    ----------
    greeting
        A line as :func:`.messages.encode` writes it.
    numbers
        Of the GPUs that are the actor's.
    share
        What of a GPU was reserved for each actor, above 0 where any was; 1 or more: whole ones.
    """
    message = json.loads(greeting)
    equipment = message["equipment"]
    if not numbers or equipment["device"] not in ("cpu", "cuda"):
        return greeting
    if equipment["device"] == "cpu":
        # What was found to be fastest was found on a processor.
        equipment |= {"device": "cuda", "chosen": []}
    equipment["shared_by"] = min(equipment["shared_by"], workers_on_one_gpu(share))
    return encode(message)


def workers_on_one_gpu(share: float) -> int:
    """Return how many workers Ray places on one GPU, each of which reserves this share of it.

    >>> [workers_on_one_gpu(share) for share in (2.0, 1.0, 0.5, 0.6, 1 / 3, 0.1)]
    [1, 1, 2, 1, 3, 10]
    """
    return max(1, math.floor(1 / share + ROUNDING))


class RayWorker:
    """A worker process on some node; see :class:`.crowd.Worker`.

    Parameters
    ----------
    greeting
        The first line that it is told.
    inbox
        Where its messages go, each with the worker itself; the last is None, when it has ended.
    resources
        What it reserves on its node, as Ray names it: ``{"CPU": 1, "GPU": 0.5}``.
    """

    def __init__(self, greeting: str, inbox: Inbox, *, resources: Mapping[str, float]) -> None:
        self._inbox = inbox
        self._end: str | None = None
        self._has_begun = self._is_closed = False
        own = {name: each for name, each in resources.items() if name not in ("CPU", "GPU")}
        self._ray = _ray()
        actor = self._ray.remote(concurrency_groups={TALKING: 1, LISTENING: 1})(_Post)
        self._actor = actor.options(
            num_cpus=resources.get("CPU", 0),
            num_gpus=resources.get("GPU", 0),
            resources=own,
            max_restarts=0,
        ).remote(greeting, resources.get("GPU", 0))
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def send(self, line: str) -> None:
        """Send one message; to an actor that has ended it is lost."""
        self._actor.send.options(concurrency_group=TALKING).remote(line)

    def _listen(self) -> None:
        heard: list[Mapping[str, Any] | None] = []
        listen = self._actor.listen.options(concurrency_group=LISTENING)
        while None not in heard and not self._is_closed:
            try:
                heard = self._ray.get(listen.remote())
                self._has_begun = True
            except self._ray.exceptions.RayError as error:
                self._end = shorten(f"its node or its actor went down: {error}", limit=160)
                heard = [None]
            for message in heard:
                self._inbox.put((self, message))

    def close(self) -> str:
        """End the process and its actor; return why it ended."""
        self._is_closed = True
        end = self._end or "it waited for a place"
        if self._end is None and self._has_begun:
            closed = self._actor.close.options(concurrency_group=TALKING).remote()
            with contextlib.suppress(self._ray.exceptions.RayError):  # it has gone down just now
                end = self._ray.get(closed, timeout=SECONDS_TO_CLOSE)
        self._ray.kill(self._actor)
        self._listener.join(timeout=SECONDS_TO_CLOSE)
        return end


class RayExecutor(CrowdExecutor):
    """Runs trials in worker processes on the nodes of a Ray cluster.

    Parameters
    ----------
    task
        The task, as it is named to :func:`evolute.tasks.user.load_task`; each worker loads it.
    loaded_task
        The same task, loaded, for the keys of crashed trials.
    resources
        What each worker reserves on its node, as Ray names it: ``{"CPU": 1, "GPU": 0.5}``.
    workers
        Number of workers; None: as many as fit on the nodes that are there now.
    address, working_folder
        Of the cluster, and what goes to each of its nodes once; see :func:`connect`.
    timeout_seconds
        Longest time for one trial; None is no limit.
    equipment
        What each worker trains with.
    grace_seconds
        How much longer a worker may give no sign before it is given up.

    Raises
    ------
    InputError
        If there is no such cluster, or no node of it has room for a worker.
    """

    def __init__(
        self,
        task: str,
        loaded_task: Task,
        *,
        resources: Mapping[str, float],
        workers: int | None = None,
        address: str | None = None,
        working_folder: Path | None = None,
        timeout_seconds: float | None = None,
        equipment: Equipment | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._joined = not _ray().is_initialized()
        if self._joined:
            connect(address, working_folder=working_folder)
        try:
            fit = workers_that_fit(resources)
        except InputError:
            self._leave()
            raise
        count = sum(fit) if workers is None else workers
        super().__init__(
            task,
            loaded_task,
            workers=count,
            spawn=partial(RayWorker, resources=resources),
            equipment=replace(equipment or Equipment(), shared_by=min(count, max(fit))),
            timeout_seconds=timeout_seconds,
            grace_seconds=grace_seconds,
        )

    def close(self) -> None:
        super().close()
        self._leave()

    def _leave(self) -> None:
        """Leave the cluster, unless whoever uses this had joined it before."""
        if self._joined:
            self._joined = False
            _ray().shutdown()


def connect(address: str | None, *, working_folder: Path | None = None) -> None:
    """Join a Ray cluster.

    Parameters
    ----------
    address
        Of the cluster, as ``ray.init`` takes it; None: the one that is running on this machine or
        named by the environment, or a new one on this machine alone.
    working_folder
        A folder that goes to each node once; tasks and data are found relative to it.

    Raises
    ------
    InputError
        If there is no cluster at the address.
    """
    if working_folder is not None and not working_folder.is_dir():
        raise InputError(f"the working folder {working_folder} is no folder that exists")
    _require_answer(address)
    environment = {} if working_folder is None else {"working_dir": str(working_folder)}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a search reports to nobody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # and warns of nothing
    try:
        _ray().init(
            address=address,
            runtime_env=environment,
            ignore_reinit_error=True,
            log_to_driver=False,
            configure_logging=False,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _unreachable(address, error) from None


def _require_answer(address: str | None) -> None:
    """Refuse at once an address where nobody listens: Ray itself tries for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()
        except (OSError, OverflowError) as error:
            raise _unreachable(address, error) from None


def _unreachable(address: str | None, error: Exception) -> InputError:
    return InputError(
        f"no Ray cluster answers at {address!r}: {shorten(str(error))}; start one with "
        "'ray start --head', or give the address of another"
    )


def workers_that_fit(resources: Mapping[str, float]) -> list[int]:
    """Return how many workers with these resources each node of the cluster can hold.

    Raises
    ------
    InputError
        If no node can hold even one.
    """
    nodes = [node["Resources"] for node in _ray().nodes() if node["Alive"]]
    fit = [
        min(math.floor(node.get(name, 0) / each) for name, each in resources.items())
        for node in nodes
    ]
    if not any(fit):
        asked = ", ".join(f"{name}={each:g}" for name, each in resources.items())
        most = ", ".join(
            f"{name}={max(node.get(name, 0) for node in nodes):g}" for name in resources
        )
        raise InputError(
            f"a worker wants {asked}, and no node of the Ray cluster has that (the most on one "
            f"node: {most}): give less with --resources-per-worker"
        )
    return fit


def parse_resources(text: str) -> dict[str, float]:
    """Read resources such as ``CPU=1,GPU=0.5``.

    Raises
    ------
    InputError
        If it is no list of names and numbers above 0.

    Examples
    --------
    >>> parse_resources("CPU=1, GPU=0.5")
    {'CPU': 1.0, 'GPU': 0.5}
    """
    resources: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            amount = float(number)
        except ValueError:
            amount = math.nan
        if not name or not 0 < amount < math.inf:
            raise InputError(
                f"resources of a worker {text!r}: give names and numbers above 0, such as "
                "CPU=1,GPU=0.5"
            )
        resources[name] = amount
    return resources
