"""Rule: what an optimizer is, as data.

A rule is an update expression u, a momentum type, a sign and a learning-rate schedule factor::

    nesterov: -([a3]*bessel_i1e(g/sqrt(s)))
    ^ momentum type
              ^ sign   ^ schedule factor on the whole update

A minus or a decay on the whole update *is* the sign and the schedule: both stand in their own
field, never at the root of ``update``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from evolute.errors import InputError, RuleSyntaxError, UnknownNameError, did_you_mean, shorten
from evolute.lang.expression import (
    Call,
    Expression,
    Scaled,
    require_schedule,
    require_tensor,
)
from evolute.lang.text import (
    check_size,
    parse_expression,
    parse_schedule,
    print_expression,
)


class Momentum(StrEnum):
    """How an update u is applied with learning rate lr and momentum μ (section 1.4).

    Attributes
    ----------
    NONE
        w ← w − lr·u
    MOMENTUM
        m ← μ·m − lr·u; w ← w + m
    NESTEROV
        m ← μ·m − lr·u; w ← w + μ·m − lr·u
    NESTEROV_PUBLISHED
        m ← μ·m − lr·u; w ← w + m − lr·u, the form of the authors' search program
    """

    NONE = "none"
    MOMENTUM = "momentum"
    NESTEROV = "nesterov"
    NESTEROV_PUBLISHED = "nesterov_published"


@dataclass(frozen=True)
class Rule:
    """An optimizer: w moves along −sign·lr·schedule(t/T)·update, through its momentum type.

    Parameters
    ----------
    update
        Tensor expression u. A minus or a decay at its root moves to ``sign`` and ``schedule``.
    momentum
        How u is applied.
    sign
        +1 or −1.
    schedule
        Factor on the learning rate, of sort schedule; None is 1.

    Raises
    ------
    InputError
        If a part is of the wrong sort, or larger or deeper than the language allows.

    Examples
    --------
    >>> rule = Rule.parse("nesterov: -([a3]*bessel_i1e(arctan([a13*a2]*g)))")
    >>> rule.sign, rule.momentum.value
    (-1, 'nesterov')
    >>> str(rule)
    'nesterov: -([a3]*bessel_i1e(arctan([a13*a2]*g)))'
    """

    update: Expression
    momentum: Momentum = Momentum.NONE
    sign: int = 1
    schedule: Expression | None = None

    def __post_init__(self) -> None:
        if self.sign not in (1, -1):
            raise InputError(f"the sign of a rule is {self.sign}: it must be 1 or -1")
        check_size(self.update)
        require_tensor(self.update)
        if self.schedule is not None:
            check_size(self.schedule)
            require_schedule(self.schedule)
        self._hoist()
        if self.sign != 1 or self.schedule is not None:  # the rule's own text must be readable
            check_size(self.signed_update)

    def _hoist(self) -> None:
        """Move a minus or a decay at the root of the update into sign and schedule."""
        update, sign, schedule = self.update, self.sign, self.schedule
        while True:
            match update:
                case Call("neg", (argument,), _):
                    update, sign = argument, -sign
                case Scaled(decay, value):
                    update = value
                    schedule = decay if schedule is None else Call("mul", (schedule, decay))
                case _:
                    break
        object.__setattr__(self, "update", update)
        object.__setattr__(self, "sign", sign)
        object.__setattr__(self, "schedule", schedule)

    @property
    def signed_update(self) -> Expression:
        """The update with its schedule and sign, as one expression."""
        scaled = self.update if self.schedule is None else Scaled(self.schedule, self.update)
        return scaled if self.sign == 1 else Call("neg", (scaled,))

    def with_sign(self, sign: int) -> Rule:
        """Return this rule with another sign, +1 or −1."""
        return self if sign == self.sign else replace(self, sign=sign)

    def canonical(self) -> Rule:
        """Return the canonical form: equal for rules that differ only in how they are written.

        See :mod:`evolute.lang.simplify` for the rewrites; each preserves every value.
        """
        from evolute.lang.simplify import simplify_rule  # simplify.py builds rules

        return simplify_rule(self)

    def __str__(self) -> str:
        return f"{self.momentum.value}: {print_expression(self.signed_update)}"

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read a rule from its text form; the inverse of ``str``.

        A text without a momentum type is of type ``none``.

        Raises
        ------
        RuleSyntaxError
            If it is no rule; the message says where, what is allowed, and the nearest known name.
        """
        head, colon, tail = text.partition(":")
        body, offset = (tail, len(head) + 1) if colon else (text, 0)
        momentum = Momentum.NONE
        if colon:
            known = [momentum.value for momentum in Momentum]
            if head.strip() not in known:
                given = shorten(head, limit=40)
                raise RuleSyntaxError(
                    f"unknown momentum type {given!r}: {did_you_mean(given, known)}", text, 0
                )
            momentum = Momentum(head.strip())
        update = parse_expression(body, offset=offset, whole=text)
        try:
            return cls(update, momentum)
        except InputError as error:
            raise RuleSyntaxError(str(error), text, offset) from None

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; :meth:`from_json` reverses it exactly."""
        return {
            "momentum": self.momentum.value,
            "sign": self.sign,
            "schedule": None if self.schedule is None else print_expression(self.schedule),
            "update": print_expression(self.update),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rule:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        InputError
            If a key is missing or unknown, or a value is of the wrong type.
        RuleSyntaxError
            If a text in it is no expression.
        """
        allowed = {"momentum", "sign", "schedule", "update"}
        if not isinstance(data, Mapping):
            raise InputError(f"a rule in JSON is an object, got {type(data).__name__}")
        for key in data:
            if key not in allowed:
                raise UnknownNameError("key of a rule in JSON", shorten(str(key)), allowed)
        update, schedule = data.get("update"), data.get("schedule")
        momentum, sign = data.get("momentum", "none"), data.get("sign", 1)
        if not isinstance(update, str) or not isinstance(schedule, str | None):
            raise InputError("a rule in JSON has texts 'update' and 'schedule' (or null)")
        if momentum not in list(Momentum) or type(sign) is not int or sign not in (1, -1):
            raise InputError(
                f"a rule in JSON has a 'momentum' among {', '.join(Momentum)} and a 'sign' 1 or "
                f"-1, got {shorten(repr(momentum))} and {shorten(repr(sign))}"
            )
        return cls(
            parse_expression(update),
            Momentum(momentum),
            sign,
            None if schedule is None else parse_schedule(schedule),
        )

    @classmethod
    def from_published(cls, text: str) -> Rule:
        """Read a rule in the notation of the authors' search log (published method, section 1).

        Raises
        ------
        RuleSyntaxError
            If it is no rule in that notation.
        """
        from evolute.lang.published_log import parse_published  # published_log.py builds rules

        return parse_published(text)
