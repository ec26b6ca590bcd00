"""A discovered optimizer under Accelerate: ``python examples/accelerate_example.py``.

``pip install accelerate``, or evolute with its extra ``frameworks``.
"""

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from evolute import zoo
from evolute.schedules import WarmupHoldCosine

EPOCHS = 10


def main() -> float:
    """Train on handwritten digits and return the accuracy on those held back."""
    images, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    loader = DataLoader(TensorDataset(inputs[:1400], targets[:1400]), batch_size=64, shuffle=True)

    total_steps = EPOCHS * len(loader)
    optimizer = zoo.create("opt6", model.parameters(), lr=1.0, total_steps=total_steps)
    scheduler = WarmupHoldCosine(optimizer, total_steps, warmup_steps=total_steps // 10)
    accelerator = Accelerator(cpu=True)
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    for _ in range(EPOCHS):
        for batch, labels_of_batch in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(batch), labels_of_batch)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), max_norm=1.0)
            optimizer.step()
            scheduler.step()

    correct = model(inputs[1400:]).argmax(dim=1) == targets[1400:]
    return correct.float().mean().item()


if __name__ == "__main__":
    print(f"accuracy {main():.3f}")
