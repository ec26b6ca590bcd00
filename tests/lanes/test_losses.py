"""Native cross-entropy and accuracy equal torch's, lane by lane."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evolute.lanes import losses
from evolute.lanes.native_layers import layers

pytestmark = pytest.mark.skipif(
    layers() is None and not os.environ.get("CI"),
    reason="the native layers are not built (no CMake or compiler when this was installed)",
)

IGNORED = -100
SHAPES = [(3, 128, 10), (2, 5, 3), (1, 33, 65), (2, 4, 1)]


def drawn(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    lanes, rows, classes = shape
    targets = torch.randint(classes, (lanes, rows), generator=generator)
    return torch.randn(*shape, generator=generator) * 4, targets


def found(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    leaf = outputs.detach().requires_grad_()
    assert losses.serves_classes(leaf, targets)
    each = losses.cross_entropies(leaf, targets, ignored=IGNORED)
    return each.detach(), torch.autograd.grad(each, leaf, torch.arange(1.0, len(each) + 1))[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cross_entropy_and_its_gradient_equal_torchs_in_double(
    shape: tuple[int, int, int],
) -> None:
    outputs, targets = drawn(*shape)
    targets[0, 1] = IGNORED
    leaf = outputs.double().requires_grad_()
    pairs = zip(leaf, targets, strict=True)
    wanted = torch.stack([functional.cross_entropy(*pair) for pair in pairs])
    (gradient,) = torch.autograd.grad(wanted, leaf, torch.arange(1.0, shape[0] + 1).double())
    loss, own = found(outputs, targets)
    torch.testing.assert_close(loss, wanted.detach().float())
    torch.testing.assert_close(own, gradient.float(), atol=1e-6, rtol=1e-5)


def test_classes_of_sequences_lie_side_by_side_in_memory() -> None:
    outputs, _ = drawn(2, 24, 5)
    targets = torch.randint(5, (2, 6, 4), generator=torch.Generator().manual_seed(0))
    scores = outputs.view(2, 6, 4, 5).transpose(2, 3)
    wanted = [functional.cross_entropy(*pair) for pair in zip(scores, targets, strict=True)]
    torch.testing.assert_close(found(scores, targets)[0], torch.stack(wanted))
    right = (scores.argmax(2) == targets).float().flatten(1).mean(1)
    assert torch.equal(losses.accuracies(scores, targets), right)
    assert not losses.serves_classes(scores.contiguous(), targets)


def test_a_lane_has_the_same_bits_beside_any_others_and_with_targets_shared() -> None:
    outputs, targets = drawn(4, 21, 7)
    whole = found(outputs, targets[:1])
    for lane in range(4):
        loss, gradient = found(outputs[lane : lane + 1], targets[:1])
        assert torch.equal(loss, whole[0][lane : lane + 1])
        assert torch.equal(gradient * (lane + 1), whole[1][lane : lane + 1])


def test_accuracy_takes_the_first_of_equal_scores_and_nan_for_the_largest_as_torch_does() -> None:
    nan = float("nan")
    scores = torch.tensor([[[1.0, 1.0, 0.0], [0.0, nan, nan], [nan, 2.0, 3.0], [0.0, 1.0, 2.0]]])
    for target in range(3):
        targets = torch.full((1, 4), target)
        right = (scores.argmax(2) == targets).float().mean(1)
        assert torch.equal(losses.accuracies(scores, targets), right)


@pytest.mark.parametrize("every", [2, 4, 8, 16])
@pytest.mark.parametrize("classes", [10, 64, 300])
def test_many_rows_of_which_some_do_not_count_equal_torchs_in_double(
    classes: int, every: int
) -> None:
    outputs, targets = drawn(2, 1024, classes)
    targets[:, every - 1 :: every] = IGNORED
    loss, _ = found(outputs, targets)
    wanted = [
        functional.cross_entropy(x.double(), y, ignore_index=IGNORED)
        for x, y in zip(outputs, targets, strict=True)
    ]
    torch.testing.assert_close(loss.double(), torch.stack(wanted), rtol=1e-6, atol=0)


def test_numbers_that_are_not_finite_stay_in_their_row() -> None:
    outputs, targets = drawn(2, 20, 6)
    outputs[0, 3, 2], outputs[1, 4, 1] = float("nan"), float("inf")
    loss, gradient = found(outputs, targets)
    assert loss.isnan().all()
    assert gradient[0, 3].isnan().all()
    assert gradient[0, [0, 1, 2, 4]].isfinite().all()


def test_a_target_that_is_no_class_is_an_error() -> None:
    outputs, targets = drawn(2, 5, 3)
    targets[1, 2] = 3
    with pytest.raises(IndexError, match="3 scores allow 0 to 2"):
        losses.cross_entropies(outputs, targets, ignored=IGNORED)
