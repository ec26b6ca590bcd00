from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from benchmark.laboratory import Response, verdict_of
from pydantic import ValidationError

from evolute.benchmark.config import VerdictConfig, expected_trials
from evolute.benchmark.verdict import Verdict
from evolute.errors import InputError


def test_a_verdict_survives_json_and_keeps_its_words_in_it() -> None:
    verdict, _ = verdict_of([Response(0.3, noise=0.1)], [Response(0.4, log_rate=-9.0)])
    data = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    again = Verdict.from_json(data)
    assert again == verdict
    assert data["sentence"] == again.sentence == verdict.sentence
    assert tuple(data["notes"]) == verdict.notes


@pytest.mark.parametrize(
    "data", [{}, {"measure": "luck"}, {"measure": "loss", "metric": None, "finalists": "none"}]
)
def test_what_is_no_verdict_is_refused_in_one_line(data: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^not a verdict: [^\n]*$"):
        Verdict.from_json(data)


@pytest.mark.parametrize(
    "wrong", [{"finalists": 0}, {"fresh_seeds": 1}, {"confidence": 1.0}, {"finalist": 3}]
)
def test_a_config_out_of_range_or_with_an_unknown_key_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VerdictConfig(**wrong)


def test_the_cost_is_a_round_one_probed_trial_each_the_grids_and_the_fresh_runs() -> None:
    config = VerdictConfig(
        candidates=6, rung_seeds=2, finalists=4, tuning_seeds=2, grid_half_width=2, fresh_seeds=10
    )
    assert expected_trials(config, 3) == 6 * 2 + 3 + (4 + 3) * 5 * 2 + (4 + 3) * 10
    alone = dataclasses.replace(config, candidates=4)
    assert expected_trials(alone, 3) == 3 + (4 + 3) * 5 * 2 + (4 + 3) * 10
