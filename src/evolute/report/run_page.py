"""The page of a run: verdict, comparison, winners, leaderboard, search and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from evolute.benchmark.verdict import Finalist, Side
from evolute.report.comparison_figures import (
    difference_figure,
    learning_curves_figure,
    sensitivity_figure,
)
from evolute.report.facts import RunFacts
from evolute.report.findings import FINDINGS
from evolute.report.measure import Measure
from evolute.report.origin import origin
from evolute.report.page import Block, Notes, Page, Section, Tendency, present
from evolute.report.run_tables import (
    comparison_table,
    endings_table,
    leaderboard_table,
    settings_table,
)
from evolute.report.search_figures import (
    candidates_figure,
    endings_figure,
    paths_figure,
    time_figure,
)
from evolute.report.winners import Named, winner_blocks
from evolute.report.wording import (
    capitalised,
    count_text,
    plural,
    seconds_text,
    sentence_case,
)
from evolute.trial import OutcomeKind

WINNERS = 3
"""Rules whose equations and curves are shown."""


def run_page(facts: RunFacts) -> Page:
    """Put the page of a run together; it says what is missing where a run was cut short."""
    badge, tendency, sentence = _finding(facts)
    headline, _, evidence = sentence.partition(": ")
    measure = Measure("validation loss" if facts.selects_by_loss else _metric(facts),
                      is_loss=facts.selects_by_loss)  # fmt: skip
    return Page(
        kicker="Report of a search",
        title=facts.record.name,
        badge=badge,
        tendency=tendency,
        verdict=sentence_case(headline),
        evidence=sentence_case(evidence),
        small_print=() if facts.verdict is None else tuple(map(sentence_case, facts.verdict.notes)),
        figures=_key_figures(facts, measure),
        sections=(
            _comparison(facts, measure),
            _winners(facts, measure),
            _leaderboard(facts, measure),
            _search(facts, measure),
            _cost(facts),
            Section(
                title="Settings",
                lead="What determines every trial of this run.",
                blocks=(settings_table(facts),),
            ),
        ),
        provenance=_provenance(facts),
    )


def _finding(facts: RunFacts) -> tuple[str, Tendency, str]:
    """Return badge, tendency and sentence of the headline."""
    verdict = facts.verdict
    if verdict is not None:
        finding = verdict.finding
        badge, tendency = ("Nothing to compare", Tendency.OPEN)
        if finding is not None:
            badge, tendency = FINDINGS[finding]
        return badge, tendency, verdict.sentence
    if not facts.proposals:
        return (
            "Nothing tried yet",
            Tendency.OPEN,
            "this run has not tried a candidate: give the same search command again to go on",
        )
    if not facts.leaderboard:
        endings = Counter(str(each.outcome) for each in facts.proposals)
        listed = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common())
        many = plural(len(facts.proposals), "candidate")
        return (
            "Nothing found",
            Tendency.BAD,
            f"none of the {many} was trained to the end, so there is nothing to compare: {listed}",
        )
    best = facts.leaderboard[0]
    return (
        "Not judged",
        Tendency.OPEN,
        "this run has no verdict, so nothing shows that it found a better optimizer: the best of "
        f"{plural(len(facts.leaderboard), 'trained rule')} has a fitness of {best.fitness:.4g} on "
        "the validation data that picked it, which flatters it",
    )


def _metric(facts: RunFacts) -> str:
    named = None if facts.verdict is None else facts.verdict.metric
    return f"validation {named or 'metric'}"


def _key_figures(facts: RunFacts, measure: Measure) -> tuple[tuple[str, str, str], ...]:
    outcomes = Counter(each.outcome for each in facts.proposals)
    untrained = outcomes[OutcomeKind.DEGENERATE] + outcomes[OutcomeKind.DUPLICATE]
    finished = sum(trial.score is not None for trial in facts.trained)
    seconds = sum(trial.provenance.seconds for trial in facts.trained)
    failed = len(facts.trained) - finished
    figures = [
        (count_text(len(facts.proposals)), "proposed", f"{count_text(untrained)} not trained"),
        (count_text(len(facts.trained)), "trained", f"{count_text(finished)} to the end"),
        (count_text(failed), "failed", "diverged, hopeless or stopped"),
        (seconds_text(seconds), "of training", "added up over workers"),
    ]
    if facts.leaderboard:
        best = measure.value(facts.leaderboard[0].fitness)
        figures.append((f"{best:.4g}", "best in the search", measure.name))
    if facts.contenders:
        seeds = len(facts.contenders[0].finalist.runs)
        figures.append((str(seeds), "fresh seeds", "for each of both sides"))
    return tuple(figures)


def _comparison(facts: RunFacts, measure: Measure) -> Section:
    blocks: list[Block | None] = []
    if facts.verdict is not None:
        metric = facts.verdict.metric or "metric"
        label = "test loss" if facts.verdict.measure.value == "loss" else f"test {metric}"
        blocks = [
            difference_figure(facts.verdict, label),
            comparison_table(facts.verdict),
            learning_curves_figure(facts.contenders),
            sensitivity_figure(facts, measure),
        ]
    return Section(
        title="Against hand-made optimizers",
        lead="Each optimizer was tuned on the same finer grid of learning rates, then trained on "
        "seeds that neither search nor tuning used, and measured on test data that nothing read "
        "before.",
        blocks=present(blocks),
    )


def winners_of(facts: RunFacts) -> tuple[tuple[str, str, float], ...]:
    """Return name, rule and learning rate of the best rules, the verdict's champion first."""
    finalists: list[Finalist] = [
        contender.finalist for contender in facts.contenders if contender.discovered
    ]
    if finalists:
        return tuple(
            (
                f.name,
                f.rule,
                f.coarse_rate if f.tuning.best is None else f.tuning.best.learning_rate,
            )
            for f in finalists[:WINNERS]
        )
    return tuple(
        (f"rank {row.rank}", row.rule, row.learning_rate) for row in facts.leaderboard[:WINNERS]
    )


