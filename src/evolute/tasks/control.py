"""Reinforcement learning: advantage actor-critic in the environments of Gymnasium.

A training step plays 16 steps in each of 8 environments with the policy as it stands, then
descends the loss of V. Mnih and others, *Asynchronous Methods for Deep Reinforcement Learning*
(2016), in its synchronous form::

    −mean(log π(a|s)·A) + ½·mean((G − V(s))²) − 0.01·mean(entropy of π(·|s)),   A = G − V(s)

with G the discounted rewards up to the end of the 16 steps and V of the state after them, and A
brought to mean 0 and standard deviation 1 over the step. An episode cut short by its time limit
goes on in V.

Such a loss does not fall while the policy gets better. So the *value* of the loss reported is
another: ``1 − (R − lowest) / (highest − lowest)``, with R the mean return of the last 20 episodes
and the two returns of the environment's row (a random policy's, and one that counts as solved); its
gradient is that of the loss above. Metric: R. Validation and test play whole episodes with the same
policy, from fixed seeds and with fixed draws (the most probable action alone, which is not what was
trained, lands worse: −1377 against −130 after 400 steps of Adam on LunarLander).

All chance comes from the batch: the seed of the world that it is played in, and the numbers by
which actions are drawn. Batches hold no world, so that trainings of one seed can share them: each
model has a world of its own, made anew at step 0 and forgotten with the model.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from evolute.errors import TaskError
from evolute.seeds import derive, torch_generator
from evolute.tasks.base import Evaluation, Measurement, Split, Task
from evolute.tasks.data import Batch
from evolute.tasks.extras import optional_module
from evolute.tasks.faults import calling
from evolute.tasks.networks import perceptron
from evolute.tasks.registry import TaskFacts, enter

ENVIRONMENTS = 8
STEPS = 16
DISCOUNT = 0.99
VALUE_WEIGHT = 0.5
ENTROPY_WEIGHT = 0.01
LAST_EPISODES = 20
WIDTH = 64
EPISODES = {Split.TRAIN: 16, Split.VALIDATION: 16, Split.TEST: 32}
"""Whole episodes of an evaluation."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment of Gymnasium with a vector as observation and a few actions.

    Parameters
    ----------
    name
        Of the task.
    identifier
        Gymnasium's name for it.
    title
        In words.
    observations, actions
        Length of the observation, and how many actions there are.
    lowest, highest
        Return of a random policy, and one that counts as solved; CartPole's is that of its version
        0 (195; version 1 asks for 475), so that the short probes of a search see a beginning.
    reward_scale
        Rewards are multiplied by it in the loss, so that V is of the order of 1.
    """

    name: str
    identifier: str
    title: str
    observations: int
    actions: int
    lowest: float
    highest: float
    reward_scale: float

    def shortfall(self, mean_return: float) -> float:
        """Return 0 for a return that counts as solved, 1 for that of a random policy."""
        return 1.0 - (mean_return - self.lowest) / (self.highest - self.lowest)


CONTROL = (
    Environment("cartpole", "CartPole-v1", "balance a pole on a cart", 4, 2, 20.0, 195.0, 0.05),
    Environment("acrobot", "Acrobot-v1", "swing a double pendulum up", 6, 3, -500.0, -100.0, 0.05),
    Environment("lunarlander", "LunarLander-v3", "land on the moon", 8, 4, -200.0, 200.0, 0.02),
)


@dataclass(frozen=True, slots=True)
class Moment:
    """Which step of a training it is: what a batch has as its input.

    Parameters
    ----------
    seed
        Of the world that the training plays in.
    step
        Counted from 0.
    """

    seed: int
    step: int


class World:
    """The environments of one training, played on from step to step.

    Parameters
    ----------
    environment
        What is played.
    seed
        Of the first episodes.
    """

    def __init__(self, environment: Environment, seed: int) -> None:
        self.environment = environment
        self.recent = deque([environment.lowest] * LAST_EPISODES, maxlen=LAST_EPISODES)
        self._played = _vector(environment, ENVIRONMENTS)
        self._observed = _reset(self._played, seed)
        self._returns = torch.zeros(ENVIRONMENTS)

    @property
    def observed(self) -> Tensor:
        """What is seen now, [environments, observations]."""
        return self._observed

    def act(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Do these actions; return what was gained, which episodes are over, which by time, where.

        The last is what was seen at the end of an episode, before the next one began; elsewhere
        what is seen now.
        """
        seen, rewards, ended, cut, facts = self._played.step(actions.numpy())
        self._observed = torch.from_numpy(seen).to(torch.float32)
        gained = torch.from_numpy(rewards).to(torch.float32)
        over = torch.from_numpy(ended | cut)
        last = self._observed.clone()
        self._returns += gained
        for index in over.nonzero().flatten().tolist():
            last[index] = torch.from_numpy(facts["final_obs"][index]).to(torch.float32)
            self.recent.append(float(self._returns[index]))
            self._returns[index] = 0.0
        return gained, over, torch.from_numpy(cut & ~ended), last


