"""Adverse conditions: what they change, what they leave alone, and how they are written."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from evolute.errors import TaskError, UnknownNameError
from evolute.lang.rule import Rule
from evolute.seeds import torch_generator
from evolute.seeds.streams import seeded
from evolute.tasks.adverse import CONDITIONS, split_conditions
from evolute.tasks.base import Split, Task
from evolute.tasks.data import TensorData
from evolute.tasks.user import load_task
from evolute.testing.task_contract import SHORT
from evolute.train.trainer import run_trial


def labels(task: Task, split: Split = Split.TRAIN) -> Tensor:
    return torch.cat([targets for _, targets in task.in_order(split)])


def gradients(task: Task, *, seed: int = 0) -> list[Tensor]:
    with seeded(1):
        model = task.model()
    batch = next(task.batches(torch_generator(0, "batches"), 64))
    with seeded(seed):
        task.measure(model, batch).loss.backward()
    found = [weight.grad for weight in model.parameters()]
    assert all(grad is not None for grad in found)
    return [grad for grad in found if grad is not None]


def test_label_noise_makes_the_stated_share_of_training_labels_wrong_and_no_other() -> None:
    clean, noisy = load_task("digits"), load_task("digits+label-noise=0.3")
    wrong = (labels(clean) != labels(noisy)).float().mean().item()
    assert wrong == pytest.approx(0.3, abs=0.04)
    assert set(labels(noisy).tolist()) == set(range(10))
    for split in (Split.VALIDATION, Split.TEST):
        assert torch.equal(labels(clean, split), labels(noisy, split))
    assert torch.equal(labels(noisy), labels(load_task("digits+label-noise=0.3")))


def test_wrong_labels_are_the_same_in_every_pass() -> None:
    task = load_task("digits+label-noise=0.5+batch=997")
    (first, one), (second, two) = itertools.islice(task.batches(torch_generator(0, "b"), 1), 2)
    by_image = {
        tuple(image): label for image, label in zip(first.tolist(), one.tolist(), strict=True)
    }
    assert all(
        by_image[tuple(image)] == label
        for image, label in zip(second.tolist(), two.tolist(), strict=True)
    )


def test_class_imbalance_makes_the_first_class_that_many_times_as_frequent_as_the_last() -> None:
    counts = torch.bincount(labels(load_task("digits+class-imbalance=10")), minlength=10)
    assert counts[0].item() / counts[9].item() == pytest.approx(10, rel=0.1)
    assert counts.tolist() == sorted(counts.tolist(), reverse=True)
    even = torch.bincount(labels(load_task("digits+class-imbalance=1")))
    assert even.min() == even.max()


@pytest.mark.parametrize("size", [1, 500])
def test_batches_have_the_size_written_whatever_the_protocol_says(size: int) -> None:
    task = load_task(f"digits+batch={size}")
    inputs, targets = next(task.batches(torch_generator(0, "batches"), 64))
    assert (len(inputs), len(targets)) == (size, size)


def test_gradient_noise_is_in_proportion_to_each_gradient() -> None:
    clean = gradients(load_task("digits"))
    noisy = gradients(load_task("digits+gradient-noise=2"))
    for before, after in zip(clean, noisy, strict=True):
        if before.numel() >= 300:
            level = (after - before).square().mean().sqrt() / before.square().mean().sqrt()
            assert level.item() == pytest.approx(2, rel=0.15)


def test_sparse_gradients_lose_that_share_of_their_entries_and_keep_the_others() -> None:
    clean = gradients(load_task("digits"))
    sparse = gradients(load_task("digits+sparse-gradients=0.9"))
    kept = torch.cat([(grad != 0).flatten() for grad in sparse])
    dense = torch.cat([(grad != 0).flatten() for grad in clean])
    assert kept.sum() / dense.sum() == pytest.approx(0.1, abs=0.03)
    for before, after in zip(clean, sparse, strict=True):
        assert torch.equal(after[after != 0], before[after != 0])


@pytest.mark.parametrize("condition", ["gradient-noise=1", "sparse-gradients=0.5"])
def test_perturbations_are_drawn_anew_survive_a_copy_and_leave_nothing_on_the_model(
    condition: str,
) -> None:
    task = load_task(f"digits+{condition}")
    first, again, other = (gradients(task, seed=seed) for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, other))
    model = task.model()
    batch = task.first_batch(Split.TRAIN)
    task.measure(model, batch)
    twin = copy.deepcopy(model)
    assert all(weight._backward_hooks is None for weight in model.parameters())
    with seeded(0):
        task.measure(twin, batch).loss.backward()
    assert all(weight.grad is not None for weight in twin.parameters())
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("condition", ["gradient-noise=3", "sparse-gradients=0.9"])
def test_evaluation_is_that_of_the_clean_task(condition: str) -> None:
    clean, adverse = load_task("digits"), load_task(f"digits+{condition}")
    with seeded(0):
        model = clean.model()
    for split in Split:
        assert clean.evaluate(model, split) == adverse.evaluate(model, split)


def test_batch_statistics_of_the_model_go_on_under_a_perturbation() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3))
    pair = (torch.rand(8, 2) + 3, torch.arange(8) % 3)
    task = Task(name="norm", model=model, train=pair, validation=pair, test=pair, version="1")
    from evolute.tasks.adverse import under_conditions

    adverse = under_conditions(task, {"gradient-noise": 1.0})
    own = adverse.model()
    adverse.measure(own, task.first_batch(Split.TRAIN))
    assert own[0].num_batches_tracked == 1  # type: ignore[index]
    assert own[0].running_mean.max() > 0.1  # type: ignore[index]


def test_a_perturbed_task_learns_less_than_a_clean_one() -> None:
    rule = Rule.parse("v/(sqrt(s)+1e-8)")
    clean, adverse = (
        run_trial(rule, load_task(name), SHORT, seed=0)
        for name in ("digits", "digits+gradient-noise=20")
    )
    assert clean.score is not None
    assert adverse.score is not None
    assert clean.score.loss < adverse.score.loss


def test_conditions_are_named_in_one_order_whatever_order_they_are_written_in() -> None:
    one = load_task("digits+batch=4+label-noise=0.2")
    two = load_task("digits+label-noise=0.2+batch=4")
    assert one.name == two.name == "digits+label-noise=0.2+batch=4"
    assert one.version == two.version == "1+label-noise=0.2+batch=4"
    assert one.name != load_task("digits").name
    assert load_task("digits+batch=1000000").name == "digits+batch=1000000"


def test_a_file_of_the_users_own_takes_conditions_and_may_have_a_plus_in_its_name() -> None:
    text, conditions = split_conditions("/a+b/c++=x/own.py:build+batch=4")
    assert (text, conditions) == ("/a+b/c++=x/own.py:build", {"batch": 4.0})
    assert split_conditions("/home/a+b=c/own.py:build") == ("/home/a+b=c/own.py:build", {})


def test_data_given_as_a_loader_takes_label_noise() -> None:
    pairs = [(torch.rand(6, 2), torch.arange(6) % 3) for _ in range(2)]
    task = Task(
        name="own", model=lambda: nn.Linear(2, 3), train=pairs, validation=pairs, test=pairs
    )
    from evolute.tasks.adverse import under_conditions

    noisy = under_conditions(task, {"label-noise": 1.0})
    assert isinstance(noisy.training_data, TensorData)
    assert (labels(noisy) != labels(task)).all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("digits+label-noise=2", "label-noise=2: give a number from 0 to 1"),
        ("digits+label-noise=lots", "label-noise=lots: give a number from 0 to 1"),
        ("digits+label-noise=nan", "give a number from 0 to 1"),
        ("digits+batch=0.5", "batch=0.5: give an integer from 1"),
        ("digits+batch=2+batch=3", "written twice"),
        ("digits+label-nois=0.1", "did you mean 'label-noise'"),
        ("tabular-diabetes+label-noise=0.1", "needs class labels"),
        ("tabular-diabetes+class-imbalance=2", "needs class labels"),
        ("char-lm+class-imbalance=2", "needs one label for each example"),
        ("cartpole+label-noise=0.1", "makes its own while it trains"),
        ("cartpole+batch=4", "makes its own while it trains"),
        ("nothing+batch=4", "unknown task 'nothing'"),
    ],
)
def test_conditions_that_cannot_be_are_one_line(text: str, says: str) -> None:
    with pytest.raises((TaskError, UnknownNameError)) as caught:
        load_task(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_condition_is_one_row_with_a_range_that_its_number_is_checked_against() -> None:
    for name, row in CONDITIONS.items():
        assert row.name == name
        assert split_conditions(f"digits+{name}={row.lowest:g}")[1] == {name: row.lowest}
        with pytest.raises(TaskError):
            split_conditions(f"digits+{name}={row.highest * 2:.12g}")


def test_a_perturbation_draws_in_the_forward_pass_as_dropout_does_and_not_in_the_backward() -> None:
    task = load_task("digits+gradient-noise=1")
    with seeded(0):
        loss = task.measure(task.model(), task.first_batch(Split.TRAIN)).loss
        after_forward = torch.default_generator.get_state()
        loss.backward()
        assert torch.equal(torch.default_generator.get_state(), after_forward)
