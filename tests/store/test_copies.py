"""Backup, merge and repair: nothing they read is changed, nothing that can be read is lost."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from evolute.errors import InputError, StoreError
from evolute.store import copies, inspection
from evolute.store.base import RunEntry, Store
from evolute.store.sql import open_store
from evolute.testing.store_examples import RUN, example_entry, example_trial
from evolute.trial import EpochRecord, Outcome, OutcomeKind, Trial

COUNT = 120
LONG_CURVE = tuple(EpochRecord(n, 0.1 / (n + 1), 0.5, 0.25, None) for n in range(300))
"""Longer than a page of the file: it overflows to others."""


def fill(store: Store, count: int = COUNT) -> None:
    trials = [example_trial(n, fitness=-float(n)) for n in range(count)]
    trials[7] = replace(trials[7], curve=LONG_CURVE)
    ended = Trial(example_trial(10**6).key, Outcome(OutcomeKind.TIMED_OUT, "too slow"), None)
    store.put_many([*trials, ended])
    store.open_run(RUN)
    store.record_many(RUN.digest, [example_entry(n, trial) for n, trial in enumerate(trials)])
    store.record_many(RUN.digest, [example_entry(count, ended)])
    store.put_document(RUN.digest, "verdict", {"sentence": "x" * 10_000})


def everything(store: Store) -> tuple[object, ...]:
    runs = store.runs()
    return (
        {stored.trial.key.digest: stored.trial for stored in store.trials()},
        runs,
        [(store.run_entries(run.digest), store.unsettled(run.digest)) for run in runs],
        [store.document(run.digest, "verdict") for run in runs],
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.sqlite"
    with open_store(path) as store:
        fill(store)
    return path


def held_in(path: Path | str) -> tuple[object, ...]:
    with open_store(path, read_only=True) as store:
        return everything(store)


# Backup


def test_a_backup_holds_all_of_it(path: Path, tmp_path: Path) -> None:
    copies.backup(path, tmp_path / "copy.sqlite")
    assert held_in(tmp_path / "copy.sqlite") == held_in(path)
    assert not (tmp_path / "copy.sqlite.unfinished").exists()


def test_a_backup_made_while_others_write_is_the_store_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    stop = threading.Event()

    def write() -> None:
        with open_store(path) as store:
            store.open_run(RUN)
            for number in range(10**6):
                if stop.is_set():
                    return
                trial = store.put(example_trial(number, fitness=1.0))
                store.record_many(RUN.digest, [example_entry(number, trial)])

    with open_store(path) as store:
        store.open_run(RUN)
        writer = threading.Thread(target=write)
        writer.start()
        sizes = []
        for number in range(3):
            copies.backup(path, tmp_path / f"copy{number}")
            assert inspection.find_faults(tmp_path / f"copy{number}") == []
            with open_store(tmp_path / f"copy{number}") as copy:
                positions = [entry.position for entry in copy.run_entries(RUN.digest)]
            assert positions == list(range(len(positions)))
            sizes.append(len(positions))
        stop.set()
        writer.join()
    assert sizes == sorted(sizes)


def test_a_copy_never_takes_the_place_of_a_file(path: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for copy in (copies.backup, copies.repair):
        with pytest.raises(StoreError, match="is there already"):
            copy(path, taken)
        with pytest.raises(StoreError, match="its folder does not exist"):
            copy(path, tmp_path / "none" / "new")
        with pytest.raises(StoreError, match="does not exist"):
            copy(tmp_path / "none", tmp_path / "new")
    assert taken.read_text() == "mine"


# Merge


def test_a_merge_adds_what_is_new_and_doing_it_again_changes_nothing(
    path: Path, tmp_path: Path
) -> None:
    with open_store(tmp_path / "other") as target:
        first = copies.merge(path, target)
        assert (first.trials, first.new_trials, first.conflicts) == (COUNT + 1, COUNT + 1, [])
        assert everything(target) == held_in(path)
        again = copies.merge(path, target)
        assert (again.trials, again.new_trials, again.conflicts) == (COUNT + 1, 0, [])
        assert everything(target) == held_in(path)


def test_what_was_there_first_is_kept_and_the_other_told(path: Path, tmp_path: Path) -> None:
    with open_store(tmp_path / "other") as target:
        mine = target.put(example_trial(3, fitness=0.5))
        target.open_run(RUN)
        entry = RunEntry(4, mine.key.digest, {"stage": "main"})
        target.record_many(RUN.digest, [entry])
        target.put_document(RUN.digest, "verdict", "mine")
        report = copies.merge(path, target)
        assert target.get(mine.key.digest) == mine
        assert target.run_entries(RUN.digest)[4] == entry
        assert target.document(RUN.digest, "verdict") == "mine"
        trial, position, document = report.conflicts
    digest = mine.key.digest[:12]
    kept = "finished with fitness 0.5 was kept, not finished with fitness -3.0"
    assert trial == f"trial {digest}: {kept}"
    assert position == "position 4 of run first"
    assert document == "document 'verdict' of run first"


def test_a_run_of_another_configuration_is_told_and_left_out(path: Path, tmp_path: Path) -> None:
    with open_store(tmp_path / "other") as target:
        target.open_run(replace(RUN, config_json="{}"))
        report = copies.merge(path, target)
        assert "another configuration" in report.conflicts[0]
        assert target.run_entries(RUN.digest) == ()
        assert report.new_trials == COUNT + 1


def test_a_merge_answers_what_the_machine_had_ended(path: Path, tmp_path: Path) -> None:
    later = example_trial(10**6, fitness=0.5)
    with open_store(tmp_path / "later") as other:
        other.put(later)
    with open_store(path) as target:
        assert copies.merge(tmp_path / "later", target).conflicts == []
        held = target.get(later.key.digest)
        assert held is not None
        assert held.score == later.score
        assert target.unsettled(RUN.digest)
        assert copies.merge(path.parent / "later", target).conflicts == []


def test_a_store_is_not_merged_into_itself(path: Path) -> None:
    with open_store(path) as target, pytest.raises(InputError, match="into itself"):
        copies.merge(path, target)


def test_stores_go_to_postgresql_and_back(
    path: Path, tmp_path: Path, new_database: Callable[[], str]
) -> None:
    address = new_database()
    with open_store(address) as target:
        copies.merge(path, target)
        assert everything(target) == held_in(path)
    copies.backup(address, tmp_path / "back.sqlite")
    assert held_in(tmp_path / "back.sqlite") == held_in(path)
    copies.repair(address, tmp_path / "repaired.sqlite")
    assert held_in(tmp_path / "repaired.sqlite") == held_in(path)


# Repair


def test_a_sound_store_is_saved_whole(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    report = copies.repair(path, tmp_path / "new")
    assert (report.trials, report.damaged, report.lost_entries) == (COUNT + 1, [], 0)
    assert held_in(tmp_path / "new") == held_in(path)
    assert path.read_bytes() == before


def test_what_waits_in_the_log_is_saved_too(path: Path, tmp_path: Path) -> None:
    with open_store(path) as store:
        store.put(example_trial(5000, fitness=1.0))
        assert Path(f"{path}-wal").stat().st_size
        copies.repair(path, tmp_path / "new")
        whole = everything(store)
    assert held_in(tmp_path / "new") == whole


def trials_in(path: Path) -> dict[str, Trial]:
    with open_store(path, read_only=True) as store:
        return {stored.trial.key.digest: stored.trial for stored in store.trials()}


def test_every_trial_that_no_flipped_byte_touched_is_saved_as_it_was(
    path: Path, tmp_path: Path
) -> None:
    whole, before = path.read_bytes(), trials_in(path)
    draw = random.Random(0)
    found = 0
    for number in range(40):
        damaged = bytearray(whole)
        place = draw.randrange(len(whole))
        damaged[place] ^= draw.randrange(1, 256)
        path.write_bytes(damaged)
        found += is_refused(path)
        new = tmp_path / f"new{number}"
        copies.repair(path, new)
        assert path.read_bytes() == damaged
        saved = trials_in(new)
        assert saved.items() <= before.items()
        # A page holds a dozen rows, and some of them continue the long one.
        assert len(saved) >= len(before) - 20, f"byte {place}"
        assert is_refused(path) or saved == before
    assert found >= 20


def is_refused(path: Path) -> bool:
    try:
        open_store(path, read_only=True).close()
    except StoreError:
        return True
    return False


@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_what_a_file_that_was_cut_short_still_holds_is_saved(
    path: Path, tmp_path: Path, part: float
) -> None:
    whole, before = path.read_bytes(), trials_in(path)
    path.write_bytes(whole[: int(part * len(whole))])
    assert is_refused(path)
    copies.repair(path, tmp_path / "new")
    saved = trials_in(tmp_path / "new")
    assert saved.items() <= before.items()
    # Rows of all tables were written at once and lie mixed.
    assert len(saved) >= (part - 0.3) * len(before)


def test_a_page_of_nonsense_loses_no_more_than_itself(path: Path, tmp_path: Path) -> None:
    whole, before = path.read_bytes(), trials_in(path)
    root = whole.index(b"CREATE TABLE trials") // 4096
    for page in {0, root, len(whole) // 8192}:
        path.write_bytes(whole[: 4096 * page] + b"\xa5" * 4096 + whole[4096 * (page + 1) :])
        new = tmp_path / f"new{page}"
        copies.repair(path, new)
        assert len(trials_in(new)) >= len(before) - 20


def test_entries_whose_trial_was_lost_are_counted(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE trials SET loss = 7 WHERE id = 3")
    report = copies.repair(path, tmp_path / "new")
    (sentence,) = report.damaged
    assert sentence.startswith("trial ")
    assert "checksum" in sentence
    assert (report.trials, report.lost_entries) == (COUNT, 1)
    assert inspection.find_faults(tmp_path / "new") == []


def test_a_file_that_is_no_store_gives_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(random.Random(1).randbytes(50_000))
    report = copies.repair(tmp_path / "noise", tmp_path / "new")
    assert (report.trials, report.runs) == (0, 0)
    assert trials_in(tmp_path / "new") == {}
