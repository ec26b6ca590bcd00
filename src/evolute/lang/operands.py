"""The operand table: one row per operand (published method, section 1.1).

Two operands are primitive, the gradient ``g`` and the weight ``w``; every other row says in the
language itself what it stands for, so that rules which read the same average share its state.
``ema(x, β)`` is the bias-corrected moving average (a hat in the paper), ``ema_raw`` the plain one.
"""

from __future__ import annotations

from collections.abc import Callable

from evolute.errors import InputError
from evolute.lang.registry import OPERANDS, Operand

_MEAN_BETA = {
    1: (0.0 + 0.9 + 0.999) / 3,
    2: (0.0 + 0.99 + 0.999) / 3,
    3: (0.0 + 0.999 + 0.9999) / 3,
}
"""The mean over three β of (β·n − x) is mean(β)·n − x."""


def _rows() -> tuple[Operand, ...]:
    row = Operand
    return (
        row("g", "g", None, "g"),
        row("g2", "g^{2}", "g*g", "g^2"),
        row("g3", "g^{3}", "g*g*g", "g^3"),
        row("v", r"\hat{v}", "ema(g, 0.9)", "v hat"),
        row("s", r"\hat{s}", "ema(g2, 0.99)", "s hat"),
        row("lam", r"\hat{\lambda}", "ema(g3, 0.999)", "lam hat"),
        row("1", "1", "1", "1"),
        row("2", "2", "2", "2"),
        row("w1e_6", r"10^{-6} w", "1e-06*w", "10-6w"),
        row("w1e_5", r"10^{-5} w", "1e-05*w", "10-5w"),
        row("w1e_4", r"10^{-4} w", "0.0001*w", "10-4w"),
        row("w1e_3", r"10^{-3} w", "0.001*w", "10-3w"),
        row("sign_g", r"\mathrm{sign}(g)", "sign(g)", "sign(g)"),
        row("sign_v", r"\mathrm{sign}(\hat{v})", "sign(v)", "sign(v hat)"),
        row("qh_g", r"\mathrm{qh}(g)", "0.3*g + 0.7*v", "((1-0.7)*g+0.7*v hat)"),
        row("qh_g2", r"\mathrm{qh}(g^{2})", "0.05*g2 + 0.95*s", "((1-0.95)*g^2+0.95*s hat)"),
        # The log prints g^2 here where g^3 is meant (published method, section 1.1).
        row("qh_g3", r"\mathrm{qh}(g^{3})", "0.01*g3 + 0.99*lam", "((1-0.99)*g^2+0.99*lam hat)"),
        row("agg_g", r"\mathrm{agg}(g)", f"{_MEAN_BETA[1]!r}*ema_raw(g, 0.9) - g",
            "mean(beta*v-g)"),
        row("agg_g2", r"\mathrm{agg}(g^{2})", f"{_MEAN_BETA[2]!r}*ema_raw(g2, 0.99) - g2",
            "mean(beta*s-g^2)"),
        row("agg_g3", r"\mathrm{agg}(g^{3})", f"{_MEAN_BETA[3]!r}*ema_raw(g3, 0.999) - g3",
            "mean(beta*lam-g^3)"),
        # An extension: hand-made optimizers with weight decay of their own read w itself.
        row("w", "w", None, searched=False),
    )  # fmt: skip


for _row in _rows():
    OPERANDS.add(_row)


def operand(
    *, latex: str, name: str | None = None, searched: bool = True
) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Register an operand; the decorated definition returns its meaning in the language.

    Parameters
    ----------
    latex
        As printed in a paper.
    name
        Name in rules; the definition's own name unless given.
    searched
        Whether the search draws it.

    Raises
    ------
    InputError
        If the name is taken, or the meaning returned is no text, or with all operands written out
        is larger or deeper than the language allows.
    RuleSyntaxError
        If the meaning cannot be read.

    Examples
    --------
    >>> import evolute
    >>> @evolute.operand(latex="g_t - g_{t-1}", searched=False)
    ... def g_change():
    ...     return "g - previous(g)"
    >>> str(evolute.Rule.parse("momentum: g + g_change"))
    'momentum: g+g_change'
    """

    def register(define: Callable[[], str]) -> Callable[[], str]:
        # Both read this table.
        from evolute.lang.expand import expand
        from evolute.lang.text import check_size, parse_expression

        row_name = name or define.__name__
        definition = define()
        if not isinstance(definition, str):
            raise InputError(
                f"the operand {row_name!r} returned {type(definition).__name__}: its definition "
                "returns a text in the language, such as 'g - previous(g)'"
            )
        check_size(expand(parse_expression(definition)))
        OPERANDS.add(Operand(row_name, latex, definition, searched=searched))
        return define

    return register
