"""Leases between processes: who is dead is not waited for, who lives is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import evolute
from evolute.store import leases
from evolute.store.sql import open_store
from evolute.testing.store_examples import example_trial

DIGESTS = [example_trial(number).key.digest for number in range(40)]
LONG = 1000.0

WITHOUT_THE_FACE = f"""
import sys, types
face = types.ModuleType("evolute")
face.__path__ = {list(evolute.__path__)!r}
sys.modules["evolute"] = face
"""

HOLDER = """
import sys
from evolute.store.leases import new_owner
from evolute.store.sql import open_store
from evolute.testing.store_examples import example_trial

digests = [example_trial(number).key.digest for number in range(40)]
with open_store(sys.argv[1]) as store:
    owner = new_owner()
    print(owner, len(store.claim(digests, owner=owner, seconds=1000)), flush=True)
    sys.stdin.read()
"""

TRAINER = """
import sys, time
from evolute.store.leases import new_owner
from evolute.store.sql import open_store
from evolute.testing.store_examples import example_trial

trials = {trial.key.digest: trial for trial in (example_trial(n, fitness=0.5) for n in range(40))}
owner, trained = new_owner(), []
with open_store(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    waiting = list(trials)
    while waiting:
        for digest in sorted(store.claim(waiting[:3], owner=owner, seconds=1000)):
            trained.append(digest)
            time.sleep(0.002)
            store.put(trials[digest])
        known = store.get_many(waiting)
        waiting = [digest for digest in waiting if digest not in known]
print(*trained)
"""


def start(program: str, address: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WITHOUT_THE_FACE + program, str(address)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "store.sqlite")
    new_database: Callable[[], str] = request.getfixturevalue("new_database")
    return new_database()


def test_the_leases_of_a_killed_process_are_taken_over_at_once_and_of_a_living_one_never(
    address: str,
) -> None:
    with open_store(address) as store:
        holder = start(HOLDER, address)
        assert holder.stdout is not None
        owner, count = holder.stdout.readline().split()
        assert count == "40"
        assert store.held(DIGESTS[:1]) == {DIGESTS[0]: owner}
        assert store.claim(DIGESTS, owner=leases.new_owner(), seconds=LONG) == set()
        holder.send_signal(signal.SIGKILL)
        # Before and after somebody has asked how it ended.
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        assert store.claim(DIGESTS[:1], owner=leases.new_owner(), seconds=LONG) == {DIGESTS[0]}
        holder.communicate()
        assert store.claim(DIGESTS, owner="another", seconds=LONG) == set(DIGESTS[1:])


def test_two_processes_at_one_store_never_train_a_trial_twice(address: str) -> None:
    with open_store(address) as store:
        trainers = [start(TRAINER, address) for _ in range(2)]
        for trainer in trainers:
            assert trainer.stdout is not None
            assert trainer.stdout.readline() == "ready\n"
        trained = [trainer.communicate("go\n")[0].split() for trainer in trainers]
        assert [trainer.returncode for trainer in trainers] == [0, 0]
        assert sorted(trained[0] + trained[1]) == sorted(DIGESTS)
        assert store.held(DIGESTS) == {}


def test_an_owner_of_another_machine_or_start_is_judged_by_what_is_known() -> None:
    mine = leases.new_owner()
    machine, process, started, _ = mine.split(":")
    assert not leases.is_dead(mine)
    assert leases.is_dead(f"{machine}:{process}:{int(started) + 1}:x")
    assert not leases.is_dead(f"elsewhere:{process}:{started}:x")
    for strange in ("", ":", ":::", "a", f"{machine}:-1:1:x", f"{machine}:{10**30}:1:x"):
        assert not leases.is_dead(strange)


def test_where_processes_cannot_be_seen_nobody_is_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = leases.new_owner()
    monkeypatch.setattr(leases, "PROCESSES", tmp_path)
    assert not leases.is_dead(mine)
    assert not leases.is_dead(leases.new_owner())
