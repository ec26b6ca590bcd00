"""The function table: one row per operation (published method, sections 1.2, 1.3 and 2).

ε = 1e-7 throughout. Every ``compute`` works in the dtype of its argument and lets NaN through.
Rows marked ``searched=()`` are extensions for writing hand-made optimizers; the search draws them
only when asked to.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable

import torch
from torch import Tensor

from evolute.errors import InputError
from evolute.lang.arcsinh import arcsinh
from evolute.lang.registry import FUNCTIONS, Function, Kind, Parameter, Parity

EPSILON = 1e-7
"""The ε of the published method."""

LARGEST_NORM = 1.0
"""Largest L2 norm that clip-by-norm leaves as it is."""

BETA = Parameter("beta", 0.0, 1.0)
RATE = Parameter("rate", 0.0, 1.0)


def _clip_norm(x: Tensor, *, dims: tuple[int, ...]) -> Tensor:
    """x · min(1, 1/‖x‖₂), the norm over one weight tensor."""
    if x.dim() == 0 or not dims:
        norm = x.abs()
    else:
        norm = x.square().sum(dim=dims, keepdim=True).sqrt()
    return x / norm.clamp(min=LARGEST_NORM)


def _dropout(x: Tensor, rate: float, *, uniform: Tensor) -> Tensor:
    """x/(1−rate) where uniform ≥ rate, else 0."""
    return torch.where(uniform >= rate, x / (1.0 - rate), torch.zeros_like(x))


def _averaged(x: Tensor, beta: float, state: Tensor) -> Tensor:
    """Return β·n + (1−β)·x in two passes over the memory, where the operators would make three."""
    return torch.add(beta * state, x, alpha=1.0 - beta)


def _ema_raw(x: Tensor, beta: float, *, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """n ← β·n + (1−β)·x; returns n."""
    average = _averaged(x, beta, state)
    return average, average


def _ema(x: Tensor, beta: float, *, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """n ← β·n + (1−β)·x; returns n/(1−β^(t+1))."""
    average = _averaged(x, beta, state)
    return average / (1.0 - beta ** (step + 1)), average


def _delta(x: Tensor, *, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """n ← x − n; returns n."""
    change = x - state
    return change, change


def _running_max(x: Tensor, *, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """n ← max(x, n); returns n."""
    largest = torch.maximum(x, state)
    return largest, largest


def _previous(x: Tensor, *, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Return x of the step before, 0 at the first."""
    return state, x


