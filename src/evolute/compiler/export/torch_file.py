"""A rule as one Python file for PyTorch: a class in the style of ``torch.optim``."""

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
from evolute.compiler.export.subject import Subject
from evolute.compiler.export.update import Update, name_update, write_update
from evolute.compiler.export.writer import Writer, text_of, wrapped
from evolute.lang.functions import EPSILON
from evolute.lang.rule import Momentum

UPDATE = Dialect(
    library="torch",
    spelling={
        "abs": "torch.abs(a)",
        "add_scaled": "torch.add(a, b, alpha=c)",
        "arcsinh": "_arcsinh(a)",
        "arctan": "torch.arctan(a)",
        "at_least": "torch.clamp(a, min=b)",
        "at_most": "torch.clamp(a, max=b)",
        "bias_correction": "1 - a ** (b + 1)",
        "cos": "torch.cos(a)",
        "erf": "torch.erf(a)",
        "erfc": "torch.erfc(a)",
        "exp": "torch.exp(a)",
        "i1e": "torch.special.i1e(a)",
        "log": "torch.log(a)",
        "logaddexp": "torch.logaddexp(a, b)",
        "maximum": "torch.maximum(a, b)",
        "minimum": "torch.minimum(a, b)",
        "norm": "_norm(a)",
        "remainder": "torch.remainder(a, b)",
        "sigmoid": "torch.sigmoid(a)",
        "sign": "torch.sign(a)",
        "sqrt": "torch.sqrt(a)",
        "square": "torch.square(a)",
        "tanh": "torch.tanh(a)",
        "where": "torch.where(a, b, c)",
        "zeros_like": "torch.zeros_like(a)",
    },
    names={"epsilon": "EPSILON", "pi": "math.pi"},
    scalar="weight.new_tensor(a)",
    filled="torch.full_like(weight, a)",
    expanded="a.expand_as(weight)",
    modules=frozenset(
        {
            "torch",
            "math",
            "hashlib",
            "lru_cache",
            "Any",
            "Callable",
            "EPSILON",
            "Optimizer",
            "ParamsT",
            "Tensor",
            "annotations",
        }
    ),
    copy="a.clone()",
    calls_take_numbers=False,
    read='state["{name}"]',
    store='state["{name}"] = {value}',
)
SCHEDULE = replace(
    UPDATE, scalar="torch.full_like(t, a)", filled="torch.full_like(t, a)", expanded="a"
)

_NORM = '''
def _norm(tensor: Tensor) -> Tensor:
    """L2 norm of one weight tensor."""
    return torch.sqrt(torch.sum(torch.square(tensor))) if tensor.dim() else torch.abs(tensor)
'''
_ARCSINH = '''
def _arcsinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine; on a CPU six times as fast as torch.arcsinh."""
    if x.requires_grad or x.dtype not in (torch.float32, torch.float64):
        return torch.arcsinh(x)
    size = x.abs()
    capped = size.clamp(max=2.0**60)
    square = capped * capped
    square /= (square + 1).sqrt_().add_(1)
    value = capped.add_(square).log1p_()
    value += size.mul_(2.0**-60).clamp_(min=1).log_()
    return torch.copysign(value, x)
'''
_UNIFORM = '''
def _uniform(seed: int, node: str, index: int, step: int, like: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) that depend on the arguments and on nothing else."""
    key = f"{seed}/dropout {node}/{index}/{step}".encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") & (2**63 - 1))
    noise = torch.rand(like.shape, dtype=torch.float64, generator=generator, device="cpu")
    return noise.to(like.device)
'''
_TAKEN = {"gradient", "weight", "state", "step", "group", "rate", "update", "momentum", "index",
          "buffer", "momentum_buffer", "total_steps", "self"}  # fmt: skip
_APPLIED = {
    Momentum.NONE: "",
    Momentum.MOMENTUM: "weight.add_(buffer)",
    Momentum.NESTEROV: 'weight.add_(buffer, alpha=group["momentum"]).add_({step})',
    Momentum.NESTEROV_PUBLISHED: "weight.add_(buffer).add_({step})",
}


def write_torch(subject: Subject) -> str:
    """Return the file of a class that does what RuleOptimizer does, bit for bit on the CPU.

    Raises
    ------
    InputError
        If a function or a base decay of the rule has no formula.
    """
    subject.require_unused(subject.name, UPDATE.modules)
    return _TorchFile(subject).text()


