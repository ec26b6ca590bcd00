"""The page of an ablation: what each part is worth, the simplest rule, and the decays."""

from __future__ import annotations

from evolute.benchmark.explained import ExplainResult, PartFinding, Simplification
from evolute.benchmark.part_table import by_cost, corrected, finding_of
from evolute.report.ablation_figures import (
    effect_figure,
    measured_name,
    parts_figure,
)
from evolute.report.origin import config_table, origin
from evolute.report.page import (
    Between,
    Block,
    Cell,
    Equation,
    Notes,
    Page,
    Section,
    Table,
    Tendency,
    present,
)
from evolute.report.rule_figures import Winner, decay_figure
from evolute.report.typeset import parse_or_none, typeset, typeset_schedule
from evolute.report.wording import plural, sentence_case
from evolute.store.base import RunRecord


def ablation_page(result: ExplainResult, record: RunRecord) -> Page:
    """Put the page of an ablation together."""
    badge, tendency, headline = _finding(result)
    return Page(
        kicker="Report of an ablation",
        title=result.name,
        badge=badge,
        tendency=tendency,
        verdict=headline,
        evidence=sentence_case(result.sentence),
        small_print=tuple(map(sentence_case, result.notes)),
        figures=_key_figures(result),
        sections=(
            Section(
                title="The rule",
                lead="What was taken apart, and the simplest rule that was found. g is the "
                "gradient, v̂ and ŝ its averaged first and second moment, a with an index a base "
                "decay from 1 to 0.",
                blocks=_rules(result),
            ),
            Section(
                title="Part by part",
                lead="Every decay removed, every function bypassed, every constant halved and "
                "doubled, the momentum type exchanged: one change at a time.",
                blocks=present([parts_figure(result), _parts(result)]),
            ),
            Section(
                title="Decays",
                lead="A decay that multiplies the whole update is a schedule, which works with any "
                "optimizer; those inside belong to the equation.",
                blocks=_decays(result),
            ),
            Section(
                title="Settings",
                lead="How much work the ablation did.",
                blocks=(config_table(result.config),),
            ),
        ),
        provenance=(
            ("Ablation", result.digest[:12]),
            ("task", result.task),
            ("preset", result.preset),
            ("seed", str(result.seed)),
            *origin(record),
        ),
    )


def _finding(result: ExplainResult) -> tuple[str, Tendency, str]:
    found = result.simplest
    if found is None:
        return (
            "No simpler rule",
            Tendency.OPEN,
            f"On {result.task}, no part of this rule is shown to be worth nothing.",
        )
    small = f"a rule of {plural(found.size_after, 'node')}"
    if not found.not_worse:
        return (
            "Not confirmed",
            Tendency.OPEN,
            f"On {result.task}, {small} looked as good as the whole of {found.size_before}, but "
            "fresh seeds do not confirm it.",
        )
    return (
        "Simpler rule",
        Tendency.GOOD,
        f"On {result.task}, {small} is not worse than the whole of {found.size_before}.",
    )


def _key_figures(result: ExplainResult) -> tuple[tuple[str, str, str], ...]:
    costly = sum(result.shown(part) is PartFinding.COSTS for part in result.parts)
    harmless = sum(part.not_worse for part in result.parts)
    sign = "" if result.own.standard_error is None else f"± {result.own.standard_error:.2g}, "
    return (
        (str(len(result.parts)), "changes tried", "one part at a time"),
        (str(costly), "cost something", "after correction for their number"),
        (str(harmless), "are not worse", f"by a margin of {result.margin:.2g}"),
        (f"{result.own.mean:.4g}", f"validation {measured_name(result)}",
         f"{sign}the rule as it is"),
        (str(result.config.seeds), "seeds", "for each comparison"),
    )  # fmt: skip


def _rules(result: ExplainResult) -> tuple[Block, ...]:
    found = result.simplest
    blocks: list[Block | None] = [
        Equation(
            title="The whole rule",
            rule=typeset(result.rule, whole=True),
            facts=(("learning rate", f"{result.learning_rate:.3g}"),),
        )
    ]
    if found is not None:
        offered = "The simplest rule that is not worse" if found.not_worse else "Not confirmed"
        blocks += [
            Equation(
                title=offered, rule=typeset(found.rule, whole=True), facts=_facts(found, result)
            ),
            Notes(tuple(sentence_case(f"taken out: {each}") for each in found.removed)),
        ]
    return present(blocks)


def _facts(found: Simplification, result: ExplainResult) -> tuple[tuple[str, str], ...]:
    facts = [("nodes", f"{found.size_after} of {found.size_before}")]
    if found.learning_rate is not None:
        facts.append(("learning rate", f"{found.learning_rate:.3g}"))
    interval = None if found.comparison is None else found.comparison.interval
    if interval is not None:
        facts.append((
            f"difference in test {measured_name(result)}",
            f"{interval.mean:+.3g} ({interval.lower:+.3g} to {interval.upper:+.3g})".replace(
                "-", "−"
            ),
        ))  # fmt: skip
    if found.margin is not None:
        facts.append(("margin", f"{found.margin:.2g}"))
    return tuple(facts)


def _parts(result: ExplainResult) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for part in by_cost(result):
        found = part.comparison
        seen = None if found is None else found.interval
        rows.append((
            *(part.part, typeset(part.rule), None if seen is None else seen.mean),
            None if seen is None else Between(seen.lower, seen.upper),
            part.adjusted_p_value,
            finding_of(part, result),
        ))  # fmt: skip
    return Table(
        name="parts-table",
        caption=f"One part changed, {measured_name(result)} beside the rule's own "
        f"{result.own.mean:.4g} on {plural(result.own.runs, 'seed')} (validation split); "
        f"{corrected(result)}",
        columns=(
            *("change", "rule with it", "difference#", "interval#", "corrected p#"),
            "what is shown",
        ),
        rows=tuple(rows),
        shown=12,
    )


def _decays(result: ExplainResult) -> tuple[Block, ...]:
    blocks: list[Block | None] = [effect_figure(result)]
    if result.schedule is not None:
        blocks.append(
            Equation(
                title="Its schedule, which works with any optimizer",
                rule=typeset_schedule(result.schedule),
            )
        )
    rule = parse_or_none(result.rule)
    if rule is not None:
        blocks.append(decay_figure(Winner("the rule", rule), name="decays"))
    return present(blocks)
