"""A rule as one Python file for Keras 3: a subclass of ``keras.optimizers.Optimizer``."""

from __future__ import annotations

import re
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
from evolute.lang.functions import EPSILON
from evolute.lang.rule import Momentum

UPDATE = Dialect(
    library="Keras",
    spelling={
        "abs": "ops.abs(a)",
        "add_scaled": "a + c * b",
        "arcsinh": "ops.arcsinh(a)",
        "arctan": "ops.arctan(a)",
        "at_least": "ops.maximum(a, b)",
        "at_most": "ops.minimum(a, b)",
        "bias_correction": "_bias_correction(a, b)",
        "cos": "ops.cos(a)",
        "erf": "ops.erf(a)",
        "erfc": "ops.erfc(a)",
        "exp": "ops.exp(a)",
        "i1e": "_i1e(a)",
        "log": "ops.log(a)",
        "logaddexp": "ops.logaddexp(a, b)",
        "maximum": "ops.maximum(a, b)",
        "minimum": "ops.minimum(a, b)",
        "norm": "ops.sqrt(ops.sum(ops.square(a)))",
        "remainder": "ops.mod(a, b)",
        "sigmoid": "ops.sigmoid(a)",
        "sign": "ops.sign(a)",
        "sqrt": "ops.sqrt(a)",
        "square": "ops.square(a)",
        "tanh": "ops.tanh(a)",
        "where": "ops.where(a, b, c)",
        "zeros_like": "ops.zeros_like(a)",
    },
    names={"epsilon": "EPSILON", "pi": "math.pi"},
    scalar="ops.cast(a, gradient.dtype)",
    filled="ops.full_like(gradient, a)",
    expanded="ops.broadcast_to(a, gradient.shape)",
    modules=frozenset({"keras", "ops", "math", "EPSILON"}),
    calls_take_numbers=False,
    read="self._{name}[index]",
    kept="ops.copy(a)",
    store="self.assign(self._{name}[index], {value})",
)
SCHEDULE = replace(UPDATE, scalar="ops.full_like(t, a)", filled="ops.full_like(t, a)", expanded="a")
_TAKEN = {"gradient", "weight", "variable", "step", "t", "rate", "update", "momentum", "index",
          "learning_rate", "buffer", "variables", "total_steps"}  # fmt: skip

_HELPERS = {
    "_bias_correction(": '''
def _bias_correction(beta, step):
    """1 - beta ** (step + 1), to the last digits of a float32."""
    return -ops.expm1((step + 1) * math.log(beta)) if beta > 0 else 1.0
''',
    "_i1e(": '''
def _i1e(x):
    """Modified Bessel function I1 times exp(-|x|) (Abramowitz and Stegun 1964, 9.8.3 and 9.8.4).

    Its error is less than 2.2e-7.
    """
    size = ops.abs(x)
    y = ops.square(ops.minimum(size, 3.75) / 3.75)
    small = 0.02658733 + y * (0.00301532 + y * 0.00032411)
    small = 0.5 + y * (0.87890594 + y * (0.51498869 + y * (0.15084934 + y * small)))
    z = 3.75 / ops.maximum(size, 3.75)
    large = 0.02282967 + z * (-0.02895312 + z * (0.01787654 - z * 0.00420059))
    large = -0.00362018 + z * (0.00163801 + z * (-0.01031555 + z * large))
    large = 0.39894228 + z * (-0.03988024 + z * large)
    small = size * ops.exp(-size) * small
    return ops.sign(x) * ops.where(size < 3.75, small, large / ops.sqrt(ops.maximum(size, 3.75)))
''',
}
_CHANGE = {
    Momentum.NONE: "variable - rate * {0}",
    Momentum.MOMENTUM: "variable + buffer",
    Momentum.NESTEROV: "variable + self.momentum * buffer - rate * {0}",
    Momentum.NESTEROV_PUBLISHED: "variable + buffer - rate * {0}",
}


def write_keras(subject: Subject) -> str:
    """Return the file of a Keras optimizer class.

    Raises
    ------
    InputError
        If the rule draws noise, or a function or a base decay of it has no formula.
    """
    require_no_noise(subject.program, "Keras")
    subject.require_unused(subject.name, UPDATE.modules)
    return _KerasFile(subject).text()