def _winners(facts: RunFacts, measure: Measure) -> Section:
    named: list[Named] = []
    fitness = {row.rule: (row.rank, row.fitness) for row in facts.leaderboard}
    verdict = facts.verdict
    chosen = verdict is not None and verdict.champion(Side.DISCOVERED) is not None
    for place, (name, text, rate) in enumerate(winners_of(facts)):
        stated = [("learning rate", f"{rate:.3g}")]
        if text in fitness:
            rank, value = fitness[text]
            stated.append(("rank in the search", str(rank)))
            stated.append((measure.name, f"{measure.value(value):.4g}"))
        title = f"{capitalised(name)}{', chosen in tuning' if chosen and place == 0 else ''}"
        named.append(Named(name, title, text, tuple(stated)))
    return Section(
        title="Winners",
        lead="The update u, the learning rate η with its schedule factor, and how weights w move. "
        "g is the gradient, v̂ and ŝ its averaged first and second moment, a with an index a base "
        "decay from 1 to 0.",
        blocks=winner_blocks(named, facts.settings.main.training),
    )


def _leaderboard(facts: RunFacts, measure: Measure) -> Section:
    blocks: Sequence[Block] = (leaderboard_table(facts),) if facts.leaderboard else ()
    return Section(
        title="Leaderboard",
        lead=f"Distinct trained rules by {measure.name}, which picked them: it flatters the first. "
        "Where a rule was judged, its mean on fresh seeds and test data stands beside it, with its "
        "interval. Click a heading to sort.",
        blocks=tuple(blocks),
    )


def _search(facts: RunFacts, measure: Measure) -> Section:
    return Section(
        title="The search",
        lead="How the search moved, candidate by candidate.",
        blocks=present([paths_figure(facts, measure), candidates_figure(facts, measure)]),
    )


def _cost(facts: RunFacts) -> Section:
    blocks: list[Block | None] = [endings_figure(facts), time_figure(facts)]
    if facts.proposals:
        blocks.append(endings_table(facts))
    seconds = sum(trial.provenance.seconds for trial in facts.trained)
    if seconds > 0:
        steps = sum(trial.score.steps for trial in facts.trained if trial.score is not None)
        rate = 60 * len(facts.trained) / seconds
        blocks.append(
            Notes((
                f"{count_text(len(facts.trained))} trainings took {seconds_text(seconds)} in all: "
                f"{rate:.3g} trials per minute of one worker.",
                f"Trials that ended with a score made {count_text(steps)} optimizer steps, their "
                "probes of the learning rate included.",
            ))
        )  # fmt: skip
    return Section(
        title="What it cost",
        lead="Where candidates died, and where the time went.",
        blocks=present(blocks),
    )


def _provenance(facts: RunFacts) -> tuple[tuple[str, str], ...]:
    machines = sorted({trial.provenance.machine for trial in facts.trials} - {""})
    versions = sorted({trial.key.task_version for trial in facts.trials})
    return (
        ("Run", facts.record.digest[:12]),
        ("task", " ".join([facts.settings.task, *versions[:1]])),
        ("seed", str(facts.settings.seed)),
        ("algorithm", facts.settings.algorithm),
        ("machine", "; ".join(machines) or "unknown"),
        *origin(facts.record),
    )