def _accumulate(x: Tensor, y: Tensor, *, state: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """n ← y·n + x; returns n: a running sum where y is 1, heavy-ball momentum where it is less."""
    accumulated = y * state + x
    return accumulated, accumulated


def _clip(x: Tensor, y: Tensor) -> Tensor:
    """max(min(x, |y|), −|y|)."""
    bound = y.abs()
    return torch.maximum(torch.minimum(x, bound), -bound)


def _quotient(x: Tensor, y: Tensor) -> Tensor:
    """x/y, infinite of the sign of x where y is 0: adding 0 takes the sign from a zero."""
    return x / (y + 0.0)


def _positive(_sign: int) -> int:
    return 1


def _rows() -> tuple[Function, ...]:
    odd, even = Parity.ODD, Parity.EVEN
    kept, positive, neg = operator.pos, _positive, operator.neg
    stateful = Kind.STATEFUL
    row = Function
    return (
        # Unary, section 1.2. `searched_in_decay` and `published_in_decay` are section 2.
        row("identity", 1, "{0}", lambda x: x, searched_in_decay=True, idempotent=True,
            parity=odd, published="id({0})", sign=kept, formula="x"),
        row("neg", 1, "-{0}", lambda x: -x, published="-({0})", parity=odd, sign=neg, formula="-x"),
        row("log", 1, r"\ln\left(|{0}|+\epsilon\right)", lambda x: (x.abs() + EPSILON).log(),
            published="ln(|{0}|)", parity=even, formula="log(abs(x) + epsilon)", noun="logarithm"),
        row("sqrt", 1, r"\sqrt{{|{0}|}}", lambda x: x.abs().sqrt(), searched_in_decay=True,
            published="sqrt(|{0}|)", published_in_decay="sqrt({0})", parity=even,
            sign=abs, formula="sqrt(abs(x))", noun="root"),
        row("exp", 1, r"e^{{{0}}}", torch.exp, published="exp({0})", sign=positive,
            formula="exp(x)", noun="exponential"),
        row("abs", 1, r"\left|{0}\right|", torch.abs, published="|{0}|", idempotent=True,
            parity=even, sign=abs, formula="abs(x)", noun="magnitude"),
        row("sigmoid", 1, r"\sigma\left({0}\right)", torch.sigmoid, searched_in_decay=True,
            published="sig({0})", published_in_decay="1/(1+exp(-{0})", sign=positive,
            formula="sigmoid(x)"),
        row("dsoftsign", 1, r"\frac{{1}}{{1+\left|{0}\right|}}", lambda x: 1 / (1 + x.abs()),
            searched_in_decay=True, published="1/(1+|{0}|)",
            published_in_decay="deriv_soft({0})", parity=even, sign=positive,
            formula="1 / (1 + abs(x))"),
        row("softplus", 1, r"\ln\left(1+e^{{{0}}}\right)",
            lambda x: torch.logaddexp(x, torch.zeros_like(x)), published="ln(|1+exp({0})|)",
            sign=positive, formula="logaddexp(x, zeros_like(x))"),
        row("erf", 1, r"\mathrm{{erf}}\left({0}\right)", torch.special.erf,
            searched_in_decay=True, published="erf({0})", parity=odd, sign=kept, formula="erf(x)"),
        row("erfc", 1, r"\mathrm{{erfc}}\left({0}\right)", torch.special.erfc,
            searched_in_decay=True, published="erfc({0})", sign=positive, formula="erfc(x)"),
        row("arcsinh", 1, r"\mathrm{{arcsinh}}\left({0}\right)", arcsinh,
            published="arcsinh({0})", parity=odd, sign=kept, formula="arcsinh(x)"),
        row("tanh", 1, r"\tanh\left({0}\right)", torch.tanh, searched_in_decay=True,
            published="tanh({0})", parity=odd, sign=kept, formula="tanh(x)"),
        row("arctan", 1, r"\arctan\left({0}\right)", torch.arctan, searched_in_decay=True,
            published="arctan({0})", parity=odd, sign=kept, formula="arctan(x)"),
        row("reciprocal", 1, r"\frac{{1}}{{{0}+\epsilon}}", lambda x: 1 / (x + EPSILON),
            published="1/({0})", formula="1 / (x + epsilon)"),
        row("bessel_i1e", 1, r"I_{{1e}}\left({0}\right)", torch.special.i1e,
            searched_in_decay=True, published="bessel_i1e({0})", parity=odd, sign=kept,
            formula="i1e(x)", noun="bessel"),
        row("max0", 1, r"\max\left({0}, 0\right)", lambda x: x.clamp(min=0.0),
            published="max({0}, 0)", idempotent=True, sign=lambda x: max(x, 0),
            formula="at_least(x, 0)", noun="positive_part"),
        row("min0", 1, r"\min\left({0}, 0\right)", lambda x: x.clamp(max=0.0),
            published="min({0}, 0)", idempotent=True, sign=lambda x: min(x, 0),
            formula="at_most(x, 0)", noun="negative_part"),
        row("dropout", 1, r"\mathrm{{drop}}_{{{1}}}\left({0}\right)", _dropout,
            kind=Kind.RANDOM, parameters=(RATE,), searched=((0.5,), (0.3,), (0.1,)),
            published="drop({0}, {1})", parity=odd,
            formula="where(uniform >= rate, x / (1 - rate), zeros_like(x))"),
        row("clip_norm", 1, r"\mathrm{{clipnorm}}\left({0}\right)", _clip_norm,
            kind=Kind.PER_TENSOR, published="norm({0})", parity=odd,
            sign=kept, formula="x / at_least(norm(x), 1)", noun="clipped"),
        row("softsign", 1, r"\frac{{{0}}}{{1+\left|{0}\right|}}", lambda x: x / (1 + x.abs()),
            searched_in_decay=True, published="{0}/(1+|{0}|)", parity=odd,
            sign=kept, formula="x / (1 + abs(x))"),
        row("ema", 1, r"\mathrm{{ema}}_{{{1}}}\left({0}\right)", _ema, kind=stateful,
            parameters=(BETA,), searched=((0.95,),), published="expMovAvg({0})", parity=odd,
            formula="new / bias_correction(beta, step)",
            new_state="add_scaled(beta * state, x, 1 - beta)", noun="average"),
        row("delta", 1, r"\Delta\left({0}\right)", _delta, kind=stateful,
            published="deltaChange({0})", parity=odd, formula="new", new_state="x - state",
            noun="change"),
        row("running_max", 1, r"\max_{{\tau \leq t}}\left({0}\right)", _running_max,
            kind=stateful, published="MaxValue({0})", idempotent=True, formula="new",
            new_state="maximum(x, state)", noun="maximum"),
        # Unary, in decays only (section 2).
        row("square", 1, r"\left({0}\right)^{{2}}", torch.square, searched=(),
            searched_in_decay=True, published_in_decay="({0})^2", parity=even, sign=abs,
            formula="square(x)"),
        row("dtanh", 1, r"\tanh'\left({0}\right)", lambda x: 1 - x.tanh().square(), searched=(),
            searched_in_decay=True, published_in_decay="deriv_tanh({0})", parity=even,
            sign=positive, formula="1 - square(tanh(x))"),
        row("dsigmoid", 1, r"\sigma'\left({0}\right)",
            lambda x: torch.sigmoid(x) * torch.sigmoid(-x), searched=(), searched_in_decay=True,
            published_in_decay="deriv_sig({0})", parity=even, sign=positive,
            formula="sigmoid(x) * sigmoid(-x)"),
        # Binary, section 1.3.
        row("add", 2, "{0}+{1}", torch.add, infix="+", searched_in_decay=True,
            published="({0})+({1})", commutative=True, formula="x + y", noun="total"),
        row("sub", 2, "{0}-{1}", torch.sub, infix="-", searched_in_decay=True,
            published="({0})-({1})", formula="x - y", noun="difference"),
        row("mul", 2, r"{0} \cdot {1}", torch.mul, infix="*", searched_in_decay=True,
            published="({0})*({1})", commutative=True, parity=odd,
            second_parity=odd, sign=lambda x, y: x * y, formula="x * y", noun="product"),
        row("max", 2, r"\max\left({0}, {1}\right)", torch.maximum, searched_in_decay=True,
            published="max({0}, {1})", commutative=True,
            idempotent=True, sign=max, formula="maximum(x, y)", noun="larger"),
        row("min", 2, r"\min\left({0}, {1}\right)", torch.minimum, searched_in_decay=True,
            published="min({0}, {1})", commutative=True,
            idempotent=True, sign=min, formula="minimum(x, y)", noun="smaller"),
        row("div", 2, r"\frac{{{0}}}{{{1}+\epsilon}}", lambda x, y: x / (y + EPSILON),
            infix="/", searched_in_decay=True, published="({0}) / ({1})", parity=odd,
            formula="x / (y + epsilon)", noun="ratio"),
        row("div_hypot", 2, r"\frac{{{0}}}{{\sqrt{{1+\left({1}\right)^2}}}}",
            lambda x, y: x / (1 + y.square()).sqrt(), searched_in_decay=True,
            published="({0}) / (sqrt(1+({1})^2))", parity=odd, second_parity=even,
            sign=lambda x, _y: x, formula="x / sqrt(1 + square(y))", noun="ratio"),
        row("clip", 2, r"\mathrm{{clip}}\left({0}, {1}\right)", _clip, published="clip({0}, {1})",
            idempotent=True, parity=odd, second_parity=even, sign=lambda x, y: x * abs(y),
            formula="maximum(minimum(x, abs(y)), -abs(y))", noun="clipped"),
        row("mix", 2, r"0.95 \cdot {0} + 0.05 \cdot {1}", lambda x, y: 0.95 * x + 0.05 * y,
            published="(0.95*({0})+0.05*({1}))", formula="0.95 * x + 0.05 * y", noun="mixture"),
        row("abs_pow", 2, r"\left|{0}\right|^{{{1}}}", lambda x, y: x.abs() ** y,
            published="(|{0}|)^({1})", parity=even, formula="abs(x) ** y", noun="power"),
        # Extensions: what hand-made optimizers need and the published operands cannot say.
        row("sign", 1, r"\mathrm{{sign}}\left({0}\right)", torch.sign, searched=(), parity=odd,
            idempotent=True, sign=kept, formula="sign(x)"),
        row("ema_raw", 1, r"\overline{{\mathrm{{ema}}}}_{{{1}}}\left({0}\right)", _ema_raw,
            kind=stateful, parameters=(BETA,), searched=(), parity=odd, formula="new",
            new_state="add_scaled(beta * state, x, 1 - beta)", noun="average"),
        row("previous", 1, r"\left({0}\right)_{{t-1}}", _previous, kind=stateful, searched=(),
            parity=odd, formula="state", new_state="x", noun="before"),
        row("accumulate", 2, r"\mathrm{{acc}}\left({0}, {1}\right)", _accumulate, kind=stateful,
            searched=(), parity=odd, formula="new", new_state="y * state + x", noun="velocity"),
        row("quotient", 2, r"\frac{{{0}}}{{{1}}}", _quotient, searched=(), parity=odd,
            formula="x / (y + 0.0)", noun="ratio"),
    )  # fmt: skip


for _row in _rows():
    FUNCTIONS.add(_row)


def function(
    *,
    latex: str,
    name: str | None = None,
    kind: Kind = Kind.ELEMENTWISE,
    parameters: tuple[Parameter, ...] = (),
    searched: tuple[tuple[float, ...], ...] | None = None,
    searched_in_decay: bool = False,
    commutative: bool = False,
    idempotent: bool = False,
    parity: Parity | None = None,
    second_parity: Parity | None = None,
    sign: Callable[..., int] | None = None,
    formula: str | None = None,
    new_state: str | None = None,
    noun: str = "",
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    r"""Register the decorated function of torch tensors as a function of the language.

    Parameters
    ----------
    latex
        Template of the printed equation: ``{0}``, ``{1}`` the arguments, then the parameters;
        braces of LaTeX are doubled.
    name
        Name in rules; the definition's own name unless given.
    kind
        How it is called, see :class:`evolute.lang.registry.Kind`.
    parameters
        Numbers that follow the arguments in a call.
    searched
        Parameter sets that the search draws; by default ``((),)`` for a function without
        parameters (it is drawn) and ``()`` for one with parameters (it is not).
    searched_in_decay, commutative, idempotent, parity, second_parity
        As in :class:`evolute.lang.registry.Function`.
    sign, formula, new_state, noun
        As in :class:`evolute.lang.registry.Function`.

    Raises
    ------
    InputError
        If the name is taken, or the definition has not one or two positional arguments beside
        its parameters.

    Examples
    --------
    >>> import evolute
    >>> @evolute.function(latex=r"\left({0}\right)^{{5}}", searched=())
    ... def fifth_power(x):
    ...     return x**5
    >>> str(evolute.Rule.parse("none: fifth_power(g)"))
    'none: fifth_power(g)'
    """

    def register(compute: Callable[..., object]) -> Callable[..., object]:
        row_name = name or compute.__name__
        positional = [
            argument
            for argument in inspect.signature(compute).parameters.values()
            if argument.kind is not inspect.Parameter.KEYWORD_ONLY
        ]
        arity = len(positional) - len(parameters)
        if arity not in (1, 2):
            raise InputError(
                f"the function {row_name!r} takes {len(positional)} arguments and declares "
                f"{len(parameters)} parameters: a function has one or two arguments beside them"
            )
        drawn = searched if searched is not None else (() if parameters else ((),))
        FUNCTIONS.add(
            Function(
                name=row_name,
                arity=arity,
                latex=latex,
                compute=compute,
                kind=kind,
                parameters=parameters,
                searched=drawn,
                searched_in_decay=searched_in_decay,
                commutative=commutative,
                idempotent=idempotent,
                parity=parity,
                second_parity=second_parity,
                sign=sign,
                formula=formula,
                new_state=new_state,
                noun=noun,
            )
        )
        return compute

    return register
