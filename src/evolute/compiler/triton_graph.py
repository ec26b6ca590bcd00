"""Launches that are captured in a CUDA graph once and replayed from then on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext

import torch

_log = logging.getLogger("evolute")

Launch = Callable[[], None]
"""Starts kernels on the current stream: allocates nothing and reads nothing back."""

Capture = Callable[[Launch], Launch]
"""Returns what does again, at once, what it was given to do; it does not do it yet."""


def on_device(device: torch.device) -> AbstractContextManager[None]:
    """Let streams, events and kernels be those of a GPU: of several, one is the present one."""
    if device.type != "cuda":
        return nullcontext()
    inside: AbstractContextManager[None] = torch.cuda.device(device)
    return inside


def capture_graph(launch: Launch) -> Launch:
    """Capture launches on the present device in a CUDA graph and return its replay.

    The device is waited for first. What is launched must have been compiled before.
    """
    graph = torch.cuda.CUDAGraph()
    # Torch's own stream of captures is that of the first device that was captured on; and where a
    # capture fails, torch leaves its stream the present one.
    here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    with torch.cuda.stream(here), torch.cuda.graph(graph, stream=aside):
        launch()
    return graph.replay


class GraphedLaunch:
    """Does launches one by one the first time, which compiles them, and as one graph from then on.

    Parameters
    ----------
    capture
        Makes a graph; None: launches are always done one by one.

    Examples
    --------
    >>> done = []
    >>> graphed = GraphedLaunch(capture=lambda launch: launch)
    >>> for _ in range(3):
    ...     graphed.run("always the same", lambda: done.append("launched"))
    >>> done
    ['launched', 'launched', 'launched']
    """

    def __init__(self, capture: Capture | None) -> None:
        self._capture = capture
        self._key: Hashable = None
        self._captured: Hashable = None
        self._replay: Launch | None = None

    def run(self, key: Hashable, launch: Launch) -> None:
        """Do the launches.

        Parameters
        ----------
        key
            What the launches depend on beside the contents of their tensors; where it has changed
            they are captured anew.
        launch
            Does them.
        """
        if self._capture is None or key != self._key:
            self._key = key
            launch()
            return
        if self._replay is None or key != self._captured:
            try:
                # A graph that may still be running lives until the device has been waited for.
                self._replay = self._capture(launch)
            except RuntimeError as error:
                _log.warning(
                    "the steps of rules are launched one by one, as they could not be captured in "
                    "a CUDA graph: %s",
                    error,
                )
                self._capture = self._replay = None
                launch()
                return
            self._captured = key
        self._replay()