class _KerasFile:
    def __init__(self, subject: Subject) -> None:
        self.subject, self.program = subject, subject.program
        self.has_momentum = self.program.momentum is not Momentum.NONE
        self.has_decays = self.program.needs_total_steps
        self.decays = decay_names(self.program)
        writer = Writer(UPDATE, {*_TAKEN, *self.decays, "schedule"})
        update = write_update(self.program, writer, decays=self.decays)
        self.writer = writer
        self.update: Update = name_update(update, writer)
        self.states = (*update.states, *(("buffer",) if self.has_momentum else ()))
        self.options = (
            *(("total_steps",) if self.has_decays else ()),
            *(("momentum",) if self.has_momentum else ()),
        )

    def text(self) -> str:
        definition, functions = self._class(), ""
        if self.has_decays:
            functions = write_decays(self.program, SCHEDULE, tensor="keras.KerasTensor")
        helpers = [
            text.strip("\n") for call, text in _HELPERS.items() if call in definition + functions
        ]
        code = "".join([*helpers, functions, definition])
        lines = [
            f'"""{self.subject.headline} for Keras 3, written by evolute."""',
            "",
            "from __future__ import annotations",
            "",
            *(["import math", ""] if "math." in code else []),
            "import keras",
            "from keras import ops",
            *(["", f"EPSILON = {EPSILON!r}"] if "EPSILON" in code else []),
        ]
        parts = ["\n".join(lines), *helpers, functions, definition]
        return "\n\n\n".join(part for part in parts if part) + "\n"

    def _class(self) -> str:
        parts = [self._docstring(), self._init(), self._build(), self._step(), self._config()]
        body = "\n\n".join(textwrap.indent(part, "    ") for part in parts if part)
        decorator = '@keras.saving.register_keras_serializable(package="evolute")'
        return f"{decorator}\nclass {self.subject.name}(keras.optimizers.Optimizer):\n{body}"

    def _docstring(self) -> str:
        arguments = ["learning_rate: a number, or a schedule of Keras"]
        if self.has_decays:
            arguments.append(
                "total_steps: number of steps of the whole training; the decays are functions of\n"
                "    t / total_steps, and keep their last value after it"
            )
        if self.has_momentum:
            arguments.append("momentum: momentum coefficient mu, at least 0 and less than 1")
        arguments.append("kwargs: further options of keras.optimizers.Optimizer")
        listed = textwrap.indent("\n".join(arguments), "    ")
        return f'r"""{self.subject.headline}.\n\n{self.subject.describe()}\n\nArgs:\n{listed}\n"""'

    def _init(self) -> str:
        options = ["learning_rate"]
        checks, kept = [], []
        if self.has_decays:
            options.append("total_steps")
            checks += [
                "if total_steps < 1:",
                '    raise ValueError(f"Invalid total_steps value: {total_steps}")',
            ]
        if self.has_momentum:
            options.append("momentum=0.9")
            checks += [
                "if not 0.0 <= momentum < 1.0:",
                '    raise ValueError(f"Invalid momentum value: {momentum}")',
            ]
        kept = [f"self.{option} = {option}" for option in self.options]
        signature = wrapped("def __init__(", ["self", *options, "**kwargs"], "):", indent=4)
        body = [*checks, "super().__init__(learning_rate=learning_rate, **kwargs)", *kept]
        return "\n".join([*signature, *(f"    {line}" for line in body)])

    def _build(self) -> str:
        """Write the method that makes the state of every variable."""
        if not self.states:
            return ""
        lines = [
            "def build(self, variables):",
            '    """Make the state of every variable."""',
            "    if self.built:",
            "        return",
            "    super().build(variables)",
        ]
        made = [
            line
            for name in self.states
            for line in wrapped(
                f"self._{name} = self.add_optimizer_variables(",
                ["variables", f'"{name}"'],
                ")",
                indent=8,
            )
        ]
        return "\n".join([*lines, *(f"    {line}" for line in made)])

    def _step(self) -> str:
        body = []
        if self.states:
            body.append("index = self._get_variable_index(variable)")
        body += [
            "gradient = ops.cast(gradient, variable.dtype)",
            "weight = ops.convert_to_tensor(variable)",
            "step = ops.cast(self.iterations, variable.dtype)",
            f"rate = {self._sign}ops.cast(learning_rate, variable.dtype)",
        ]
        if self.has_decays:
            body += [
                "total_steps = self.total_steps",
                "t = ops.minimum(step, total_steps - 1)",
                *(f"{name} = _{name}(t, total_steps)" for name in self.decays),
            ]
        body += [*self._rate(), *self.writer.lines]
        update = text_of(self.update.term.tree)
        if self.has_momentum:
            body += [
                f"buffer = self.momentum * self._buffer[index] - rate * {update}",
                "self.assign(self._buffer[index], buffer)",
            ]
        change = _CHANGE[self.program.momentum].format(update)
        body = _without_unused(body, change)
        lines = [
            "def update_step(self, gradient, variable, learning_rate):",
            '    """Make one step of one variable."""',
            *(f"    {line}" for line in body),
            f"    self.assign(variable, {change})",
        ]
        return "\n".join(lines)

    @property
    def _sign(self) -> str:
        return "" if self.program.sign == 1 else "-"

    def _rate(self) -> list[str]:
        """Write the rule's own factor of the learning rate."""
        schedule = self.program.schedule
        if schedule is None:
            return []
        lines = ["schedule = _schedule(t, total_steps)"]
        if not is_infinite_at_the_start(schedule):
            return [*lines, "rate = rate * schedule"]
        return [
            *lines,
            "infinite = ops.logical_and(step == 0, ops.isinf(schedule))",
            f"rate = ops.where(infinite, {self._sign}{RATE_WHERE_INFINITE!r}, rate * schedule)",
        ]

    def _config(self) -> str:
        if not self.options:
            return ""
        entries = ", ".join(f'"{option}": self.{option}' for option in self.options)
        lines = [
            "def get_config(self):",
            '    """Return what the constructor needs to make it again."""',
            f"    return {{**super().get_config(), {entries}}}",
        ]
        return "\n".join(lines)


def _without_unused(body: list[str], last: str) -> list[str]:
    """Leave out the assignments of weight and step where nothing reads them."""
    kept: list[str] = []
    for at, line in enumerate(body):
        name = line.split(" = ")[0]
        later = "\n".join([*body[at + 1 :], last])
        if name not in ("weight", "step") or re.search(rf"\b{name}\b", later):
            kept.append(line)
    return kept