@dataclass(frozen=True, slots=True)
class _Rollout:
    """What happened in one training step: tensors [steps, environments, …]."""

    observed: Tensor
    actions: Tensor
    returns: Tensor


class ControlTask(Task):
    """A task whose data are played while it trains; see the module's docstring.

    Parameters
    ----------
    environment
        What is played.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._worlds: WeakKeyDictionary[nn.Module, World] = WeakKeyDictionary()
        self._data = {}
        self._loss, self._metric = _no_loss, None
        self.__dict__.update(
            name=environment.name, metric="mean_return", has_accuracy=False, _version="1"
        )

    def model(self, width: int | None = None) -> nn.Module:
        """Return policy and value as two perceptrons, [N, observations] to [N, actions + 1]."""
        row = self._environment
        return _ActorCritic(row.observations, row.actions, width or WIDTH)

    def batches(
        self,
        generator: Generator,
        batch_size: int,  # noqa: ARG002  # 8 environments × 16 steps
        *,
        augment: bool = False,  # noqa: ARG002
    ) -> Iterator[Batch]:
        seed = _seed(generator)
        for step in itertools.count():
            yield Moment(seed, step), torch.rand(STEPS, ENVIRONMENTS, generator=generator)

    def first_batch(self, split: Split) -> Batch:
        return next(self.batches(torch_generator(0, f"first {split} batch"), 1))

    def in_order(self, split: Split) -> Iterator[Batch]:
        yield self.first_batch(split)

    def measure(self, model: nn.Module, batch: Batch, *, with_metric: bool = True) -> Measurement:
        moment, draws = batch
        with calling(self.name, "playing", advice="see the environment"):
            world = self._world(model, moment)
            rollout = _play(model, world, draws)
            loss = _loss(model, rollout)
        recent = sum(world.recent) / LAST_EPISODES
        # The value is the shortfall; the gradient is the loss's. A loss of NaN stays one.
        reported = loss - loss.detach() + self._environment.shortfall(recent)
        return Measurement(reported, recent if with_metric else None)

    def _world(self, model: nn.Module, moment: Moment) -> World:
        """Return the world that a model plays in; a new one at the beginning of a training."""
        if moment.step == 0 or model not in self._worlds:
            seed = derive(moment.seed, "world", moment.step) % 2**31
            self._worlds[model] = World(self._environment, seed)
        return self._worlds[model]

    def evaluate(self, model: nn.Module, split: Split) -> Evaluation:
        with torch.no_grad(), calling(self.name, "playing", advice="see the environment"):
            returns = _whole_episodes(
                model,
                self._environment,
                EPISODES[split],
                torch_generator(0, f"{split} episodes"),
            )
        mean = float(returns.mean())
        return Evaluation(self._environment.shortfall(mean), mean)


def _no_loss(_: Any, target: Any) -> Tensor:
    raise TaskError(
        "an actor-critic has no loss of an output and a target: measure the model on a batch; got "
        f"a target of type {type(target).__name__}"
    )


class _ActorCritic(nn.Module):
    def __init__(self, observations: int, actions: int, width: int) -> None:
        super().__init__()
        self.policy = perceptron([observations, width, width, actions], activation=nn.Tanh)
        self.value = perceptron([observations, width, width, 1], activation=nn.Tanh)

    def forward(self, observed: Tensor) -> Tensor:
        return torch.cat([self.policy(observed), self.value(observed)], dim=-1)


def _play(model: nn.Module, world: World, draws: Tensor) -> _Rollout:
    """Play as many steps as there are draws, and look back from their end."""
    observed, actions, rewards, ends = [], [], [], []
    scale = world.environment.reward_scale
    with torch.no_grad():
        for draw in draws:
            observed.append(world.observed)
            action = _drawn(model(world.observed)[:, :-1], draw)
            gained, over, cut, last = world.act(action)
            gained = scale * gained
            if cut.any():
                gained = gained + DISCOUNT * cut * model(last)[:, -1]
            actions.append(action)
            rewards.append(gained)
            ends.append(over)
        ahead = model(world.observed)[:, -1]
    returns = []
    for gained, over in zip(reversed(rewards), reversed(ends), strict=True):
        ahead = gained + DISCOUNT * ahead * ~over
        returns.append(ahead)
    return _Rollout(torch.stack(observed), torch.stack(actions), torch.stack(returns[::-1]))


def _drawn(scores: Tensor, draws: Tensor) -> Tensor:
    """Return the action [N] that each uniform number [N] falls on among the scores' softmax."""
    below = torch.softmax(scores, -1).cumsum(-1) < draws[:, None]
    return below.sum(-1).clamp_max(scores.shape[-1] - 1)


