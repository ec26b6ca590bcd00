"""The examples of training loops: each trains, drives rule and schedule to the last step, and
stands on the page as it is.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from optional_library import require_library
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from evolute.compiler.optimizer import RuleOptimizer

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "use-an-optimizer.md"
EXAMPLES = {  # name -> what must be installed
    "plain_loop": "torch",
    "lightning_example": "lightning",
    "accelerate_example": "accelerate",
    "huggingface_trainer": "transformers",
}
TOTAL_STEPS = 220
LEAST_ACCURACY = 0.85


@pytest.fixture
def stepping(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Optimizer]]:
    """The optimizers that make steps, in the order of their steps."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    seen: list[Optimizer] = []
    state, handle = (
        torch.get_rng_state(),
        register_optimizer_step_post_hook(lambda optimizer, *_: seen.append(optimizer)),
    )
    yield seen
    handle.remove()
    torch.set_rng_state(state)


# Lightning 2.6 asks torch for a class that torch 2.13 has renamed.
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*deprecated")
# Each worker of a machine with few cores is one process that loads its data itself.
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize(("name", "library"), EXAMPLES.items())
def test_an_example_trains_to_the_last_step_of_its_schedule(
    name: str, library: str, stepping: list[Optimizer]
) -> None:
    require_library(library, extra="frameworks")
    accuracy = importlib.import_module(name).main()
    assert accuracy > LEAST_ACCURACY
    (optimizer,) = set(stepping)
    assert isinstance(optimizer, RuleOptimizer)
    assert len(stepping) == TOTAL_STEPS
    assert {int(state["step"]) for state in optimizer.state.values()} == {TOTAL_STEPS}
    (group,) = optimizer.param_groups
    assert group["total_steps"] == TOTAL_STEPS
    assert group["lr"] == 0.0


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_shows_an_example_as_it_is(name: str) -> None:
    example = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    program = example.split('"""\n\n', maxsplit=1)[1].split("\n\nif __name__")[0]
    assert program in PAGE.read_text(encoding="utf-8")
