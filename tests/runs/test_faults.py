"""What nothing that happens to a machine can do to a search: every fault is a test of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from datetime import datetime, tzinfo
from pathlib import Path

import pytest
from tiny import TINY_CONFIG, build
from tiny import __file__ as tiny_file

import evolute
from evolute.errors import TaskError
from evolute.leaderboard import find_run
from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.crowd import TRIES
from evolute.runs.executors.local import LocalExecutor
from evolute.runs.run import Ending
from evolute.store.inspection import find_faults
from evolute.store.sql import open_store
from evolute.tasks.user import load_task
from evolute.testing.executor_contract import (
    RULES,
    UNLIKE_ANY,
    alone,
    example_requests,
    without_provenance,
    write_task,
)
from evolute.train.equipment import Equipment
from evolute.trial import OutcomeKind

TESTS = str(Path(tiny_file).parent)

KILLS = 500 if os.environ.get("EVOLUTE_NIGHTLY") == "1" else 50

KILLED_AT_RANDOM_MOMENTS = """
import json, os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path

import evolute
from evolute.runs import run
from evolute.store.sql import open_store
from evolute.trial import Provenance, canonical_json
from tiny import TINY_CONFIG, build

CONFIG = TINY_CONFIG | {"plan": "loop", "lanes": 4, "search": {
    "initial_candidates": 5, "particles": 2, "time_steps": 2, "children": 2, "tries": 2}}
folder, kills = Path(sys.argv[1]), int(sys.argv[2])
run.CHECKPOINT_SECONDS, run.SHARE_OF_CHECKPOINTS = 0.0, float("inf")  # kills fall into these too

def search(store, result):
    found = evolute.search(build(), config=CONFIG, store=store, verdict=False)
    with open_store(store) as opened:
        entries = [[entry.position, entry.trial, entry.facts]
                   for entry in opened.run_entries(found.run)]
    rows = [row.to_dict() for row in found.leaderboard]
    text = json.dumps([found.best.to_json(), rows, entries, str(found.ending)], sort_keys=True)
    result.write_text(text)

def begin(store, result):
    child = os.fork()
    if child == 0:
        try:
            search(store, result)
        finally:
            os._exit(0 if result.exists() else 1)
    return child

def stored(store):
    if not store.exists():
        return {}
    with open_store(store) as opened:
        return {held.trial.key.digest: canonical_json(held.trial.to_dict())
                for held in opened.trials()}

started = time.monotonic()
os.waitpid(begin(folder / "undisturbed.sqlite", folder / "undisturbed.json"), 0)
length = time.monotonic() - started
draw, killed, ended, before = random.Random(0), 0, 0, {}
while killed < kills or (folder / f"{ended}.sqlite").exists():
    store, result = folder / f"{ended}.sqlite", folder / f"{ended}.json"
    child = begin(store, result)
    if killed < kills:
        time.sleep(draw.uniform(0, length))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    held = stored(store)
    lost = [digest for digest, text in before.items() if held.get(digest) != text]
    assert not lost, f"lost or changed: {lost}"
    if os.WIFSIGNALED(status):
        killed, before = killed + 1, held
    else:
        assert os.WEXITSTATUS(status) == 0
        ended, before = ended + 1, {}
print(json.dumps({"killed": killed, "ended": ended}))
"""


def run_program(program: str, *arguments: object) -> str:
    """Run a program that may fork, in a process that has loaded nothing else; return its output."""
    paths = [TESTS, *sys.path]
    ran = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.timeout(1_200 if KILLS == 50 else 36_000)
def test_killed_at_fifty_moments_a_search_loses_nothing_and_ends_as_undisturbed(
    tmp_path: Path,
) -> None:
    told = json.loads(run_program(KILLED_AT_RANDOM_MOMENTS, tmp_path, KILLS).splitlines()[-1])
    assert told["killed"] == KILLS
    assert told["ended"] >= 1
    undisturbed = (tmp_path / "undisturbed.json").read_text()
    for number in range(told["ended"]):
        assert (tmp_path / f"{number}.json").read_text() == undisturbed
        assert find_faults(str(tmp_path / f"{number}.sqlite")) == []


DEADLY_TASK = """
import os, signal, sys
from pathlib import Path

sys.path.insert(0, {tests!r})
import tiny
from evolute.tasks.base import Task

