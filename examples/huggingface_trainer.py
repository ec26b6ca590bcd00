"""A discovered optimizer in Hugging Face's Trainer: ``python examples/huggingface_trainer.py``.

``pip install transformers accelerate``, or evolute with its extra ``frameworks``.
"""

import tempfile

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from evolute import zoo
from evolute.schedules import WarmupHoldCosine


class DigitClassifier(nn.Module):
    """A perceptron 64-32-10 that returns its loss, as the Trainer expects."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Map images of shape [N, 64] and their labels to the loss and logits of shape [N, 10]."""
        logits = self.network(images)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def main() -> float:
    """Train on handwritten digits and return the accuracy on those held back."""
    images, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    examples = [
        {"images": image, "labels": label}
        for image, label in zip(inputs[:1400], targets[:1400], strict=True)
    ]
    torch.manual_seed(0)
    model = DigitClassifier()

    total_steps = 220
    optimizer = zoo.create("opt6", model.parameters(), lr=1.0, total_steps=total_steps)
    scheduler = WarmupHoldCosine(optimizer, total_steps, warmup_steps=total_steps // 10)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                folder,
                max_steps=total_steps,
                per_device_train_batch_size=64,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=examples,
            optimizers=(optimizer, scheduler),
        )
        trainer.train()

    correct = model(inputs[1400:], targets[1400:])["logits"].argmax(dim=1) == targets[1400:]
    return correct.float().mean().item()


if __name__ == "__main__":
    print(f"accuracy {main():.3f}")
