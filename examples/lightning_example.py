"""A discovered optimizer under Lightning: ``python examples/lightning_example.py``.

``pip install lightning``, or evolute with its extra ``frameworks``.
"""

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from evolute import zoo
from evolute.schedules import WarmupHoldCosine


class DigitClassifier(lightning.LightningModule):
    """A perceptron 64-32-10 with an optimizer of the zoo."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Map images of shape [N, 64] to logits of shape [N, 10]."""
        return self.network(images)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        """Return the loss of one batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and its schedule, which makes a step after each of the optimizer."""
        total_steps = int(self.trainer.estimated_stepping_batches)
        optimizer = zoo.create("opt6", self.parameters(), lr=1.0, total_steps=total_steps)
        scheduler = WarmupHoldCosine(optimizer, total_steps, warmup_steps=total_steps // 10)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def main() -> float:
    """Train on handwritten digits and return the accuracy on those held back."""
    images, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    model = DigitClassifier()
    loader = DataLoader(TensorDataset(inputs[:1400], targets[:1400]), batch_size=64, shuffle=True)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=10,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)
    correct = model(inputs[1400:]).argmax(dim=1) == targets[1400:]
    return correct.float().mean().item()


if __name__ == "__main__":
    print(f"accuracy {main():.3f}")