def model():
    if os.getpid() != {owner}:
        with open({count!r}, "a") as file:
            file.write("x")
        if Path({count!r}).stat().st_size == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return tiny.model()

def build():
    return tiny.build(model=model)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_killed_in_mid_trial_cost_a_search_nothing(tmp_path: Path, workers: int) -> None:
    count, path, killed = tmp_path / "count", tmp_path / "deadly.py", tmp_path / "killed.sqlite"
    path.write_text(DEADLY_TASK.format(owner=os.getpid(), count=str(count), tests=TESTS), "utf-8")
    here = evolute.search(
        build(), config=TINY_CONFIG, store=tmp_path / "undisturbed.sqlite", verdict=False
    )
    found = evolute.search(
        f"{path}:build", config=TINY_CONFIG, store=killed, workers=workers, verdict=False
    )
    assert count.stat().st_size >= 2
    assert (found.best, found.leaderboard) == (here.best, here.leaderboard)
    assert find_faults(str(killed)) == []


def test_a_candidate_that_kills_every_worker_is_stored_as_crashed_and_the_rest_is_scored(
    tmp_path: Path,
) -> None:
    task = write_task(tmp_path, guilty="os.kill(os.getpid(), signal.SIGKILL)")
    loaded = load_task(task)
    requests = example_requests(RULES[0], UNLIKE_ANY, RULES[1])
    with (
        open_store(tmp_path / "store.sqlite") as store,
        LocalExecutor(task, loaded, workers=2) as executor,
    ):
        evaluator = Evaluator(loaded, store, executor)
        trials = evaluator(requests)
        held = store.get(evaluator.digest(requests[1]))
    assert [trial.outcome.kind for trial in trials].count(OutcomeKind.CRASHED) == 1
    assert held is not None
    assert held.outcome.sentence.startswith("crashed: ended its worker 2 times (SIGKILL, as when")


HUNGER = """
import os, signal
from pathlib import Path

LIMIT = 100 * 2**20
ROOTS = {
    Path("/sys/fs/cgroup/memory"): {
        "memory.limit_in_bytes": LIMIT, "memory.memsw.limit_in_bytes": LIMIT},
    Path("/sys/fs/cgroup"): {"memory.max": LIMIT, "memory.swap.max": 0},
}

def join_a_group(name):
    for root, limits in ROOTS.items():
        group, (least, _) = root / name, limits
        try:
            if not (root / "cgroup.procs").exists():
                continue
            group.mkdir()
            Path(FOLDER, name + ".group").write_text(str(group))
            for file, limit in limits.items():
                if file == least or (group / file).exists():  # none where nothing is swapped
                    (group / file).write_text(str(limit))
            (group / "cgroup.procs").write_text(str(os.getpid()))
            return True
        except OSError:
            continue
    return False

def eat():
    name = "evolute-%d" % os.getpid()
    if join_a_group(name):
        Path(FOLDER, name + ".joined").touch()
        held = [bytearray(os.urandom(2**20) * 16) for _ in range(40)]
        Path(FOLDER, name + ".survived").touch()
    os.kill(os.getpid(), signal.SIGKILL)  # no group could be made: as the kernel would
"""
"""Takes more memory than a group of processes may: the kernel kills it, in the middle of a trial.
Where a test may make no such group (cgroups(7)), it takes none and kills itself by that signal;
which it was, the test prints."""


def test_the_kernel_kills_a_worker_for_its_memory_and_the_search_goes_on(tmp_path: Path) -> None:
    task = write_task(tmp_path, guilty="eat()")
    path = Path(task.partition(":")[0])
    hunger = f"FOLDER = {str(tmp_path)!r}\n{HUNGER}"
    path.write_text(hunger + path.read_text("utf-8"), "utf-8")
    loaded = load_task(task)
    requests = example_requests(RULES[0], UNLIKE_ANY, RULES[1], RULES[2])
    with (
        open_store(tmp_path / "store.sqlite") as store,
        LocalExecutor(task, loaded, workers=2) as executor,
    ):
        trials = Evaluator(loaded, store, executor)(requests)
        held = store.get_many([trial.key.digest for trial in trials])
    for group in tmp_path.glob("*.group"):
        with contextlib.suppress(OSError):
            Path(group.read_text()).rmdir()
    joined, survived = list(tmp_path.glob("*.joined")), list(tmp_path.glob("*.survived"))
    by_itself = TRIES - len(joined)
    sys.stdout.write(f"workers killed by the kernel: {len(joined)}, by themselves: {by_itself}\n")
    assert len(joined) in (0, TRIES)
    assert survived == []
    assert trials[1].outcome.kind is OutcomeKind.CRASHED
    assert "when memory runs out" in trials[1].outcome.sentence
    innocent = [trials[0], *trials[2:]]
    assert [without_provenance(trial) for trial in innocent] == alone(
        task, [requests[0], *requests[2:]]
    )
    assert list(held.values()) == trials
    assert find_faults(str(tmp_path / "store.sqlite")) == []


