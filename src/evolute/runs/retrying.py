"""Retrying: trials that an earlier sitting saw time out or crash are tried again, before all else.

If each ends as it did, what the search was told stays true, and the run goes on from where it was.
"""

from __future__ import annotations

from collections.abc import Collection

from evolute.lang.rule import Rule
from evolute.runs.config import RunConfig
from evolute.runs.evaluate import Evaluator
from evolute.runs.executors.base import TrialRequest
from evolute.search.base import Stage
from evolute.trial import Trial


def try_again(
    digests: Collection[str], config: RunConfig, evaluator: Evaluator
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
    requests = {digest: _request(digest, config, evaluator) for digest in digests}
    found: dict[str, Trial] = {}
    with evaluator.answers(lambda: False) as answers:
        answers.ask(requests)
        while (answer := answers.next()) is not None:
            trial, _ = answer
            found[trial.key.digest] = trial
    return found


def _request(digest: str, config: RunConfig, evaluator: Evaluator) -> TrialRequest:
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
