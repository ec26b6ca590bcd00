"""A rule as one Python file for JAX: an ``optax.GradientTransformation``."""

from __future__ import annotations

import textwrap
from dataclasses import replace

from evolute.compiler.execute import RATE_WHERE_INFINITE
from evolute.compiler.export.decays import (
    decay_names,
    is_infinite_at_the_start,
    write_decays,
)
from evolute.compiler.export.dialect import Dialect
from evolute.compiler.export.subject import Subject, require_no_noise
from evolute.compiler.export.update import Update, name_update, write_update
from evolute.compiler.export.writer import Writer, text_of, wrapped
from evolute.compiler.program import WEIGHT
from evolute.lang.functions import EPSILON
from evolute.lang.rule import Momentum

UPDATE = Dialect(
    library="JAX",
    spelling={
        "abs": "jnp.abs(a)",
        "add_scaled": "a + c * b",
        "arcsinh": "jnp.arcsinh(a)",
        "arctan": "jnp.arctan(a)",
        "at_least": "jnp.maximum(a, b)",
        "at_most": "jnp.minimum(a, b)",
        "bias_correction": "_bias_correction(a, b)",
        "cos": "jnp.cos(a)",
        "erf": "jax.scipy.special.erf(a)",
        "erfc": "jax.scipy.special.erfc(a)",
        "exp": "jnp.exp(a)",
        "i1e": "jax.scipy.special.i1e(a)",
        "log": "jnp.log(a)",
        "logaddexp": "jnp.logaddexp(a, b)",
        "maximum": "jnp.maximum(a, b)",
        "minimum": "jnp.minimum(a, b)",
        "norm": "jnp.sqrt(jnp.sum(jnp.square(a)))",
        "remainder": "jnp.remainder(a, b)",
        "sigmoid": "jax.nn.sigmoid(a)",
        "sign": "jnp.sign(a)",
        "sqrt": "jnp.sqrt(a)",
        "square": "jnp.square(a)",
        "tanh": "jnp.tanh(a)",
        "where": "jnp.where(a, b, c)",
        "zeros_like": "jnp.zeros_like(a)",
    },
    names={"epsilon": "EPSILON", "pi": "jnp.pi"},
    scalar="jnp.asarray(a, gradient.dtype)",
    filled="jnp.full_like(gradient, a)",
    expanded="jnp.broadcast_to(a, gradient.shape)",
    modules=frozenset({"jax", "jnp", "math", "optax", "Callable", "NamedTuple", "EPSILON"}),
)
SCHEDULE = replace(UPDATE, scalar="jnp.full_like(t, a)", filled="jnp.full_like(t, a)", expanded="a")
_BIAS_CORRECTION = '''
def _bias_correction(beta: float, step: jax.Array) -> jax.Array | float:
    """1 - beta ** (step + 1), to the last digits of a float32."""
    return -jnp.expm1((step + 1) * math.log(beta)) if beta > 0 else 1.0
'''
_TAKEN = {"gradient", "weight", "state", "step", "t", "rate", "update", "momentum", "move", "init",
          "params", "updates", "learning_rate", "total_steps", "moved", "buffer",
          "states"}  # fmt: skip
_CHANGE = {
    Momentum.NONE: "-rate * {0}",
    Momentum.MOMENTUM: "buffer",
    Momentum.NESTEROV: "momentum * buffer - rate * {0}",
    Momentum.NESTEROV_PUBLISHED: "buffer - rate * {0}",
}


def write_optax(subject: Subject) -> str:
    """Return the file of a function that makes the gradient transformation of a rule.

    Raises
    ------
    InputError
        If the rule draws noise, or a function or a base decay of it has no formula.
    """
    require_no_noise(subject.program, "Optax")
    subject.require_unused(subject.snake_name, {*UPDATE.modules, *_TAKEN})
    return _OptaxFile(subject).text()


