"""Actor-critic tasks: what is played, what is learned from it, and what is reported."""

from __future__ import annotations

import copy
import gc
import itertools

import pytest
import torch
from torch import Tensor, nn

from evolute.lang.rule import Rule
from evolute.seeds import torch_generator
from evolute.seeds.streams import seeded
from evolute.tasks.base import Split, Task
from evolute.tasks.control import (
    CONTROL,
    DISCOUNT,
    ENVIRONMENTS,
    STEPS,
    ControlTask,
    World,
    _drawn,
    _play,
)
from evolute.tasks.data import Batch
from evolute.tasks.user import load_task
from evolute.train.protocol import Protocol, Threshold, Training
from evolute.train.trainer import run_trial

pytestmark = pytest.mark.usefixtures("optional")

CARTPOLE = CONTROL[0]
NEVER = Threshold(accuracy=None, loss_fraction=1.0)


class Left(nn.Module):
    """Pushes the cart to the left always, and holds every state worth 3."""

    def forward(self, observed: Tensor) -> Tensor:
        return torch.tensor([50.0, -50.0, 3.0]).expand(len(observed), 3)


def test_actions_are_drawn_by_the_numbers_of_the_batch() -> None:
    scores = torch.tensor([0.2, 0.5, 0.3]).log().expand(4, 3)
    draws = torch.tensor([0.1, 0.3, 0.69, 0.9999])
    assert _drawn(scores, draws).tolist() == [0, 1, 1, 2]


def test_returns_are_discounted_rewards_up_to_the_end_of_an_episode_or_the_worth_after_it() -> None:
    world = World(CARTPOLE, 3)
    with torch.no_grad():
        rollout = _play(Left(), world, torch.full((STEPS, ENVIRONMENTS), 0.5))
    assert rollout.actions.eq(0).all()
    assert rollout.observed.shape == (STEPS, ENVIRONMENTS, 4)
    scale = CARTPOLE.reward_scale
    # A cart that is pushed to one side falls within a dozen steps: each column has an end in it.
    for column in rollout.returns.T:
        worth = 3.0
        ends = 0
        for value in reversed(column.tolist()):
            expected = scale + DISCOUNT * worth
            if value == pytest.approx(scale):
                ends += 1
                expected = scale
            assert value == pytest.approx(expected, rel=1e-5)
            worth = value
        assert ends >= 1
    assert list(world.recent)[-1] in range(8, 12)
    assert world.recent[0] == CARTPOLE.lowest


def test_an_episode_cut_short_by_its_time_limit_goes_on_in_the_worth_of_its_last_state() -> None:
    world = World(CARTPOLE, 0)
    for environment in world._played.envs:
        environment.unwrapped.reset(seed=0)
        time_limit = environment
        while not hasattr(time_limit, "_elapsed_steps"):
            time_limit = time_limit.env
        time_limit._elapsed_steps = 499
    with torch.no_grad():
        rollout = _play(Left(), world, torch.full((1, ENVIRONMENTS), 0.5))
    assert torch.allclose(rollout.returns, torch.tensor(CARTPOLE.reward_scale + DISCOUNT * 3.0))


def test_the_loss_has_the_value_of_what_is_missing_and_the_gradient_of_another() -> None:
    task = load_task("cartpole")
    with seeded(0):
        model = task.model()
    measured = task.measure(model, next(task.batches(torch_generator(0, "b"), 1)))
    assert measured.metric is not None
    assert measured.loss.item() == pytest.approx(CARTPOLE.shortfall(measured.metric), abs=1e-6)
    measured.loss.backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())
    assert CARTPOLE.shortfall(CARTPOLE.lowest) == 1.0
    assert CARTPOLE.shortfall(CARTPOLE.highest) == 0.0


def test_a_loss_that_is_not_finite_is_reported_as_it_is() -> None:
    task = load_task("cartpole")
    model = task.model()
    with torch.no_grad():
        next(model.value.parameters()).fill_(float("nan"))  # type: ignore[union-attr]
    assert task.measure(model, task.first_batch(Split.TRAIN)).loss.isnan()


def train(task: Task, model: nn.Module, batches: list[Batch]) -> list[float]:
    """Play the batches and move the model a little after each; return the losses."""
    losses = []
    for batch in batches:
        loss = task.measure(model, batch).loss
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for weight in model.parameters():
                assert weight.grad is not None
                weight.sub_(0.01 * weight.grad)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", ["cartpole", "cartpole+sparse-gradients=0"])
def test_models_that_share_batches_play_in_worlds_of_their_own(name: str) -> None:
    task = load_task(name)
    batches = list(itertools.islice(task.batches(torch_generator(0, "b"), 1), 12))
    with seeded(0):
        first = task.model()
    second, third = copy.deepcopy(first), copy.deepcopy(first)
    alone = train(task, third, batches)
    in_turns = [
        (train(task, first, [batch])[0], train(task, second, [batch])[0]) for batch in batches
    ]
    assert [pair[0] for pair in in_turns] == [pair[1] for pair in in_turns] == alone
    assert len(set(alone)) > 1
    assert task.measures_itself


def test_a_training_begins_a_new_world_and_a_forgotten_model_leaves_none() -> None:
    task = ControlTask(CARTPOLE)
    batches = list(itertools.islice(task.batches(torch_generator(0, "b"), 1), 3))
    with seeded(0):
        model = task.model()
    again = copy.deepcopy(model)
    one = train(task, model, batches)
    worlds = len(task._worlds)
    model.load_state_dict(again.state_dict())
    assert train(task, model, batches) == one
    assert len(task._worlds) == worlds == 1
    del model
    gc.collect()
    assert len(task._worlds) == 0


def test_adam_learns_to_balance_the_pole() -> None:
    protocol = Protocol(
        probe=None,
        learning_rate=3e-3,
        training=Training(steps=120, epoch_steps=60, warmup_steps=10, abandon=NEVER),
        fitness="metric",
        fitness_epoch="last",
    )
    trial = run_trial(Rule.parse("v/(sqrt(s)+1e-8)"), load_task("cartpole"), protocol, seed=0)
    assert trial.score is not None
    assert trial.score.metric is not None
    assert trial.score.metric > 3 * CARTPOLE.lowest


def test_validation_and_test_play_other_episodes() -> None:
    task = load_task("cartpole")
    with seeded(0):
        model = task.model()
    assert task.evaluate(model, Split.VALIDATION) != task.evaluate(model, Split.TEST)
