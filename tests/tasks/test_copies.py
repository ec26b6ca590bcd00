"""Models keep what a copy would lose, and evaluation leaves the user's data as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from evolute.errors import TaskError
from evolute.tasks.base import Split, Task
from evolute.tasks.copies import lost_in_copies
from evolute.tasks.data import DataLike
from evolute.tasks.models import Models


def examples(*, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(40, 6, generator=generator), torch.randint(3, (40,), generator=generator)


def task_of(model: nn.Module | Callable[[], nn.Module], data: DataLike | None = None) -> Task:
    given = examples(seed=0) if data is None else data
    return Task(name="own", model=model, train=given, validation=given, test=given, version="1")


class Hooked(nn.Linear):
    """A layer whose weight has no gradient, by a hook."""

    def __init__(self) -> None:
        super().__init__(6, 3)
        self.weight.register_hook(torch.zeros_like)


class Scaled(nn.Module):
    """A network whose scale is known to a function alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(6, 3), nn.Parameter(torch.ones(()))
        self.act = lambda hidden: hidden * self.scale

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.layer(x))  # type: ignore[no-untyped-call]
        return result


class WritesIntoInputs(nn.Linear):
    """A layer that normalises what it is given where it lies."""

    def __init__(self) -> None:
        super().__init__(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.5).mul_(2.0))


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    inputs, targets = examples(seed=1)
    nn.functional.cross_entropy(model(inputs), targets).backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


def test_a_hook_on_a_weight_is_kept() -> None:
    found = gradients(task_of(Hooked).model())["weight"]
    assert found is not None
    assert not found.any()


def test_a_function_of_a_model_uses_its_own_weights() -> None:
    task = task_of(Scaled)
    for _ in range(3):
        assert gradients(task.model())["scale"] is not None


def test_models_are_new_each_time_whether_made_or_given() -> None:
    one = nn.Linear(6, 3)
    shared = nn.Linear(6, 3)
    for source in (one, lambda: one, lambda: nn.Sequential(shared, nn.ReLU()), Hooked):
        task = task_of(source)
        weights = [next(task.model().parameters()) for _ in range(3)]
        assert len({weight.data_ptr() for weight in weights}) == 3


def test_a_second_model_does_not_change_what_is_drawn() -> None:
    task = task_of(Hooked)
    torch.manual_seed(0)
    weight, after = next(task.model().parameters()), torch.rand(2)
    torch.manual_seed(0)
    assert torch.equal(weight, nn.Linear(6, 3).weight)
    assert torch.equal(after, torch.rand(2))


@pytest.mark.parametrize("model", [Hooked(), Scaled()])
def test_a_given_model_that_copies_would_change_is_refused(model: nn.Module) -> None:
    with pytest.raises(TaskError, match="would lose .*: let model= be a callable"):
        task_of(model).model()


def test_a_task_that_was_renamed_says_so_in_what_it_says_of_its_models() -> None:
    renamed = task_of(Hooked()).renamed("other", "2")
    with pytest.raises(TaskError, match="^task 'other': each training begins from a copy"):
        renamed.model()


def test_hooks_and_closures_in_containers_are_found() -> None:
    model = nn.Sequential(nn.Linear(6, 3))
    assert lost_in_copies(model) is None
    model[0].register_forward_hook(lambda _module, _inputs, output: output * model[0].bias)
    assert lost_in_copies(model) == "what its function '0._forward_hooks' closes over"


def batches() -> list[tuple[Tensor, Tensor]]:
    return [examples(seed=seed) for seed in range(2)]


@pytest.mark.parametrize("data", [examples(seed=0), batches()], ids=["tensors", "batches"])
def test_evaluation_leaves_the_data_of_a_user_as_it_was(data: DataLike) -> None:
    task = task_of(WritesIntoInputs, data)
    torch.manual_seed(0)
    model = task.model()
    first = task.evaluate(model, Split.VALIDATION)
    assert task.evaluate(model, Split.VALIDATION) == first


def test_the_old_weight_norm_which_cannot_be_copied_is_told_with_the_new_one() -> None:
    with pytest.warns(FutureWarning, match="weight_norm"):
        model = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 2)))
    model(torch.zeros(1, 3))
    with pytest.raises(TaskError, match=r"use torch\.nn\.utils\.parametrizations\.weight_norm"):
        Models(model).new(None, task="mine")
