"""RuleOptimizer: a rule as a ``torch.optim.Optimizer``.

The bookkeeping of torch is here. The mathematics is in :mod:`evolute.compiler.execute`, one tensor
at a time, and in :mod:`evolute.compiler.foreach`, many at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT, StateDict, _use_grad_for_differentiable

from evolute.compiler.fused import NativeSteps, native_steps, require_fused
from evolute.compiler.generated import GeneratedSteps
from evolute.compiler.options import (
    ADDED_LATER,
    plain_numbers,
    refuse_capture,
    refused_gradient,
    require_options,
    require_slots,
)
from evolute.compiler.program import compile_rule
from evolute.compiler.shards import local, require_shardable
from evolute.compiler.step import Members, curve_tensor, update_each, update_lists
from evolute.compiler.traced import traced_program, update_traced
from evolute.errors import InputError
from evolute.lang.rule import Momentum, Rule


class RuleOptimizer(Optimizer):
    """Apply a rule to the parameters of a model; the equation is :class:`evolute.lang.rule.Rule`'s.

    It applies the rule alone: update, inner decays, its own schedule factor, sign and momentum
    type. The base schedule of a training is :class:`evolute.schedules.WarmupHoldCosine`.

    A complex parameter is treated as the pairs of real numbers that it is made of.

    Parameters
    ----------
    params
        Parameters, or groups with their own values of the options below.
    rule
        A rule, or its text.
    lr
        Learning rate, finite and at least 0: a number, or a tensor without dimensions.
    total_steps
        T, the number of steps of the whole training; required by a rule with decays or a schedule,
        which are functions of t/T. After T steps they keep their last value.
    momentum
        Coefficient μ, 0 ≤ μ < 1; without effect on a rule of type ``none``.
    weight_decay
        Decoupled weight decay λ ≥ 0 (Loshchilov and Hutter, 2019): w ← w·(1 − lr·λ) before the
        update, with the learning rate of the group. The rule reads the weight thereafter.
    maximize
        Whether to climb: the rule gets −g.
    foreach
        Whether tensors are worked on in lists, by default where all are plain tensors, or one
        after the other. The results are the same, on a CPU to the bit.
    capturable
        Refused if true: named here since every optimizer of torch has it.
    differentiable
        Whether autograd may follow the step.
    fused
        Whether float32 tensors on the CPU are moved by the native core, in one pass over the
        memory; by default where it is built, knows the rule's functions, and ``foreach`` is not
        given. Its results are those of the other paths to rounding, and depend neither on threads
        nor on other tensors. Tensors of another kind go the other way. Elsewhere than on a CPU the
        step is compiled by ``torch.compile``.
    seed
        Seed of the noise of a rule with dropout.

    Raises
    ------
    InputError
        If a value is out of its range, ``total_steps`` is missing where the rule needs it, a
        gradient is sparse, a CUDA graph is being captured, or a loaded state is another rule's.
    RuleSyntaxError
        If the text is no rule.

    Examples
    --------
    >>> import torch
    >>> weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> optimizer = RuleOptimizer([weight], "momentum: [a1]*sign(g)", lr=0.5, total_steps=2)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> weight.tolist()
    [0.5, -1.5]
    """

    def __init__(
        self,
        params: ParamsT,
        rule: Rule | str,
        *,
        lr: float | Tensor,
        total_steps: int | None = None,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        seed: int = 0,
    ) -> None:
        self.rule = Rule.parse(rule) if isinstance(rule, str) else rule
        self._program = compile_rule(self.rule)
        self._traced = traced_program(self._program)
        self._generated: dict[int, GeneratedSteps] = {}
        self._native: dict[tuple[Any, ...], NativeSteps | None] = {}
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "total_steps": total_steps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            # Rule and seed stand in the groups, as these are all that every way of saving keeps.
            "rule": str(self.rule),
            "seed": seed,
        }
        super().__init__(params, plain_numbers(defaults))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; those not given are the optimizer's.

        Raises
        ------
        InputError
            As the constructor.
        """
        if isinstance(param_group, dict):  # else torch says what it must be
            param_group.update(plain_numbers(param_group))
            options = {**self.defaults, **param_group}
            _require_rule(options["rule"], self.rule, of="the group")
            require_options(options, self._program, str(self.rule))
        super().add_param_group(param_group)
        try:
            require_shardable(self._program, param_group["params"], str(self.rule))
            if param_group["fused"]:
                require_fused(self._program, param_group["params"])
        except InputError:
            self.param_groups.pop()
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "rule": self.rule}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.rule = state.get("rule") or self.rule  # a state that is loaded names it in its groups
        self._program = compile_rule(self.rule)
        require_slots(state["state"], self._slot_names())  # before anything has changed
        super().__setstate__(state)
        self._traced = traced_program(self._program)
        self._generated = {}
        self._native = {}  # a copy has memory of its own
        for group in self.param_groups:
            for name, default in ADDED_LATER.items():
                group.setdefault(name, default)
        for slots in filter(None, self.state.values()):
            if not isinstance(slots["step"], Tensor):  # as earlier versions saved it
                slots["step"] = torch.tensor(slots["step"])

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient.

        Parameters
        ----------
        closure
            Evaluates the model anew and returns the loss, which is then returned.

        Raises
        ------
        InputError
            If a gradient is sparse, or a CUDA graph is being captured.
        """
        done = 0
        if closure is None and not torch.compiler.is_compiling():
            done = self._step_again()
            if done == len(self.param_groups):
                return None
        return self._step(closure, done)

    def _step_again(self) -> int:
        """Step groups as the last time, up to one that is not as it was; return how many."""
        first = 0
        for done, group in enumerate(self.param_groups):
            steps = self._native.get(_native_key(group, first))
            if steps is None or not steps.step_again(group, self.state):
                return done
            first += len(group["params"])
        return len(self.param_groups)

    @_use_grad_for_differentiable
    def _step(self, closure: Callable[[], float] | None, done: int) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if torch.compiler.is_compiling() and self._program.is_random:
            self._step_groups_as_they_are(done)
        else:
            self._step_groups(done)
        return loss

    def _step_groups(self, done: int) -> None:
        """Step the groups but for so many that are done."""
        first = 0
        for at, group in enumerate(self.param_groups):
            if at >= done:
                self._step_group(group, first)
            first += len(group["params"])

    # Noise comes from generators, which torch.compile does not follow. torch.compiler.disable
    # would do the same, but import the compiler with this class, which takes a second.
    _step_groups_as_they_are = _disable_dynamo(_step_groups)

    def _step_group(self, group: dict[str, Any], first: int) -> None:
        """Make one step of a group whose first parameter has this index in the optimizer."""
        weights: list[Tensor] = []
        gradients: list[Tensor] = []
        slots: list[Tensor] = []
        steps: list[Tensor] = []
        curves: list[Tensor] = []
        self._init_group(group, weights, gradients, slots, steps, curves)
        if not weights:
            return
        indices = [first + at for at, each in enumerate(group["params"]) if each.grad is not None]
        members = Members(weights, gradients, slots, steps, indices).as_real()
        if torch.compiler.is_compiling():
            update_traced(members, self._traced, group, curves=curves)
            return
        refuse_capture(weights[0].device)
        if group["fused"] and weights[0].device.type != "cpu" and not group["differentiable"]:
            self._generated_steps(first).step(members, group, curves=curves)
            return
        rest = self._step_native(members, group, first)
        if rest is None:
            return
        members = rest
        if _in_lists(group, members.weights):
            update_lists(members, self._program, group)
        elif group["differentiable"]:
            self._replace(group, update_each(members, self._program, group))
        else:
            new = update_each(members, self._program, group)
            for place, each in zip(members.slots, new, strict=True):
                if each is not place:
                    place.copy_(each)

    def _generated_steps(self, first: int) -> GeneratedSteps:
        if first not in self._generated:
            self._generated[first] = GeneratedSteps(self._traced)
        return self._generated[first]

    def _step_native(self, members: Members, group: dict[str, Any], first: int) -> Members | None:
        """Step what the native core can; return the others, None where there are none."""
        key = _native_key(group, first)
        if key not in self._native:
            self._native[key] = native_steps(self._program, group)
        steps = self._native[key]
        return members if steps is None else steps.step(members, group, self.state)

    def _init_group(
        self,
        group: dict[str, Any],
        weights: list[Tensor],
        gradients: list[Tensor],
        slots: list[Tensor],
        steps: list[Tensor],
        curves: list[Tensor],
    ) -> None:
        """Fill the lists with the parameters that have a gradient, and their states.

        ``torch.compile`` runs a method of this name instead of tracing it, so what does not change
        from step to step is made here.
        """
        names = self._slot_names()
        for position, weight in enumerate(group["params"]):
            gradient = weight.grad
            if gradient is None:
                continue
            if gradient.is_sparse:
                raise InputError(refused_gradient(gradient, group, position))
            state = self.state[weight]
            if not state:
                state["step"] = torch.tensor(0)
                for name in names:
                    state[name] = torch.zeros_like(weight, memory_format=torch.preserve_format)
            weights.append(local(weight, of=weight))
            gradients.append(local(gradient, of=weight))
            slots.extend([local(state[name], of=weight) for name in names])
            steps.append(state["step"])
        if steps and self._program.needs_total_steps:
            curves.append(curve_tensor(self._program, group["total_steps"], steps[0].device))

    def _slot_names(self) -> tuple[str, ...]:
        names = self._program.state_slots
        return names if self._program.momentum is Momentum.NONE else (*names, "momentum_buffer")

    def _replace(self, group: dict[str, Any], slots: list[Tensor]) -> None:
        """Put new states into the place of the old ones."""
        names = self._slot_names()
        updated = [each for each in group["params"] if each.grad is not None]
        for at, weight in enumerate(updated):
            for name, new in zip(names, slots[at * len(names) :], strict=False):
                self.state[weight][name] = (
                    torch.view_as_complex(new) if weight.is_complex() else new
                )

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Continue from a state; steps made from then on are bit-identical.

        The tensors of the state are copied: the optimizer that they come from goes its own way.

        Raises
        ------
        InputError
            If the state belongs to another rule, or to parameters of other shapes.
        """
        for group in state_dict["param_groups"]:
            _require_rule(group.get("rule"), self.rule, of="the state loaded")
        # torch makes the counters of fused and capturable optimizers float32, on the device.
        plain = {"fused": None, "capturable": False}
        groups = [{**group, **plain} for group in state_dict["param_groups"]]
        super().load_state_dict({**state_dict, "param_groups": groups})
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({name: saved.get(name, plain[name]) for name in plain})
        for slots in self.state.values():
            slots.update({name: each.clone() for name, each in slots.items()})


def _require_rule(given: object, rule: Rule, *, of: str) -> None:
    if given != str(rule):
        raise InputError(
            f"{of} belongs to the rule {given!r}, this optimizer applies {str(rule)!r}: make an "
            "optimizer with the other rule"
        )


def _native_key(group: dict[str, Any], first: int) -> tuple[Any, ...]:
    """Return what tells the native steps of a group apart: where it begins, what is asked for."""
    return first, group["fused"], group["foreach"], group["differentiable"]


def _in_lists(group: dict[str, Any], weights: Sequence[Tensor]) -> bool:
    """Whether tensors are worked on in lists: as asked, by default if all are plain tensors."""
    asked: bool | None = group["foreach"]
    if asked is not None:
        return asked
    return not group["differentiable"] and all(
        type(each) in (Tensor, Parameter) for each in weights
    )
