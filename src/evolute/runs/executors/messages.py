"""What the local executor and its workers say to each other: one JSON object per line.

To a worker: first its task and equipment, then requests by ticket, and ``cancel`` to forget those
not begun. From it: ``ready``, ``alive`` now and then, ``ended`` tickets with their trials,
``cancelled`` tickets, ``error``. All of it is data: nothing is pickled and nothing in it is
executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from evolute.lang.rule import Rule
from evolute.runs.executors.base import TrialRequest
from evolute.train.protocol import Protocol


def encode(message: Mapping[str, Any]) -> str:
    """Write a message as one line, its end included."""
    return json.dumps(message) + "\n"


def encode_request(ticket: int, request: TrialRequest, *, timeout_seconds: float | None) -> str:
    """Write a trial request as one line; :func:`decode_request` reverses it."""
    return encode(
        {
            "ticket": ticket,
            "rule": request.rule.to_json(),
            "protocol": request.protocol.to_json(),
            "seed": request.seed,
            "timeout_seconds": timeout_seconds,
        }
    )


def decode_request(message: Mapping[str, Any]) -> tuple[int, TrialRequest, float | None]:
    """Read what :func:`encode_request` wrote: ticket, request, and time limit in seconds."""
    request = TrialRequest(
        rule=Rule.from_json(message["rule"]),
        protocol=_read_protocol(message["protocol"]),
        seed=message["seed"],
    )
    return message["ticket"], request, message["timeout_seconds"]


_read_protocol = lru_cache(maxsize=64)(Protocol.from_json)  # a search has two, and asks often
