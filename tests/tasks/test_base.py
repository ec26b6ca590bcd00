"""Tasks: every form of model and data, and a clear line for what cannot be used."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from evolute.errors import TaskError, UnknownNameError
from evolute.seeds import torch_generator
from evolute.seeds.streams import seeded
from evolute.tasks.base import Split, Task
from evolute.tasks.data import Batch

INPUTS = torch.arange(24, dtype=torch.float32).reshape(12, 2) / 24
TARGETS = torch.arange(12) % 3
PAIR = (INPUTS, TARGETS)


def make(**changes: Any) -> Task:
    parts: dict[str, Any] = {
        "name": "small",
        "model": lambda: nn.Linear(2, 3),
        "train": PAIR,
        "validation": PAIR,
        "test": PAIR,
        "metric": "accuracy",
    }
    return Task(**(parts | changes))


def some_batches(task: Task, count: int, *, batch_size: int = 5, seed: int = 0) -> list[Batch]:
    generator = torch_generator(seed, "batches")
    return list(itertools.islice(task.batches(generator, batch_size), count))


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """The same examples one by one."""

    def __len__(self) -> int:
        return len(INPUTS)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return INPUTS[index], TARGETS[index]


class Endless(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return itertools.repeat(INPUTS[0])


class Lengthless(Dataset[Tensor]):
    def __getitem__(self, index: int) -> Tensor:
        return INPUTS[index]


FORMS: dict[str, Callable[[], Any]] = {
    "pair of tensors": lambda: PAIR,
    "list of two tensors": lambda: list(PAIR),
    "TensorDataset": lambda: TensorDataset(*PAIR),
    "Dataset": Pairs,
    "DataLoader": lambda: DataLoader(Pairs(), batch_size=5),
    "list of batches": lambda: [(INPUTS[:6], TARGETS[:6]), (INPUTS[6:], TARGETS[6:])],
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_data_does_not_change_an_evaluation(form: str) -> None:
    data = FORMS[form]()
    task = make(train=data, validation=data, test=data)
    with seeded(0):
        model = task.model()
    expected = nn.functional.cross_entropy(model(INPUTS), TARGETS).item()
    hits = (model(INPUTS).argmax(1) == TARGETS).float().mean().item()
    for split in Split:
        evaluation = task.evaluate(model, split)
        assert evaluation.loss == pytest.approx(expected, rel=1e-6)
        assert evaluation.metric == pytest.approx(hits, rel=1e-6)


@pytest.mark.parametrize("form", ["pair of tensors", "TensorDataset", "Dataset"])
def test_a_pass_gives_each_example_at_most_once_in_full_batches(form: str) -> None:
    task = make(train=FORMS[form]())
    first, second, third = some_batches(task, 3)
    assert [len(targets) for _, targets in (first, second, third)] == [5, 5, 5]
    seen = torch.cat([first[0], second[0]])[:, 0].tolist()
    assert len(set(seen)) == 10
    assert {float(x) for x in third[0][:, 0]} & set(seen), "the third batch is of the next pass"


def test_a_dataset_is_batched_like_the_tensors_it_holds_whatever_the_seed() -> None:
    sizes = {len(batch[1]) for batch in some_batches(make(train=Pairs()), 4, batch_size=4)}
    assert sizes == {4}


def test_a_batch_larger_than_the_data_is_the_whole_data() -> None:
    for inputs, _ in some_batches(make(), 3, batch_size=1000):
        assert sorted(inputs[:, 0].tolist()) == INPUTS[:, 0].tolist()


def test_a_loader_keeps_its_own_batch_size_and_remainder() -> None:
    task = make(train=DataLoader(Pairs(), batch_size=5))
    assert [len(targets) for _, targets in some_batches(task, 4, batch_size=99)] == [5, 5, 2, 5]


def test_the_generator_of_a_loader_is_left_as_it_was() -> None:
    generator = torch.Generator().manual_seed(7)
    task = make(train=DataLoader(Pairs(), batch_size=5, shuffle=True, generator=generator))
    before = generator.get_state()
    batches = task.batches(torch_generator(0, "batches"), 5)
    for _ in range(5):
        next(batches)
        assert torch.equal(generator.get_state(), before)


def test_a_generator_that_a_loader_draws_from_again_and_again_goes_on_between_batches() -> None:
    generator = torch.Generator()
    sampler = RandomSampler(Pairs(), replacement=True, num_samples=96, generator=generator)
    loader = DataLoader(Pairs(), batch_size=32, sampler=sampler, generator=generator)
    _, second, third = some_batches(make(train=loader), 3)
    assert not torch.equal(second[0], third[0])


def test_inputs_of_any_structure_pass_through_a_loader() -> None:
    batch = ({"left": INPUTS, "right": INPUTS}, TARGETS)

    class Both(nn.Linear):
        def forward(self, inputs: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
            return super().forward(inputs["left"] - inputs["right"])

    task = make(model=lambda: Both(2, 3), train=[batch], validation=[batch], test=[batch])
    assert task.evaluate(task.model(), Split.TEST).metric is not None
    assert task.version


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (iter([PAIR]), "gone through only once"),
        (Endless(), "wrap it in a DataLoader"),
        (Lengthless(), "without a length"),
        ((INPUTS, TARGETS[:5]), "inputs of shape (12, 2) and targets of shape (5,)"),
        ((INPUTS[:0], TARGETS[:0]), "at least 1"),
        ((INPUTS, TARGETS, TARGETS), "holds (Tensor, Tensor, Tensor)"),
        ((INPUTS.numpy(), TARGETS.numpy()), "holds (ndarray, ndarray): give a pair of tensors"),
        ((INPUTS, [1, 2]), "holds (Tensor, list)"),
        (INPUTS, "is of type Tensor"),
        (None, "is of type NoneType"),
        ("digits", "is of type str"),
    ],
)
def test_data_of_no_allowed_form_is_refused_in_one_line(data: object, says: str) -> None:
    with pytest.raises(TaskError) as caught:
        make(validation=data)
    assert says in str(caught.value)
    assert "task 'small': the validation data" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loader_without_batches_is_refused_in_training_and_evaluation() -> None:
    task = make(train=[], validation=[])
    with pytest.raises(TaskError, match="no batch"):
        some_batches(task, 1)
    with pytest.raises(TaskError, match="the validation data has no example"):
        task.evaluate(task.model(), Split.VALIDATION)
    with pytest.raises(TaskError, match="the validation data has no batch"):
        task.first_batch(Split.VALIDATION)


def test_batches_that_are_no_pairs_are_refused() -> None:
    task = make(train=[(INPUTS, TARGETS, TARGETS)], validation=[{"inputs": INPUTS}])
    with pytest.raises(TaskError, match=r"its training data raised TypeError: .* tuple of 3"):
        some_batches(task, 1)
    with pytest.raises(TaskError, match=r"its validation data raised TypeError: .* dict"):
        task.evaluate(task.model(), Split.VALIDATION)


def test_a_model_given_as_a_module_is_copied_for_each_training() -> None:
    net = nn.Linear(2, 3)
    net.eval()
    task = make(model=net)
    first = task.model()
    with torch.no_grad():
        first.weight.add_(1)  # type: ignore[operator]
    assert torch.equal(task.model().weight, net.weight)  # type: ignore[arg-type]
    assert not net.training


def test_a_callable_that_returns_one_and_the_same_model_carries_no_weights_over() -> None:
    net = nn.Linear(2, 3)
    task = make(model=lambda: net)
    with torch.no_grad():
        task.model().weight.add_(1)  # type: ignore[operator]
    assert torch.equal(task.model().weight, net.weight)  # type: ignore[arg-type]


def test_the_width_goes_to_models_that_take_one_and_to_no_other() -> None:
    def wide(width: int = 4) -> nn.Module:
        return nn.Sequential(nn.Linear(2, width), nn.Linear(width, 3))

    task = make(model=wide)
    shapes = [next(task.model(width).parameters()).shape[0] for width in (None, 4, 7)]
    assert shapes == [4, 4, 7]
    assert next(make().model(7).parameters()).shape == (3, 2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": lambda: 3}, "its model raised TypeError: it returned int, not an nn.Module"),
        ({"model": lambda: 1 / 0}, "its model raised ZeroDivisionError: division by zero"),
        ({"loss": lambda output, target: output}, "its loss raised TypeError: it returned Tensor"),
        ({"loss": lambda output, target: 0.5}, "its loss raised TypeError: it returned float"),
        ({"loss": "mse"}, "its loss raised ValueError: the output has shape (5, 3)"),
        (
            {"metric": lambda output, target: TARGETS.tolist()[99]},
            "its metric raised IndexError: list index out of range",
        ),
        ({"model": lambda: nn.Linear(5, 3)}, "its model's forward raised RuntimeError"),
        ({"train": (INPUTS, TARGETS + 9)}, "its loss raised IndexError: Target"),
    ],
)
def test_what_raises_in_a_user_s_code_is_named_in_one_line(
    changes: dict[str, Any], says: str
) -> None:
    task = make(**changes)
    with pytest.raises(TaskError) as caught:
        task.measure(task.model(), some_batches(task, 1)[0])
    assert str(caught.value).startswith("task 'small': ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ctrl_c_in_a_user_s_code_is_no_task_error() -> None:
    def interrupt(output: Tensor, target: Tensor) -> Tensor:
        raise KeyboardInterrupt

    task = make(loss=interrupt)
    with pytest.raises(KeyboardInterrupt):
        task.measure(task.model(), some_batches(task, 1)[0])


def test_unknown_losses_metrics_and_bad_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown loss 'crossentropy': did you mean"):
        make(loss="crossentropy")
    with pytest.raises(UnknownNameError, match="unknown metric 'acuracy': did you mean 'accuracy'"):
        make(metric="acuracy")
    with pytest.raises(TaskError, match="a loss is of type int"):
        make(loss=3)
    with pytest.raises(TaskError, match="model is of type int"):
        make(model=3)
    for name in ("", "two\nlines", 3):
        with pytest.raises(TaskError, match="the name of a task"):
            make(name=name)


def test_a_metric_is_known_by_its_name_and_only_the_named_one_is_accuracy() -> None:
    def accuracy(output: Tensor, target: Tensor) -> float:
        return 7.0

    assert (make().metric, make().has_accuracy) == ("accuracy", True)
    assert (make(metric=None).metric, make(metric=None).has_accuracy) == (None, False)
    own = make(metric=accuracy)
    assert (own.metric, own.has_accuracy) == ("accuracy", False)
    assert own.evaluate(own.model(), Split.TEST).metric == 7.0


def test_augmentation_changes_training_inputs_only_where_it_is_asked_for() -> None:
    def shift(inputs: Tensor, generator: torch.Generator) -> Tensor:
        return inputs + torch.rand((), generator=generator) + 10

    task = make(augment=shift)

    def first(augment: bool) -> Tensor:
        batches = task.batches(torch_generator(0, "batches"), 5, augment=augment)
        inputs: Tensor = next(batches)[0]
        return inputs

    assert (first(True) - first(False)).min() > 9.9
    assert torch.equal(first(True), first(True))
    with pytest.raises(TaskError, match="its augmentation raised ZeroDivisionError"):
        next(
            make(augment=lambda inputs, generator: 1 / 0).batches(
                torch.Generator(), 5, augment=True
            )
        )


def test_the_version_follows_the_content() -> None:
    changed = INPUTS.clone()
    changed[3, 1] += 1e-6
    versions = [
        make().version,
        make(train=(changed, TARGETS)).version,
        make(validation=(changed, TARGETS)).version,
        make(test=(INPUTS, (TARGETS + 1) % 3)).version,
        make(train=(INPUTS.double(), TARGETS)).version,
        make(model=lambda: nn.Linear(2, 3, bias=False)).version,
        make(loss=nn.functional.multi_margin_loss).version,
        make(metric=None).version,
        make(version="own").version,
    ]
    assert len(set(versions)) == len(versions)
    assert make().version == versions[0]
    assert versions[-1] == "own"


def test_the_version_of_a_task_to_fine_tune_follows_the_weights() -> None:
    net = nn.Linear(2, 3)
    before = make(model=net).version
    with torch.no_grad():
        net.weight[0, 0] += 1
    assert make(model=net).version != before


def test_a_shuffling_loader_has_one_version() -> None:
    versions = set()
    for seed in (1, 2):
        with seeded(seed):
            versions.add(make(train=DataLoader(Pairs(), batch_size=5, shuffle=True)).version)
    assert len(versions) == 1


def test_the_version_depends_on_no_setting_of_torch_and_draws_nothing() -> None:
    expected = make().version
    before = torch.default_generator.get_state()
    torch.set_default_dtype(torch.float64)
    try:
        assert make().version == expected
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.default_generator.get_state(), before)


def test_data_whose_content_cannot_be_hashed_asks_for_a_version() -> None:
    batch = (object(), TARGETS)
    with pytest.raises(TaskError, match=r"object, whose content has no hash; .* version="):
        _ = make(train=[batch]).version


def test_no_gradient_flows_into_the_data() -> None:
    inputs = INPUTS.clone().requires_grad_()
    batch = some_batches(make(train=(inputs, TARGETS)), 1)[0]
    assert not batch[0].requires_grad
