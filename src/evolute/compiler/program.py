"""Program: a rule as straight-line instructions, equal sub-expressions once, with its state slots.

A program works on numbered registers::

    0              the gradient
    1              the weight
    2 …            the constants, then the values of the inner decays at this step
    …              the result of each instruction, in order

The update is first written in its primitive operands, so rules that read the same moving average
by different names share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from evolute.lang.expand import expand
from evolute.lang.expression import Call, Constant, Expression, OperandRef, Scaled, walk
from evolute.lang.registry import FUNCTIONS, Function, Kind
from evolute.lang.rule import Momentum, Rule
from evolute.lang.text import print_expression

GRADIENT, WEIGHT = 0, 1
"""Registers of the two inputs."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One operation: ``registers[target] = function(registers[arguments], parameters)``.

    Parameters
    ----------
    function
        Row of the function table.
    arguments
        Registers read.
    parameters
        Numbers that follow the arguments.
    target
        Register written.
    slot
        State slot of a stateful function, else None.
    noise
        Text of the node, which names the noise of a random function, else None.
    expanded
        Whether an argument has no shape of its own (it is one number for all weights) and the
        function needs the weight's shape.
    """

    function: Function
    arguments: tuple[int, ...]
    parameters: tuple[float, ...]
    target: int
    slot: int | None = None
    noise: str | None = None
    expanded: bool = False


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled rule: data only; :mod:`evolute.compiler.execute` runs it.

    Parameters
    ----------
    constants
        Values of the registers from 2 on.
    decays
        Schedules of the inner decays; their values fill the registers after the constants.
    instructions
        In order of execution; each writes the next register.
    state_slots
        Name of each state slot: the text of the stateful node.
    output
        Register that holds the update u.
    momentum, sign, schedule
        As in the rule.
    """

    constants: tuple[float, ...]
    decays: tuple[Expression, ...]
    instructions: tuple[Instruction, ...]
    state_slots: tuple[str, ...]
    output: int
    momentum: Momentum
    sign: int
    schedule: Expression | None

    @property
    def needs_total_steps(self) -> bool:
        """Whether the rule has a decay or a schedule, which are functions of t/T."""
        return bool(self.decays) or self.schedule is not None

    @property
    def is_random(self) -> bool:
        """Whether the rule draws noise."""
        return any(instruction.noise is not None for instruction in self.instructions)


@lru_cache(maxsize=4096)
def compile_rule(rule: Rule) -> Program:
    """Translate a rule into a program; the same rule gives the same object.

    Examples
    --------
    >>> program = compile_rule(Rule.parse("none: [a3]*v/(sqrt(s)+1e-08)+v"))
    >>> program.state_slots
    ('ema(g, 0.9)', 'ema(g*g, 0.99)')
    >>> [instruction.function.name for instruction in program.instructions]
    ['ema', 'mul', 'mul', 'ema', 'sqrt', 'add', 'div', 'add']
    """
    update = expand(rule.update)
    nodes = list(walk(update))
    constants = dict.fromkeys(node.value for node in nodes if isinstance(node, Constant))
    decays = dict.fromkeys(node.decay for node in nodes if isinstance(node, Scaled))
    compiler = _Compiler(tuple(constants), tuple(decays))
    output = compiler.register(update)
    return Program(
        constants=compiler.constants,
        decays=compiler.decays,
        instructions=tuple(compiler.instructions),
        state_slots=tuple(compiler.state_slots),
        output=output,
        momentum=rule.momentum,
        sign=rule.sign,
        schedule=rule.schedule,
    )


@dataclass
class _Compiler:
    """Gives every distinct node of an update a register."""

    constants: tuple[float, ...]
    decays: tuple[Expression, ...]
    instructions: list[Instruction] = field(default_factory=list)
    state_slots: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        inputs: list[Expression] = [OperandRef("g"), OperandRef("w")]
        inputs += [Constant(value) for value in self.constants]
        self._registers = {node: at for at, node in enumerate(inputs)}
        self._decay_registers = {
            decay: at for at, decay in enumerate(self.decays, start=len(inputs))
        }
        self._next = len(inputs) + len(self.decays)
        self._shapeless = set(range(2, self._next))

    def register(self, node: Expression) -> int:
        """Return the register of a node, with the instructions that fill it appended."""
        # A node is looked up once and entered once: its hash is that of its whole tree.
        target = self._registers.get(node)
        if target is not None:
            return target
        match node:
            case Scaled(decay, value):
                pair = (self.register(value), self._decay_registers[decay])
                target = self._append(node, FUNCTIONS["mul"], pair, ())
            case Call(name, parts, parameters):
                arguments = tuple(self.register(part) for part in parts)
                target = self._append(node, FUNCTIONS[name], arguments, parameters)
            case _:
                raise TypeError(f"{node} is no tensor expression in primitive operands")
        self._registers[node] = target
        return target

    def _append(
        self,
        node: Expression,
        row: Function,
        arguments: tuple[int, ...],
        parameters: tuple[float, ...],
    ) -> int:
        slot = noise = None
        shapeless = self._shapeless.issuperset(arguments)
        if row.kind is Kind.STATEFUL:
            slot = len(self.state_slots)
            self.state_slots.append(print_expression(node))
        elif row.kind is Kind.RANDOM:
            noise = print_expression(node)
        elif shapeless and row.kind is Kind.ELEMENTWISE:
            self._shapeless.add(self._next)
        expanded = row.kind is not Kind.ELEMENTWISE and not self._shapeless.isdisjoint(arguments)
        self.instructions.append(
            Instruction(row, arguments, parameters, self._next, slot, noise, expanded)
        )
        self._next += 1
        return self._next - 1
