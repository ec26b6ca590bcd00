"""Reading the authors' notation inverts writing it, for any rule of the published space."""

from __future__ import annotations

from hypothesis import assume, example, given
from hypothesis import strategies as st
from strategies import searched_rules

from evolute.errors import RuleSyntaxError
from evolute.lang.expression import Call, Constant, walk
from evolute.lang.published_log import parse_published, print_published
from evolute.lang.rule import Rule

_FRAGMENTS = (
    "None ~ ", "-(", "é", "(", ")", "[", "][", "]", "|", "1/(1+exp(-", "/(1+|", "|)", "g",
    "v hat", "a1", "a13", "ln(|1+exp(", "sqrt(", "(0.95*(", ")+0.05*(", ")^2", ") / (",
    "drop(", ", 0.5)",
)  # fmt: skip


def is_softsign_of_one(rule: Rule) -> bool:
    """1/(1+|1|) is both softsign(1) and dsoftsign(1), which are equal."""
    return any(node == Call("softsign", (Constant(1),)) for node in walk(rule.update))


def attempt(text: str) -> Rule | RuleSyntaxError:
    try:
        return parse_published(text)
    except RuleSyntaxError as error:
        return error


@given(searched_rules(max_leaves=8))
@example(Rule.parse("none: [sigmoid(softsign(sigmoid(a1+a2)))]*(g+v)"))
@example(Rule.parse("none: softsign(softsign(g-v))-dsoftsign(dsoftsign(1))"))
def test_reading_inverts_writing(rule: Rule) -> None:
    assume(not is_softsign_of_one(rule))
    assert parse_published(print_published(rule)) == rule


@given(st.lists(st.sampled_from(_FRAGMENTS), max_size=40).map("".join))
def test_any_line_is_read_or_refused_at_a_place_inside_it(line: str) -> None:
    text = "None ~ " + line
    outcome = attempt(text)
    if isinstance(outcome, Rule):
        assert print_published(outcome).rstrip() == text.rstrip()
    else:
        assert 0 <= outcome.position <= len(text)
