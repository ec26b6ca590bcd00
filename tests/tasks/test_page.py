"""The page on tasks names all that there is."""

from __future__ import annotations

from pathlib import Path

from evolute.tasks.adverse import CONDITIONS
from evolute.tasks.registry import TASKS

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")


def test_the_page_names_every_task_and_every_condition() -> None:
    assert [name for name in TASKS if f"`{name}`" not in PAGE] == []
    assert [name for name in CONDITIONS if f"`{name}=X`" not in PAGE] == []