MEMORY_TASK = """
import os, resource, torch
from torch import nn
from evolute.tasks.base import Task

def model():
    if os.getpid() != {owner}:
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + 700 * 2**20
        if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    return nn.Sequential(nn.Linear(4, 10_000), nn.Linear(10_000, 10_000), nn.Linear(10_000, 3))

def build():
    generator = torch.Generator().manual_seed(0)
    data = (torch.randn(40, 4, generator=generator), torch.randint(3, (40,), generator=generator))
    return Task(name="large", version="1", model=model, train=data, validation=data, test=data,
                loss="cross_entropy", metric="accuracy")
"""
"""A network of 381 MiB. One copy fits and two do not, which one training needs; what is left, some
300 MiB, is more than threads and arenas of malloc take: so it is a tensor that does not fit."""


def test_workers_whose_memory_does_not_suffice_say_so_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "large.py"
    path.write_text(MEMORY_TASK.format(owner=os.getpid()), "utf-8")
    task = f"{path}:build"
    with (
        LocalExecutor(
            task, load_task(task), workers=1, equipment=Equipment(plan="loop")
        ) as workers,
        pytest.raises(TaskError, match="not even one training fits into the memory") as caught,
    ):
        list(workers.run(example_requests(seeds=5)))
    assert "\n" not in str(caught.value)
    assert "DefaultCPUAllocator" in str(caught.value)


STARTED_AT_ONCE = """
import json, os, sys
from pathlib import Path

import evolute
from tiny import TINY_CONFIG, build

folder = Path(sys.argv[1])
config = TINY_CONFIG | {"plan": "loop"}

def search(store, name):
    found = evolute.search(build(), config=config, store=store, verdict=False)
    rows = [row.to_dict() for row in found.leaderboard]
    said = [found.best.to_json(), rows]
    trained = found.progress.trained - found.progress.reused
    (folder / name).write_text(json.dumps({"found": said, "trained": trained}))

search(folder / "alone.sqlite", "alone.json")
children = []
for number in range(2):
    child = os.fork()
    if child == 0:
        search(folder / "both.sqlite", f"{number}.json")
        os._exit(0)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
"""


def test_two_processes_that_start_the_same_run_at_once_share_its_trials(tmp_path: Path) -> None:
    run_program(STARTED_AT_ONCE, tmp_path)
    undisturbed, *both = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("alone", "0", "1")
    )
    assert [each["found"] for each in both] == [undisturbed["found"]] * 2
    assert sum(each["trained"] for each in both) == undisturbed["trained"]
    assert find_faults(str(tmp_path / "both.sqlite")) == []


class BackwardsClock:
    """A time of day that jumps back by a day whenever it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return 2e9 - 86_400.0 * self.asked

    def now(self, zone: tzinfo) -> datetime:
        return datetime.fromtimestamp(self(), zone)


def test_a_clock_that_jumps_backwards_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = evolute.search(
        build(), config=TINY_CONFIG, store=tmp_path / "steady.sqlite", verdict=False, budget="60s"
    )
    clock = BackwardsClock()
    monkeypatch.setattr("time.time", clock)
    monkeypatch.setattr("evolute.store.sql_store.datetime", clock)
    for seed in (1, 0):
        jumping = evolute.search(
            build(),
            config=TINY_CONFIG,
            store=tmp_path / "jumping.sqlite",
            verdict=False,
            budget="60s",
            seed=seed,
        )
    assert clock.asked > 10
    assert (jumping.best, jumping.leaderboard) == (steady.best, steady.leaderboard)
    assert jumping.ending is Ending.COMPLETE
    with open_store(tmp_path / "jumping.sqlite") as store:
        assert find_run(store, None).digest == jumping.run
