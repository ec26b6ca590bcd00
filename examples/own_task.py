"""A task of your own: ``evolute search --task examples/own_task.py:build --budget 2m``."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import evolute


class Wave(nn.Module):
    """Two hidden layers that learn y = sin(3x)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map x of shape [N, 1] to y of the same shape."""
        return self.layers(inputs)


def loader(examples: int, *, seed: int, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
    """Draw examples of the wave, served in batches of 32."""
    generator = torch.Generator().manual_seed(seed)
    inputs = 2 * torch.rand(examples, 1, generator=generator) - 1
    return DataLoader(TensorDataset(inputs, torch.sin(3 * inputs)), batch_size=32, shuffle=shuffle)


def build() -> evolute.Task:
    """Return the task."""
    return evolute.Task(
        name="wave",
        version="1",
        model=Wave,
        loss="mse",
        train=loader(512, seed=0, shuffle=True),
        validation=loader(128, seed=1, shuffle=False),
        test=loader(128, seed=2, shuffle=False),
    )
