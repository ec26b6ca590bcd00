"""Tables: the rows, columns and classes stated, and nothing of a later split in the scaling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import datasets

from evolute.tasks.base import Split
from evolute.tasks.registry import TASKS
from evolute.tasks.tabular import TABLES, Table, table_task


@pytest.mark.parametrize("table", TABLES, ids=lambda row: str(row.name))
def test_a_table_is_what_its_row_says(table: Table) -> None:
    columns, target = getattr(datasets, table.loader)(return_X_y=True)
    assert columns.shape == (table.rows, table.columns)
    assert (len(np.unique(target)) if table.classes else 0) == table.classes
    task = table_task(table)
    sizes = [sum(len(targets) for _, targets in task.in_order(split)) for split in Split]
    assert " / ".join(map(str, sizes)) == TASKS[task.name].facts.examples
    assert sum(sizes) == table.rows


def test_columns_are_scaled_by_the_training_rows_alone() -> None:
    task = table_task(TABLES[0])
    train, _ = task.first_batch(Split.TRAIN)
    assert torch.allclose(train.mean(0), torch.zeros(30), atol=1e-5)
    assert torch.allclose(train.std(0), torch.ones(30), atol=1e-5)
    later, _ = task.first_batch(Split.TEST)
    assert not torch.allclose(later.mean(0), torch.zeros(30), atol=1e-3)


def test_a_regression_has_targets_of_one_column_and_no_metric() -> None:
    task = table_task(TABLES[3])
    _, targets = task.first_batch(Split.TRAIN)
    assert targets.shape == (265, 1)
    assert targets.mean().abs() < 1e-5
    assert task.metric is None