def _loss(model: nn.Module, rollout: _Rollout) -> Tensor:
    output = model(rollout.observed.flatten(0, 1))
    scores, values = output[:, :-1], output[:, -1]
    likely = functional.log_softmax(scores, -1)
    chosen = likely.gather(1, rollout.actions.reshape(-1, 1)).squeeze(1)
    returns = rollout.returns.flatten()
    advantage = (returns - values).detach()
    advantage = (advantage - advantage.mean()) / advantage.std().clamp_min(1e-8)
    entropy = -(likely.exp() * likely).sum(-1).mean()
    value_loss = (returns - values).square().mean()
    policy_loss = -(chosen * advantage).mean()
    loss: Tensor = policy_loss + VALUE_WEIGHT * value_loss - ENTROPY_WEIGHT * entropy
    return loss


def _whole_episodes(
    model: nn.Module, environment: Environment, episodes: int, generator: Generator
) -> Tensor:
    """Return the returns of the first episode of each of so many environments."""
    played = _vector(environment, episodes)
    observed = _reset(played, _seed(generator))
    returns = torch.zeros(episodes)
    going = torch.ones(episodes, dtype=torch.bool)
    training = model.training
    model.eval()
    while going.any():
        actions = _drawn(model(observed)[:, :-1], torch.rand(episodes, generator=generator))
        seen, rewards, ended, cut, _ = played.step(actions.numpy())
        returns += going * torch.from_numpy(rewards).to(torch.float32)
        going &= ~torch.from_numpy(ended | cut)
        observed = torch.from_numpy(seen).to(torch.float32)
    model.train(training)
    played.close()
    return returns


def _vector(environment: Environment, count: int) -> Any:
    gymnasium: Any = optional_module("gymnasium", extra="rl", what=f"the task {environment.name!r}")
    make = partial(gymnasium.make, environment.identifier, disable_env_checker=True)
    # An ended episode's environment begins the next one in the same step, and tells its last sight.
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    return gymnasium.vector.SyncVectorEnv([make] * count, autoreset_mode=mode)


def _seed(generator: Generator) -> int:
    return int(torch.randint(2**31, (), generator=generator))


def _reset(played: Any, seed: int) -> Tensor:
    seen, _ = played.reset(seed=seed)
    return torch.from_numpy(seen).to(torch.float32)


def control_task(environment: Environment, data_dir: Path | None = None) -> Task:  # noqa: ARG001
    """Build the task of an environment.

    Parameters
    ----------
    environment
        A row of :data:`CONTROL`.
    data_dir
        Not read.

    Raises
    ------
    TaskError
        If Gymnasium is not installed.
    """
    optional_module("gymnasium", extra="rl", what=f"the task {environment.name!r}")
    if environment.name == "lunarlander":
        optional_module("Box2D", extra="rl", what="the task 'lunarlander'")
    return ControlTask(environment)


def _enter_all() -> None:
    for row in CONTROL:
        enter(
            row.name,
            f"{row.identifier}: {row.title}, {row.actions} actions; advantage actor-critic",
            TaskFacts(
                family="control",
                examples=f"{ENVIRONMENTS}×{STEPS} steps a batch / {EPISODES[Split.VALIDATION]} / "
                f"{EPISODES[Split.TEST]} episodes",
                splits="episodes from seeds of each split's own",
                inputs=str(row.observations),
                classes=f"{row.actions} actions",
                network=f"two perceptrons {row.observations}-{WIDTH}-{WIDTH}, or the protocol's "
                "width",
                licence="MIT",
                source="M. Towers and others, Gymnasium (2024)",
                loss=f"share missing from {row.lowest:g} (random) to {row.highest:g} (solved); "
                "gradient of actor-critic",
                metric=f"mean return of the last {LAST_EPISODES} episodes",
                needs="extra: pip install 'evolute[rl]'",
            ),
            partial(control_task, row),
        )


_enter_all()
