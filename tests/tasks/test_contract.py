"""The task's contract, over the tasks of the package and one of a user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch
from tasks.tiny_files import tiny_network, write_everything
from torch import nn
from torch.utils.data import DataLoader, Dataset

from evolute.seeds.streams import seeded
from evolute.tasks.base import Split, Task
from evolute.tasks.data import DataLike
from evolute.tasks.fine_tuning import DOMAINS, Domain, fine_tuning_task
from evolute.tasks.models import ModelSource
from evolute.tasks.registry import TASKS
from evolute.tasks.user import load_task
from evolute.testing.task_contract import TaskContract

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_task.py"


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_everything(tmp_path_factory.mktemp("data"))


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a few topics of the default text, and a few episodes of an evaluation."""
    few = {name: topics[name] for name in list(topics)[:5]}
    monkeypatch.setattr("pydoc_data.topics.topics", few)
    monkeypatch.setattr("evolute.tasks.control.EPISODES", dict.fromkeys(Split, 2))


class TestBuiltinTasks(TaskContract):
    """Every task of the table, on tiny data sets in the true formats where it reads files."""

    # The network of fine-tuning is too large for so many tests: a smaller one has its own class.
    @pytest.fixture(params=[name for name in TASKS if TASKS[name].facts.family != "fine-tuning"])
    def task(
        self, request: pytest.FixtureRequest, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Task:
        make_small(monkeypatch)
        self._name: str = request.param
        if TASKS[self._name].facts.family == "control":
            request.getfixturevalue("optional")
        self._data_dir = tiny_data
        return self.build()

    def build(self) -> Task:
        return load_task(self._name, data_dir=self._data_dir)


class TestFineTuningTasks(TaskContract):
    """The same data, weights and code with a small EfficientNetV2 and small images."""

    @pytest.fixture(params=DOMAINS, ids=lambda row: str(row.name))
    def task(self, request: pytest.FixtureRequest, tiny_data: Path, optional: None) -> Task:
        self._domain: Domain = request.param
        self._data_dir = tiny_data
        return self.build()

    def build(self) -> Task:
        return fine_tuning_task(self._domain, self._data_dir, network=tiny_network, size=16)


@pytest.mark.parametrize(
    "text",
    [
        "digits+label-noise=0.2+batch=8",
        "digits+class-imbalance=10+gradient-noise=0.5",
        "char-lm+label-noise=0.1+sparse-gradients=0.5",
        "cartpole+gradient-noise=0.1",
    ],
)
class TestTasksUnderConditions(TaskContract):
    @pytest.fixture
    def task(self, text: str, monkeypatch: pytest.MonkeyPatch, optional: None) -> Task:
        make_small(monkeypatch)
        self._text = text
        return self.build()

    def build(self) -> Task:
        return load_task(self._text)


class TestTheExampleOfAnOwnTask(TaskContract):
    def build(self) -> Task:
        return load_task(f"{EXAMPLE}:build")


class NoisyDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Examples with a random transform, drawn from the global generator of torch."""

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        noise = 0.1 * torch.randn(3)
        return torch.tensor([index / 48, 1.0, -index / 48]) + noise, torch.tensor([index / 48])


def regression(name: str, model: ModelSource, data: Callable[[], DataLike]) -> Task:
    train, validation, test = data(), data(), data()
    return Task(name=name, model=model, loss="mse", train=train, validation=validation, test=test)


class TestDatasetWithRandomTransforms(TaskContract):
    def build(self) -> Task:
        return regression("noisy", self._model, NoisyDataset)

    def _model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))


class TestShuffledLoaderWithItsOwnGenerator(TaskContract):
    def build(self) -> Task:
        return regression("loader", lambda: nn.Linear(3, 1), self._loader)

    def _loader(self) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
        return DataLoader(NoisyDataset(), batch_size=8, shuffle=True, generator=torch.Generator())


class TestFineTuning(TaskContract):
    draws_weights = False

    def build(self) -> Task:
        with seeded(0):
            return regression("fine-tuning", nn.Linear(3, 1), NoisyDataset)
