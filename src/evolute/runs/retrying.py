"""Retrying: a checkpoint is read, and trials that it saw time out or crash are tried again first.

If each ends as it did, what the search was told stays true, and the run goes on from where it was.
"""

from __future__ import annotations

from collections.abc import Collection

from evolute.lang.rule import Rule
from evolute.runs.candidate import Candidate
from evolute.runs.checkpoint import Checkpoint, from_columns
from evolute.runs.config import RunConfig, run_digest
from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.base import TrialRequest
from evolute.runs.screening import TwinFinder
from evolute.search.base import Search, Stage
from evolute.trial import Trial


def stored_checkpoint(
    config: RunConfig, search: Search, *, evaluator: Evaluator, twins: TwinFinder | None
) -> Checkpoint | None:
    """Return the checkpoint of a run that is in the store, if there is one.

    Parameters
    ----------
    config, search
        What the run is, and its search at the beginning; it stays as it is.
    evaluator
        Its task and store.
    twins
        A new finder of equal rules; gets to know those that the checkpoint knows.

    Raises
    ------
    Exception
        One of :data:`evolute.search.state.MALFORMED`, if it is anything else.
    """

    def read(data: object) -> Candidate:
        return Candidate.from_json(data, config, digest_of=evaluator.digest)

    run = run_digest(config, evaluator.task.version)
    columns = evaluator.store.checkpoint(run)
    if not columns:
        return None
    found = from_columns(columns, search, store=evaluator.store, run=run, twins=twins)
    found.pending = [[read(data) for data in group] for group in found.pending]
    found.told_early = [read(data) for data in found.told_early]
    return found


def try_again(
    digests: Collection[str], config: RunConfig, *, evaluator: Evaluator
) -> dict[str, Trial]:
    """Return what becomes of trials of a run, by digest.

    No budget of time cuts this off: without all of them it is not known whether the run can go on.

    Parameters
    ----------
    digests
        The trials; the store knows how they ended.
    config
        The run that they are of.
    evaluator
        Tries them.

    Raises
    ------
    ValueError
        If the store does not hold one of them, or it is of another run.
    TaskError
        If the user's task raises.
    """
    if not digests:
        return {}
    requests = {digest: _request(digest, config, evaluator=evaluator) for digest in digests}
    found: dict[str, Trial] = {}
    with evaluator.answers(lambda: False) as answers:
        answers.ask(requests)
        while (answer := answers.next()) is not None:
            trial, _ = answer
            found[trial.key.digest] = trial
    return found


def _request(digest: str, config: RunConfig, *, evaluator: Evaluator) -> TrialRequest:
    """Return what asks for a stored trial of a run."""
    trial = evaluator.store.get(digest)
    if trial is None:
        raise ValueError("a trial to be tried again that is not stored")
    for stage in Stage:
        rule = Rule.parse(trial.key.rule)
        request = TrialRequest(rule, config.protocol(stage), config.seed)
        if evaluator.digest(request) == digest:
            return request
    raise ValueError("a trial to be tried again that is of another run")