class _OptaxFile:
    def __init__(self, subject: Subject) -> None:
        self.subject, self.program = subject, subject.program
        self.has_momentum = self.program.momentum is not Momentum.NONE
        self.has_decays = self.program.needs_total_steps
        self.decays = decay_names(self.program)
        writer = Writer(UPDATE, {*_TAKEN, *self.decays, "schedule"}, indent=12)
        update = write_update(self.program, writer, decays=self.decays)
        if update.term.is_shapeless:
            update = replace(update, term=writer.filled(update.term))
        self.writer = writer
        self.update: Update = name_update(update, writer)
        self.states = (*update.states, *(("buffer",) if self.has_momentum else ()))

    @property
    def reads_weight(self) -> bool:
        """Whether the rule needs the parameters and not their gradients alone."""
        read = {at for each in self.program.instructions for at in each.arguments}
        return WEIGHT in read | {self.program.output}

    def text(self) -> str:
        function, functions = self._function(), []
        if self.has_decays:
            functions.append(write_decays(self.program, SCHEDULE, tensor="jax.Array"))
        if "_bias_correction(" in function:
            functions.append(_BIAS_CORRECTION.strip())
        code = "".join([function, *functions])
        lines = [
            f'"""{self.subject.headline} for Optax, written by evolute."""',
            "",
            "from __future__ import annotations",
            "",
            *(["import math"] if "math." in code else []),
            "from collections.abc import Callable",
            "from typing import NamedTuple",
            "",
            "import jax",
            "import jax.numpy as jnp",
            "import optax",
            *(["", f"EPSILON = {EPSILON!r}"] if "EPSILON" in code else []),
        ]
        return "\n\n\n".join(["\n".join(lines), *functions, self._state(), function]) + "\n"

    def _state(self) -> str:
        fields = ["step: jax.Array", *(f"{name}: optax.Updates" for name in self.states)]
        documentation = f'"""What {self.subject.name} keeps between steps."""'
        body = "\n".join([documentation, "", *fields])
        return f"class {self.subject.name}State(NamedTuple):\n{textwrap.indent(body, '    ')}"

    def _function(self) -> str:
        name = self.subject.snake_name
        options = ["learning_rate: float | Callable[[jax.Array], jax.Array]"]
        options += ["total_steps: int"] if self.has_decays else []
        options += ["momentum: float = 0.9"] if self.has_momentum else []
        listed = [f"    {option}," for option in options]
        end = ") -> optax.GradientTransformation:"
        signature = "\n".join([f"def {name}(", *listed, end])
        parts = [self._docstring(), *self._init(), "", *self._update_function(), ""]
        parts.append("return optax.GradientTransformation(init, update)")
        return signature + "\n" + textwrap.indent("\n".join(parts), "    ")

    def _docstring(self) -> str:
        arguments = ["learning_rate: a number, or a schedule: a function of the step"]
        if self.has_decays:
            arguments.append(
                "total_steps: number of steps of the whole training; the decays are functions of\n"
                "    t / total_steps, and keep their last value after it"
            )
        if self.has_momentum:
            arguments.append("momentum: momentum coefficient mu, at least 0 and less than 1")
        listed = textwrap.indent("\n".join(arguments), "    ")
        return f'r"""{self.subject.headline}.\n\n{self.subject.describe()}\n\nArgs:\n{listed}\n"""'

    def _init(self) -> list[str]:
        zeros = [f"{name}=optax.tree.zeros_like(params)," for name in self.states]
        made = ["step=jnp.zeros([], jnp.int32),", *zeros]
        state = f"{self.subject.name}State"
        checks = []
        if self.has_decays:
            checks += [
                "if total_steps < 1:",
                '    raise ValueError(f"Invalid total_steps value: {total_steps}")',
            ]
        if self.has_momentum:
            checks += [
                "if not 0.0 <= momentum < 1.0:",
                '    raise ValueError(f"Invalid momentum value: {momentum}")',
            ]
        body = [f"    return {state}(", *(f"        {line}" for line in made), "    )"]
        if not zeros:
            body = [f"    return {state}(step=jnp.zeros([], jnp.int32))"]
        return [*checks, "", f"def init(params: optax.Params) -> {state}:", *body]

    def _update_function(self) -> list[str]:
        state = f"{self.subject.name}State"
        weights = ["params"] if self.reads_weight else []
        body = ["step = state.step"]
        body.append("rate = learning_rate(step) if callable(learning_rate) else learning_rate")
        if self.has_decays:
            body.append("t = jnp.minimum(step, total_steps - 1).astype(jnp.float32)")
            body += [f"{name} = _{name}(t, total_steps)" for name in self.decays]
        body += [*self._rate(), "", *self._move(), ""]
        trees = ["move", "updates", *weights, *(f"state.{name}" for name in self.states)]
        if self.states:
            structures = ["jax.tree.structure(updates)"]
            structures.append(f"jax.tree.structure((0,) * {len(self.states) + 1})")
            body += wrapped("moved = jax.tree.map(", trees, ")", indent=8)
            body += wrapped(
                "updates, *states = jax.tree.transpose(", [*structures, "moved"], ")", indent=8
            )
            body.append(f"return updates, {state}(optax.safe_increment(step), *states)")
        else:
            body += wrapped("updates = jax.tree.map(", trees, ")", indent=8)
            body.append(f"return updates, {state}(optax.safe_increment(step))")
        if weights:
            body = [
                "if params is None:",
                f'    raise ValueError("{self.subject.snake_name} needs params")',
                *body,
            ]
        signature = [
            "def update(",
            f"    updates: optax.Updates, state: {state}, params: optax.Params | None = None",
            f") -> tuple[optax.Updates, {state}]:",
        ]
        return [*signature, *(f"    {line}" if line else "" for line in body)]

    def _rate(self) -> list[str]:
        """Write the factor of the learning rate, and the sign of the rule."""
        schedule, sign = self.program.schedule, "" if self.program.sign == 1 else "-"
        if schedule is None:
            return [f"rate = {sign}rate"] if sign else []
        lines = ["schedule = _schedule(t, total_steps)"]
        if is_infinite_at_the_start(schedule):
            lines.append("infinite = (step == 0) & jnp.isinf(schedule)")
            rate = f"jnp.where(infinite, {RATE_WHERE_INFINITE!r}, rate * schedule)"
            return [*lines, f"rate = {sign}{rate}"]
        return [*lines, f"rate = {sign}rate * schedule"]

    def _move(self) -> list[str]:
        weight = ["weight"] if self.reads_weight else []
        arguments = [f"{name}: jax.Array" for name in ["gradient", *weight, *self.states]]
        head = wrapped("def move(", arguments, "):", indent=8)
        update = text_of(self.update.term.tree)
        body = [*self.writer.lines]
        if self.has_momentum:
            body.append(f"buffer = momentum * buffer - rate * {update}")
        change = _CHANGE[self.program.momentum].format(update)
        returned = wrapped("return ", [change, *self.states], "", indent=12)
        return [*head, *(f"    {line}" for line in [*body, *returned])]
