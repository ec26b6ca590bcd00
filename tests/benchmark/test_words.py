from __future__ import annotations

import dataclasses

import pytest
from benchmark.laboratory import PROTOCOL, SMALL, Response, verdict_of

from evolute.benchmark.comparison import Finding
from evolute.benchmark.verdict import Side, Verdict
from evolute.benchmark.words import numbers

NOISE = 0.02
GOOD, FAIR, POOR = (Response(loss, noise=NOISE) for loss in (0.2, 0.5, 0.8))
DEAD = Response(0.5, diverges_above=-9.0)


def test_a_rule_better_than_all_hand_made_ones_is_said_to_be() -> None:
    verdict, _ = verdict_of([GOOD], [FAIR, POOR, POOR])
    assert verdict.finding is Finding.BETTER
    interval = interval_of(verdict)
    size, lower, upper = numbers((-interval[0], -interval[2], -interval[1]), scale=0.02)
    assert verdict.sentence == (
        f"rule 1 is better than all three hand-made optimizers here: test loss lower by {size} "
        f"(95% interval {lower} to {upper}, 8 paired seeds), compared with Adam, the best of them "
        "in tuning"
    )
    assert verdict.notes == ()


def interval_of(verdict: Verdict) -> tuple[float, float, float]:
    """Mean and bounds of the difference between the champions, computed once more by scipy."""
    from scipy import stats

    first, second = (verdict.champion(side) for side in (Side.DISCOVERED, Side.HAND_MADE))
    assert first is not None
    assert second is not None
    mine = [run.loss for run in first.runs]
    theirs = [run.loss for run in second.runs]
    result = stats.ttest_rel(mine, theirs)
    bounds = result.confidence_interval(0.95)
    mean = sum(a - b for a, b in zip(mine, theirs, strict=True) if a is not None and b is not None)
    return mean / len(mine), float(bounds.low), float(bounds.high)


def test_better_than_a_single_hand_made_one_names_it() -> None:
    verdict, _ = verdict_of([GOOD], [FAIR])
    assert verdict.sentence.startswith("rule 1 is better than Adam here: test loss lower by 0.3")


def test_a_worse_rule_means_that_none_beats_the_hand_made_champion() -> None:
    verdict, _ = verdict_of([POOR], [GOOD, FAIR])
    assert verdict.finding is Finding.WORSE
    assert verdict.sentence.startswith(
        "none beats Adam here: rule 1, the best discovered rule in tuning, is worse: test loss "
        "higher by 0.5"
    )


def test_no_difference_shown_says_how_many_seeds_would_show_it() -> None:
    close = dataclasses.replace(FAIR, loss=0.499, noise=0.01)
    verdict, _ = verdict_of([close], [dataclasses.replace(FAIR, noise=0.01)])
    first, second = (verdict.champion(side) for side in (Side.DISCOVERED, Side.HAND_MADE))
    assert first is not None
    assert second is not None
    needed = verdict.compare(first, second).seeds_needed
    assert verdict.finding is Finding.NO_DIFFERENCE
    assert needed is not None
    assert verdict.sentence.startswith(
        "no difference shown between rule 1 and Adam, the best hand-made optimizer in tuning: "
        "test loss "
    )
    assert verdict.sentence.endswith(
        f"8 paired seeds; about {needed:,} seeds would be needed to show the difference seen)"
    )


def test_better_than_the_champion_alone_is_no_claim_over_all() -> None:
    # Lion is far worse in tuning but as good as the rule on the test split.
    lion = dataclasses.replace(POOR, test_shift=-0.6)
    verdict, _ = verdict_of([GOOD], [FAIR, lion])
    assert verdict.finding is Finding.NO_DIFFERENCE
    assert verdict.sentence.startswith(
        "rule 1 is not shown to be better than both hand-made optimizers here: test loss lower"
    )
    assert verdict.sentence.endswith("but no gain is shown over Lion")


def test_rules_without_noise_have_the_same_difference_on_each_seed() -> None:
    quiet = [Response(0.25), Response(0.5)]
    verdict, _ = verdict_of(quiet[:1], quiet[1:], config=SMALL)
    flat = flattened(verdict)
    assert flat.finding is Finding.BETTER
    assert flat.sentence == (
        "rule 1 is better than Adam here: test loss lower by 0.25 on each of 8 paired seeds"
    )
    same, _ = verdict_of(quiet[1:], quiet[1:])
    assert flattened(same).sentence.endswith(": the same test loss on all 8 paired seeds")


def flattened(verdict: Verdict) -> Verdict:
    """The verdict with each finalist's first fresh result, to three digits, on all seeds."""
    return dataclasses.replace(
        verdict,
        finalists=tuple(
            dataclasses.replace(
                finalist,
                runs=tuple(
                    dataclasses.replace(run, loss=round((finalist.runs[0].loss or 0) * 64) / 64)
                    for run in finalist.runs
                ),
            )
            for finalist in verdict.finalists
        ),
    )


def test_failed_runs_count_as_lost_and_the_sentence_says_so() -> None:
    failing = dataclasses.replace(FAIR, fails_on=frozenset({1, 4}))
    verdict, _ = verdict_of([GOOD], [failing])
    assert verdict.finding is Finding.BETTER
    assert verdict.sentence.startswith(
        "rule 1 is better than Adam here: 8 of 8 paired seeds won and 0 lost (sign test p = "
        "0.0078; a run without a score counts as lost: 0 of rule 1, 2 of Adam); where both have a "
        "score, test loss lower by 0.2"
    )
    assert "6 paired seeds" in verdict.sentence
    assert any(n.startswith("2 of 8 fresh runs of Adam ended without a") for n in verdict.notes)


