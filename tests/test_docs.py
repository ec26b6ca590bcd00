"""The pages say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evolute.presets import PRESETS
from evolute.search.mutation import SAME_CURVE_DISTANCE
from evolute.train.integrity import PASSING

ROOT = Path(__file__).parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "perf" / "README.md",
]
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
BUILD_PROGRAM = """
import sys
sys.path.insert(0, "docs")
from build_language_page import PAGE, build
page = PAGE.read_text(encoding="utf-8")
sys.exit(0 if build(page) == page else "run 'python docs/build_language_page.py' and commit it")
"""

BUDGET_OF_THE_README = 'budget="2m"'
SMALL_BUDGET = """budget="6", config={
    "search": {"initial_candidates": 4, "particles": 1, "time_steps": 1, "children": 2},
    "verdict": {"finalists": 1, "tuning_seeds": 1, "grid_half_width": 1, "widenings": 0,
                "fresh_seeds": 2},
}"""
FACTS_OF_THE_FACE = """
assert len(result.leaderboard) > 0
assert str(result.leaderboard.rows[0].rule) in str(result.leaderboard)
assert isinstance(optimizer, evolute.RuleOptimizer)
assert optimizer.param_groups[0]["lr"] == result.best.learning_rate
"""


def test_the_tables_of_the_language_page_are_those_of_the_registries() -> None:
    # In a process of its own: other tests add rows to the registries of this one.
    command = [sys.executable, "-c", BUILD_PROGRAM]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_python_face_in_the_readme_runs_on_a_small_budget(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.split("## From Python")[1].split("```python\n")[1].split("```")[0]
    assert BUDGET_OF_THE_README in block
    program = block.replace(BUDGET_OF_THE_README, SMALL_BUDGET) + FACTS_OF_THE_FACE
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def test_the_page_on_your_own_model_shows_the_example_as_it_is() -> None:
    example = (ROOT / "examples" / "own_task.py").read_text(encoding="utf-8")
    program = example.split('"""\n\n', maxsplit=1)[1]
    assert program in (ROOT / "docs" / "your-model.md").read_text(encoding="utf-8")


def test_the_page_on_the_paper_states_the_figures_of_its_preset() -> None:
    page = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    preset = PRESETS["paper"]
    initial, main, probe = preset.stages.initial, preset.stages.main, preset.stages.initial.probe
    search = preset.searches["particles"]
    drawing = search.drawing
    assert probe is not None
    for fact in (
        f"a warm-up of {probe.warmup_steps} of their {probe.steps} steps",
        f"{search.initial_candidates} candidates, B = {initial.width}, {initial.training.steps:,} ",
        f"the best {search.particles}, B = {main.width}, {main.training.steps:,} steps",
        f"batches of {main.batch_size}; warm-up over {main.training.warmup_steps} steps",
        f"{search.time_steps} time steps of {search.children} children, up to {search.tries} fail",
        f"reads the decay's hidden node with {1 - drawing.base_decay:.2f}",
        f"on an edge with {drawing.decay}, on the edge of a unary root with "
        f"{drawing.decay_unary_root}",
        f"mutant curves within {SAME_CURVE_DISTANCE:.0e}".replace("e-0", "e-"),
        f"passing under {PASSING}",
    ):
        assert fact in page
    assert preset.nesterov == "published"
    assert preset.duplicate_tolerance is None