class _TorchFile:
    def __init__(self, subject: Subject) -> None:
        self.subject, self.program = subject, subject.program
        self.has_momentum = self.program.momentum is not Momentum.NONE
        self.has_decays = self.program.needs_total_steps
        self.is_random = self.program.is_random
        self.writer = Writer(UPDATE, {*_TAKEN, *UPDATE.modules})
        self.update: Update

    def text(self) -> str:
        decays = decay_names(self.program)
        self.writer.taken.update((*decays, "schedule"))
        uniform = '_uniform(group["seed"], {node}, index, step, weight)'
        self.update = write_update(self.program, self.writer, decays=decays, uniform=uniform)
        self.update = name_update(self.update, self.writer)
        functions = self._functions()
        definition = self._class()
        epsilon = f"EPSILON = {EPSILON!r}" if "EPSILON" in definition + functions else ""
        head = "\n\n".join(part for part in (self._head(functions), epsilon) if part)
        return "\n\n\n".join(part for part in (head, functions, definition) if part) + "\n"

    def _head(self, functions: str) -> str:
        standard = []
        if self.is_random:
            standard.append("import hashlib")
        if "math." in functions:
            standard.append("import math")
        standard.append("from collections.abc import Callable")
        if self.has_decays:
            standard.append("from functools import lru_cache")
        standard.append("from typing import Any")
        lines = [
            f'"""{self.subject.headline} for PyTorch, written by evolute; it needs torch alone."""',
            "",
            "from __future__ import annotations",
            "",
            *standard,
            "",
            "import torch",
            "from torch import Tensor",
            "from torch.optim import Optimizer",
            "from torch.optim.optimizer import ParamsT",
        ]
        return "\n".join(lines)

    def _functions(self) -> str:
        parts = []
        if self.has_decays:
            parts += [write_decays(self.program, SCHEDULE, tensor="Tensor"), self._values()]
        body = "\n".join(self.writer.lines)
        called = body + "".join(parts)
        helpers = {"_norm(": _NORM, "_uniform(": _UNIFORM, "_arcsinh(": _ARCSINH}
        parts = [text.strip("\n") for call, text in helpers.items() if call in called] + parts
        return "\n\n\n".join(parts)

    def _values(self) -> str:
        """Write the function that computes the decays of all steps, once."""
        names = self._decays()
        columns = [f"_{name}(t, total_steps).tolist()" for name in names]
        lines = [
            "@lru_cache",
            f"def _decays(total_steps: int) -> list[{_per_step(names)}]:",
            '    """Values at each step."""',
            "    t = torch.arange(total_steps, dtype=torch.float64)",
        ]
        if len(names) == 1:
            return "\n".join([*lines, f"    return {columns[0]}"])
        columns = [f"    {name} = {column}" for name, column in zip(names, columns, strict=True)]
        return "\n".join([*lines, *columns, f"    return list(zip({', '.join(names)}))"])

    def _decays(self) -> tuple[str, ...]:
        schedule = () if self.program.schedule is None else ("schedule",)
        return (*schedule, *decay_names(self.program))

    def _class(self) -> str:
        parts = [self._docstring(), self._init(), self._step(), self._move()]
        body = "\n\n".join(textwrap.indent(part, "    ") for part in parts)
        return f"class {self.subject.name}(Optimizer):\n{body}"

    def _docstring(self) -> str:
        arguments = [
            "params: parameters to optimize, or dicts that define parameter groups",
            "lr: learning rate",
        ]
        if self.has_decays:
            arguments.append(
                "total_steps: number of steps of the whole training; the decays are functions of\n"
                "    t / total_steps, and keep their last value after it"
            )
        if self.has_momentum:
            arguments.append("momentum: momentum coefficient mu, at least 0 and less than 1")
        if self.is_random:
            arguments.append("seed: seed of the noise")
        listed = textwrap.indent("\n".join(arguments), "    ")
        return (
            f'r"""{self.subject.headline}.\n\n{self.subject.describe()}\n\nArgs:\n{listed}\n\n'
            f'Raises:\n    ValueError: if an argument is out of its range\n"""'
        )

    def _init(self) -> str:
        options = ["lr: float"]
        checks = [
            'if not 0.0 <= lr < float("inf"):',
            '    raise ValueError(f"Invalid learning rate: {lr}")',
        ]
        defaults = ['"lr": lr']
        if self.has_decays:
            options.append("total_steps: int")
            defaults.append('"total_steps": total_steps')
            checks += [
                "if not isinstance(total_steps, int) or total_steps < 1:",
                '    raise ValueError(f"Invalid total_steps value: {total_steps}")',
            ]
        if self.has_momentum:
            options.append("momentum: float = 0.9")
            defaults.append('"momentum": momentum')
            checks += [
                "if not 0.0 <= momentum < 1.0:",
                '    raise ValueError(f"Invalid momentum value: {momentum}")',
            ]
        if self.is_random:
            options.append("seed: int = 0")
            defaults.append('"seed": seed')
        signature = wrapped(
            "def __init__(", ["self", "params: ParamsT", *options], ") -> None:", indent=4
        )
        listed = ", ".join(defaults)
        body = [*checks, f"defaults = {{{listed}}}", "super().__init__(params, defaults)"]
        return "\n".join([*signature, *(f"    {line}" for line in body)])

    def _step(self) -> str:
        index = ", index" if self.is_random else ""
        lines = [
            "@torch.no_grad()",
            "def step(self, closure: Callable[[], float] | None = None) -> float | None:",
            '    """Perform a single optimization step; return what the closure returns."""',
            "    loss = None",
            "    if closure is not None:",
            "        with torch.enable_grad():",
            "            loss = closure()",
            *(["    index = 0"] if index else []),
            "    for group in self.param_groups:",
            '        for weight in group["params"]:',
            "            if weight.grad is not None:",
            f"                self._update(weight, weight.grad, group{index})",
            *(["            index += 1"] if index else []),
            "    return loss",
        ]
        return "\n".join(lines)

    def _move(self) -> str:
        """Write the method that makes one step of one parameter."""
        index = ", index: int" if self.is_random else ""
        head = [
            f"def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]{index})"
            " -> None:",
            '    """Make one step of one parameter."""',
        ]
        body = [
            "if gradient.is_sparse or gradient.is_complex():",
            f'    raise RuntimeError("{self.subject.name} needs dense real gradients")',
            "state = self.state[weight]",
            *self._initial_state(),
            'step = state["step"]',
            'state["step"] = step + 1',
        ]
        if self.has_decays:
            names = self._decays()
            left = ", ".join(names)
            body += [
                'total_steps = group["total_steps"]',
                f"{left} = _decays(total_steps)[min(step, total_steps - 1)]",
            ]
        body.append("")
        if any("+ 0.0" in line for line in self.writer.lines):
            body.append("# Adding 0.0 takes the sign from a zero in a denominator.")
        body += [*self.writer.lines, *self._application()]
        return "\n".join([*head, *(f"    {line}" if line else "" for line in body)])

    def _initial_state(self) -> list[str]:
        names = [*self.update.states, *(["momentum_buffer"] if self.has_momentum else [])]
        return [
            "if not state:",
            '    state["step"] = 0',
            *(f'    state["{name}"] = torch.zeros_like(weight)' for name in names),
        ]

    def _application(self) -> list[str]:
        """Write how the update moves the weight, in the order of operations of RuleOptimizer."""
        lines = []
        rate = 'group["lr"]'
        if self.program.schedule is not None:
            lines.append('rate = group["lr"] * schedule')
            rate = "rate"
            if is_infinite_at_the_start(self.program.schedule):
                lines += [
                    'if step == 0 and schedule in (float("inf"), float("-inf")):',
                    f"    rate = {RATE_WHERE_INFINITE!r}",
                ]
        sign = "-" if self.program.sign == 1 else ""
        step = f"{text_of(self.update.term.tree)}, alpha={sign}{rate}"
        if not self.has_momentum:
            return [*lines, f"weight.add_({step})"]
        lines.append('buffer = state["momentum_buffer"]')
        lines.append(f'buffer.mul_(group["momentum"]).add_({step})')
        return [*lines, _APPLIED[self.program.momentum].format(step=step)]


def _per_step(names: tuple[str, ...]) -> str:
    return "float" if len(names) == 1 else "tuple[float, ...]"
