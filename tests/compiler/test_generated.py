"""Steps by generated code: the path of a GPU, taken on the CPU here."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from evolute import zoo
from evolute.compiler.generated import GeneratedSteps
from evolute.compiler.optimizer import RuleOptimizer
from evolute.compiler.step import Members, curve_tensor
from evolute.compiler.traced import traced_program
from evolute.errors import InputError

SHAPES = ((), (3,), (4, 5))
TOTAL = 6
pytestmark = [
    # torch's own modules use what torch deprecates.
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),
]


def made(name: str) -> tuple[list[nn.Parameter], RuleOptimizer]:
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    return weights, zoo.create(
        name, weights, lr=0.05, total_steps=TOTAL, weight_decay=0.1, foreach=False
    )


def members_of(optimizer: RuleOptimizer) -> Members:
    state = optimizer.state
    weights = list(optimizer.param_groups[0]["params"])
    slots = [each for w in weights for name, each in state[w].items() if name != "step"]
    gradients = [w.grad for w in weights if w.grad is not None]
    return Members(weights, gradients, slots, [state[w]["step"] for w in weights], [0, 1, 2])


@pytest.mark.parametrize("name", ["adam", "opt1", "opt6", "opt10", "a5", "demon", "nadam"])
def test_generated_code_moves_as_the_loop_and_is_made_once(name: str) -> None:
    torch._dynamo.reset()
    weights, optimizer = made(name)
    others, other = made(name)
    program = optimizer._program
    steps = GeneratedSteps(traced_program(program), backend="eager")
    curves = (
        [curve_tensor(program, TOTAL, torch.device("cpu"))] if program.needs_total_steps else []
    )
    generator = torch.Generator().manual_seed(1)
    for count in range(5):
        for weight, twin in zip(weights, others, strict=True):
            weight.grad = torch.randn(weight.shape, generator=generator)
            twin.grad = weight.grad.clone()
        optimizer.step()
        if count == 0:
            other.step()  # makes the states
        else:
            with (
                torch.no_grad(),
                torch.compiler.set_stance("fail_on_recompile" if count >= 2 else "default"),
            ):
                steps.step(members_of(other), other.param_groups[0], curves=curves)
        for group in (*optimizer.param_groups, *other.param_groups):
            group["lr"] *= 0.9
            group["momentum"] *= 0.95
        for weight, twin in zip(weights, others, strict=True):
            torch.testing.assert_close(weight, twin, rtol=2e-5, atol=1e-6)
    assert {int(slots["step"]) for slots in other.state.values()} == {5}


def test_fused_elsewhere_than_on_a_cpu_takes_generated_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(
        GeneratedSteps, "step", lambda _, members, group, **__: taken.append(len(members.weights))
    )
    weight = nn.Parameter(torch.empty(3, device="meta"))
    optimizer = RuleOptimizer([weight], "none: v", lr=0.1)
    optimizer.param_groups[0]["fused"] = True
    weight.grad = torch.empty(3, device="meta")
    optimizer.step()
    assert taken == [1]


def test_generated_code_for_noise_is_refused() -> None:
    with pytest.raises(InputError, match="fused=True is not possible: the rule draws noise"):
        RuleOptimizer(
            [nn.Parameter(Elsewhere(torch.ones(3)))], "none: dropout(g, 0.5)", lr=0.1, fused=True
        )


def test_a_step_while_a_cuda_graph_is_captured_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep rate, decays and counter of that step at every replay."""
    captures = [True]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: captures[-1])
    weight = nn.Parameter(Elsewhere(torch.ones(3)))
    optimizer = RuleOptimizer([weight], "none: g", lr=0.5)
    weight.grad = torch.ones(3)
    with pytest.raises(InputError, match="cannot be captured in a CUDA graph"):
        optimizer.step()
    captures.append(False)
    optimizer.step()
    assert weight.tolist() == [0.5, 0.5, 0.5]


class Elsewhere(torch.Tensor):
    """A tensor that says it is on a GPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda")