def test_a_better_rule_that_fails_too_often_is_not_called_better() -> None:
    failing = dataclasses.replace(GOOD, fails_on=frozenset({1, 4, 5}))
    verdict, _ = verdict_of([failing], [FAIR])
    assert verdict.finding is Finding.NO_DIFFERENCE
    assert "5 of 8 paired seeds won and 3 lost" in verdict.sentence
    assert "would be needed" not in verdict.sentence


def test_an_optimizer_whose_fresh_runs_all_fail_is_worse() -> None:
    failing = dataclasses.replace(GOOD, fails_on=frozenset(range(8)))
    verdict, _ = verdict_of([failing], [FAIR])
    assert verdict.finding is Finding.WORSE
    assert verdict.sentence.endswith(
        "0 of 8 paired seeds won and 8 lost (sign test p = 0.0078; a run without a score counts as "
        "lost: 8 of rule 1, 0 of Adam)"
    )


def test_without_a_discovered_rule_there_is_no_comparison() -> None:
    for found in ([], [DEAD]):
        verdict, _ = verdict_of(found, [FAIR, GOOD])
        assert verdict.finding is None
        assert verdict.sentence.startswith(
            "no discovered rule finished here, so there is no comparison; the best hand-made "
            "optimizer in tuning is Lion (test loss "
        )


def test_without_a_hand_made_optimizer_there_is_no_comparison() -> None:
    for known in ([], [DEAD]):
        verdict, _ = verdict_of([GOOD, FAIR], known)
        assert verdict.finding is None
        assert verdict.sentence.startswith(
            "no hand-made optimizer finished here, so there is no comparison; the best discovered "
            "rule in tuning is rule 1 (test loss "
        )


def test_without_either_side_the_sentence_says_so() -> None:
    verdict, laboratory = verdict_of([], [DEAD])
    assert verdict.sentence == (
        "neither a discovered rule nor a hand-made optimizer finished here: no comparison"
    )
    assert len(laboratory.batches) == 1


def test_a_hand_made_optimizer_that_did_not_finish_is_left_out_and_named() -> None:
    verdict, _ = verdict_of([GOOD], [FAIR, DEAD, POOR])
    assert "better than both hand-made optimizers that finished here" in verdict.sentence
    assert verdict.notes == ("Lion is left out: diverged at rate 0.01",)


def test_a_finalist_without_a_usable_rate_is_left_out_and_named() -> None:
    dead = dataclasses.replace(DEAD, coarse_rate=1e-2)
    verdict, _ = verdict_of([GOOD, dead], [FAIR])
    assert verdict.notes == (
        "rule 2 is left out: no rate of its grid finished on all tuning seeds",
    )
    last = verdict.table[-1]
    assert (last.finalist.name, last.loss, last.versus_reference) == ("rule 2", None, None)


def test_a_champion_with_a_schedule_of_its_own_comes_with_a_warning() -> None:
    verdict, _ = verdict_of([GOOD], [FAIR])
    first = dataclasses.replace(verdict.finalists[0], has_schedule=True)
    scheduled = dataclasses.replace(verdict, finalists=(first, *verdict.finalists[1:]))
    assert any("schedule rather than the equation" in note for note in scheduled.notes)
    assert not any("schedule" in note for note in verdict.notes)


def test_a_finalist_that_only_the_test_split_favours_is_no_claim() -> None:
    lucky = dataclasses.replace(POOR, loss=0.9, test_shift=-0.8)
    verdict, _ = verdict_of([POOR, lucky], [FAIR])
    assert verdict.finding is Finding.WORSE
    assert verdict.sentence.startswith("rule 1, the best discovered rule in tuning, is worse than")
    assert any(
        note.startswith("rule 2 did better than the best hand-made") for note in verdict.notes
    )


def test_a_search_for_a_metric_is_judged_by_the_metric() -> None:
    protocol = dataclasses.replace(PROTOCOL, fitness="metric")
    verdict, _ = verdict_of([GOOD], [FAIR], protocol=protocol)
    assert verdict.sentence.startswith("rule 1 is better than Adam here: test accuracy higher by ")


def test_the_table_has_every_finalist_with_its_distance_to_the_best_hand_made() -> None:
    verdict, _ = verdict_of([GOOD, POOR], [FAIR, POOR])
    names = [row.finalist.name for row in verdict.table]
    assert sorted(names) == ["Adam", "Lion", "rule 1", "rule 2"]
    assert names[:2] == ["rule 1", "Adam"]
    reference = verdict.table[1]
    assert reference.versus_reference is None
    for row in verdict.table:
        losses = [run.loss for run in row.finalist.runs if run.loss is not None]
        assert row.loss is not None
        assert row.loss.mean == pytest.approx(sum(losses) / 8)
        assert row.metric is not None
        if row.versus_reference is not None:
            assert len(row.versus_reference.differences) == 8
            assert row.versus_reference.interval is not None


@pytest.mark.parametrize(
    ("values", "scale", "texts"),
    [
        ((0.012345, -0.004321), 0.0081, ["0.0123", "−0.0043"]),
        ((12345.6, 1.2), 150.0, ["12346", "1"]),
        ((0.5, 0.0), 1e-17, ["0.5000", "0.0000"]),
        ((0.25,), 0.25, ["0.25"]),
        ((0.0,), 0.0, ["0"]),
    ],
)
def testnumbers_have_the_digits_that_their_spread_gives_meaning(
    values: tuple[float, ...], scale: float, texts: list[str]
) -> None:
    assert numbers(values, scale=scale) == texts
