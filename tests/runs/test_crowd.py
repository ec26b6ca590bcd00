"""Who gets what to do: only workers that are ready, the guilty alone, and nobody for ever."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evolute.errors import TaskError
from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.crowd import BEGINNINGS, CrowdExecutor, Inbox
from evolute.runs.executors.messages import decode_request
from evolute.store.sql import open_store
from evolute.tasks.user import load_task
from evolute.testing.executor_contract import RULES, UNLIKE_ANY, example_requests, write_task
from evolute.train.equipment import Equipment
from evolute.train.trainer import trial_key
from evolute.trial import Outcome, OutcomeKind, Provenance, Trial

SECONDS = 2.5
"""What each training is said to have taken."""


class Scripted:
    """Workers that train nothing: each does what the script says of it, by its number."""

    def __init__(self, folder: Path, script: Mapping[int, str], *, otherwise: str) -> None:
        self.task = write_task(folder)
        self.loaded = load_task(self.task)
        self.script, self.otherwise = script, otherwise
        self.given: dict[int, list[str]] = {}
        self.seeds: dict[int, list[int]] = {}

    def executor(self, workers: int, lanes: int | None = None) -> CrowdExecutor:
        return CrowdExecutor(
            self.task,
            self.loaded,
            workers=workers,
            spawn=self.spawn,
            equipment=Equipment(lanes=lanes),
        )

    def spawn(self, greeting: str, inbox: Inbox) -> ScriptedWorker:
        number = len(self.given)
        self.given[number], self.seeds[number] = [], []
        return ScriptedWorker(self, number, inbox)


class ScriptedWorker:
    def __init__(self, crowd: Scripted, number: int, inbox: Inbox) -> None:
        self.crowd, self.number, self.inbox = crowd, number, inbox
        self.way = crowd.script.get(number, crowd.otherwise)
        if self.way == "dies at once":
            inbox.put((self, None))
        elif self.way != "waits for a place":
            inbox.put((self, {"ready": "contract"}))

    def send(self, line: str) -> None:
        message: dict[str, Any] = json.loads(line)
        ticket, request, _ = decode_request(message)
        self.crowd.given[self.number].append(str(request.rule))
        self.crowd.seeds[self.number].append(request.seed)
        if self.way == "is silent":
            return
        if self.way == "dies of one rule" and str(request.rule) == UNLIKE_ANY:
            self.inbox.put((self, None))
            return
        key = trial_key(request.rule, self.crowd.loaded, request.protocol, seed=request.seed)
        outcome = Outcome(OutcomeKind.DIVERGED, "diverged: it was said so")
        trial = Trial(key, outcome, None, provenance=Provenance(SECONDS))
        answer = self, {"ended": ticket, "trial": trial.to_dict()}
        if self.way == "answers and fails":
            self.inbox.put(answer)
            self.inbox.put((self, {"error": "the task is at fault"}))
            return
        threading.Timer(0.02, lambda: self.inbox.put(answer)).start()

    def close(self) -> str:
        return "it was closed"


def test_a_worker_that_waits_for_a_place_gets_nothing_and_holds_nothing_up(tmp_path: Path) -> None:
    crowd = Scripted(tmp_path, {0: "waits for a place"}, otherwise="works")
    with crowd.executor(2) as executor:
        trials = dict(executor.run(example_requests(seeds=3)))
    assert len(trials) == 3 * len(RULES)
    assert crowd.given[0] == []
    assert len(crowd.given[1]) == 3 * len(RULES)


def test_workers_that_end_before_they_are_ready_are_begun_again_a_few_times_only(
    tmp_path: Path,
) -> None:
    crowd = Scripted(tmp_path, {}, otherwise="dies at once")
    with (
        crowd.executor(2) as executor,
        pytest.raises(TaskError, match="no worker gets ready to train.*it was closed"),
    ):
        list(executor.run(example_requests()))
    assert len(crowd.given) == 2 * BEGINNINGS


def test_a_place_whose_workers_never_get_ready_leaves_its_share_to_the_others(
    tmp_path: Path,
) -> None:
    crowd = Scripted(tmp_path, {1: "works"}, otherwise="dies at once")
    with crowd.executor(2) as executor:
        assert len(dict(executor.run(example_requests()))) == len(RULES)


def test_who_waits_to_be_tried_alone_is_tried_while_others_keep_coming(tmp_path: Path) -> None:
    # The worker that died has no successor in time: the other one must end what it has for them.
    crowd = Scripted(tmp_path, {0: "dies of one rule", 2: "waits for a place"}, otherwise="works")
    with crowd.executor(2) as executor:
        wanted = {executor.submit(each) for each in example_requests(UNLIKE_ANY, *RULES)}
        for request in example_requests(seeds=20):
            answer = executor.next()
            assert answer is not None
            wanted.discard(answer[0])
            executor.submit(request)
        assert not wanted


def test_two_who_ask_get_their_own_answers_from_workers_of_their_own(tmp_path: Path) -> None:
    crowd = Scripted(tmp_path, {}, otherwise="works")
    with crowd.executor(2) as executor:
        other = executor.beside()
        first, second = example_requests(seeds=1), example_requests(seeds=3)[len(RULES) :]
        wanted = {other.submit(each): each.seed for each in first}
        ours = {executor.submit(each): each.seed for each in second}
        for asked, who in ((ours, executor), (wanted, other)):
            got = [who.next() for _ in asked]
            assert {answer[0] for answer in got if answer is not None} == set(asked)
            assert all(answer[1].key.seed == asked[answer[0]] for answer in got if answer)
            assert who.next() is None
    # A worker took the next only once it had none of the other's: the seeds do not mix in time.
    for seeds in crowd.seeds.values():
        assert seeds in (sorted(seeds), sorted(seeds, reverse=True))
    assert len({seeds[0] for seeds in crowd.seeds.values()}) == 2


def test_no_worker_idles_for_who_waits_for_his_last_trial_alone(tmp_path: Path) -> None:
    crowd = Scripted(tmp_path, {0: "is silent"}, otherwise="works")
    with crowd.executor(4, lanes=1) as executor:
        other = executor.beside()
        other.submit(example_requests()[0])
        assert other.attend()  # it is under way
        for request in example_requests(seeds=5):
            executor.submit(request)
        for _ in range(5 * len(RULES)):
            assert executor.next() is not None
        assert other.attend()
    assert all(crowd.given[number] for number in range(4))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_who_comes_later_gets_workers_though_another_never_stops_asking(
    tmp_path: Path, workers: int
) -> None:
    crowd = Scripted(tmp_path, {}, otherwise="works")
    with crowd.executor(workers, lanes=2) as executor:
        other = executor.beside()
        *many, late = example_requests("g", seeds=400)
        for request in many[: 4 * workers]:
            executor.submit(request)
        executor.attend()
        other.submit(late)
        for request in many[4 * workers :]:
            assert executor.next() is not None
            executor.submit(request)
            if other.ended:
                break
        assert other.ended == 1
        assert executor.under_way > 0
    assert sum(late.seed in seeds for seeds in crowd.seeds.values()) == 1


def test_who_asks_to_stop_leaves_what_others_asked_for(tmp_path: Path) -> None:
    crowd = Scripted(tmp_path, {0: "waits for a place"}, otherwise="waits for a place")
    with crowd.executor(1) as executor:
        other = executor.beside()
        other.submit(example_requests()[0])
        executor.submit(example_requests()[1])
        assert executor.next(lambda: True) is None
        assert other.attend()
        assert not executor.attend()


def test_what_is_forgotten_is_forgotten_for_all_who_ask(tmp_path: Path) -> None:
    crowd = Scripted(tmp_path, {}, otherwise="works")
    with crowd.executor(1) as executor:
        other = executor.beside()
        other.submit(example_requests()[0])
        executor.forget()
        assert other.next() is None
        assert not other.attend()


def test_what_ends_while_another_waits_for_his_own_is_stored_at_once(tmp_path: Path) -> None:
    crowd = Scripted(tmp_path, {0: "is silent"}, otherwise="works")
    with crowd.executor(2) as executor, open_store(tmp_path / "store.sqlite") as store:
        evaluator = Evaluator(crowd.loaded, store, executor)
        first, second = example_requests()[:2]
        digest = evaluator.digest(second)
        looks = iter(range(5))

        def interrupt_once_stored() -> bool:
            if store.get_many([digest]):
                raise KeyboardInterrupt
            return next(looks) < 0  # StopIteration where it is never stored

        other = executor.beside()
        other.submit(first)
        with evaluator.answers() as answers:
            answers.ask({digest: second})
            with pytest.raises(KeyboardInterrupt):
                other.next(interrupt_once_stored)
            assert answers.seconds_ahead == SECONDS
            answer = answers.next()
            assert answer is not None
            assert (answer[0].key.digest, answer[1]) == (digest, True)
            assert answers.seconds_ahead == 0


@pytest.mark.parametrize("asks_beside", [True, False])
def test_what_ended_just_before_an_error_is_stored(tmp_path: Path, asks_beside: bool) -> None:
    crowd = Scripted(tmp_path, {}, otherwise="answers and fails")
    with crowd.executor(1) as executor, open_store(tmp_path / "store.sqlite") as store:
        evaluator = Evaluator(crowd.loaded, store, executor)
        first, second = example_requests()[:2]
        digest = evaluator.digest(first)
        with evaluator.answers() as answers:
            answers.ask({digest: first})
            asker = executor.beside() if asks_beside else executor
            asker.submit(second)
            with pytest.raises(TaskError, match="the task is at fault"):
                asker.next()
        assert store.get_many([digest]).keys() == {digest}
        assert not store.held([digest])
