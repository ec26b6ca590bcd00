"""A training under a framework that stopped half-way goes on as if it had not."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from optional_library import require_library
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from evolute import zoo
from evolute.compiler.optimizer import RuleOptimizer
from evolute.schedules import WarmupHoldCosine

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
STEPS = 12
SAVED_AT = 5


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(STEPS * 4, 64, generator=generator)
    return TensorDataset(images, torch.randint(10, (len(images),), generator=generator))


def prepared(model: nn.Module) -> tuple[RuleOptimizer, WarmupHoldCosine]:
    optimizer = zoo.create("opt6", model.parameters(), lr=1.0, total_steps=STEPS)
    return optimizer, WarmupHoldCosine(optimizer, STEPS, warmup_steps=3)


def weights(model: nn.Module) -> list[Tensor]:
    return [each.detach().clone() for each in model.parameters()]


def assert_same(one: list[Tensor], other: list[Tensor]) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def with_hugging_face(folder: Path, *, resume: bool) -> list[Tensor]:
    example: Any = importlib.import_module("huggingface_trainer")
    torch.manual_seed(0)
    model = example.DigitClassifier()
    if resume:
        nn.init.zeros_(model.network[0].weight)
    trainer = example.Trainer(
        model,
        example.TrainingArguments(
            str(folder),
            max_steps=STEPS,
            per_device_train_batch_size=4,
            save_steps=SAVED_AT,
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=[
            {"images": image, "labels": label} for image, label in zip(*data().tensors, strict=True)
        ],
        optimizers=prepared(model),
    )
    checkpoint = str(folder / f"checkpoint-{SAVED_AT}") if resume else None
    trainer.train(resume_from_checkpoint=checkpoint)
    return weights(model)


def test_hugging_face_resumes_to_the_bit(tmp_path: Path) -> None:
    require_library("transformers", extra="frameworks")
    straight = with_hugging_face(tmp_path, resume=False)
    assert_same(with_hugging_face(tmp_path, resume=True), straight)


def with_lightning(epochs: int, folder: Path, *, resume: bool) -> list[Tensor]:
    example: Any = importlib.import_module("lightning_example")

    class Classifier(example.DigitClassifier):  # type: ignore[misc]
        def configure_optimizers(self) -> Any:
            optimizer, scheduler = prepared(self)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    torch.manual_seed(0)
    model = Classifier()
    if resume:
        nn.init.zeros_(model.network[0].weight)
    trainer = example.lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    checkpoint = folder / "checkpoint.ckpt"
    # Lightning takes a loader up anew, so it stops between epochs: three of a third of the steps.
    third = TensorDataset(*data()[: len(data()) // 3])
    trainer.fit(
        model,
        DataLoader(third, batch_size=4),
        ckpt_path=checkpoint if resume else None,
        weights_only=True if resume else None,
    )
    trainer.save_checkpoint(checkpoint)
    return weights(model)


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*deprecated")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_lightning_resumes_to_the_bit(tmp_path: Path) -> None:
    require_library("lightning", extra="frameworks")
    straight = with_lightning(3, tmp_path, resume=False)
    with_lightning(1, tmp_path, resume=False)
    assert_same(with_lightning(3, tmp_path, resume=True), straight)


def with_accelerate(folder: Path, *, resume: bool) -> list[Tensor]:
    example: Any = importlib.import_module("accelerate_example")
    torch.manual_seed(0)
    model = nn.Linear(64, 10)
    if resume:
        nn.init.zeros_(model.weight)
    accelerator = example.Accelerator(cpu=True)
    model, optimizer, scheduler = accelerator.prepare(model, *prepared(model))
    if resume:
        accelerator.load_state(str(folder))
    loader = DataLoader(data(), batch_size=4)
    for step, (images, labels) in enumerate(loader):
        if resume and step < SAVED_AT:
            continue
        if step == SAVED_AT and not resume:
            accelerator.save_state(str(folder))
        optimizer.zero_grad()
        accelerator.backward(nn.functional.cross_entropy(model(images), labels))
        optimizer.step()
        scheduler.step()
    return weights(model)


def test_accelerate_resumes_to_the_bit(tmp_path: Path) -> None:
    require_library("accelerate", extra="frameworks")
    straight = with_accelerate(tmp_path, resume=False)
    assert_same(with_accelerate(tmp_path, resume=True), straight)
