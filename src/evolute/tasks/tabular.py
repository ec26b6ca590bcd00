"""Tables: a multilayer perceptron on the data sets that scikit-learn carries, no download.

Splits, fixed: the rows in the order of ``numpy.random.RandomState(0).permutation``; the first 60 %
train, the next 20 % validate, the last 20 % test. Columns, and the target of a regression, are
brought to mean 0 and standard deviation 1 by those of the training rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from evolute.tasks.base import Task
from evolute.tasks.networks import perceptron
from evolute.tasks.registry import TaskFacts, enter

SHARES = (0.6, 0.8)
WIDTH = 64


@dataclass(frozen=True, slots=True)
class Table:
    """A data set of scikit-learn.

    Parameters
    ----------
    name
        Of the task, behind ``tabular-``.
    loader
        Name of its function in ``sklearn.datasets``.
    title
        In words.
    rows, columns
        Its size.
    classes
        How many; 0 for a regression.
    licence, source
        Of the data.
    """

    name: str
    loader: str
    title: str
    rows: int
    columns: int
    classes: int
    licence: str
    source: str


TABLES = (
    Table("breast-cancer", "load_breast_cancer", "breast-cancer diagnosis", 569, 30, 2,
          "CC BY 4.0", "W. Wolberg and others, Breast Cancer Wisconsin (UCI, 1995)"),
    Table("wine", "load_wine", "cultivars of wine", 178, 13, 3,
          "CC BY 4.0", "S. Aeberhard, M. Forina, Wine (UCI, 1991)"),
    Table("iris", "load_iris", "species of iris", 150, 4, 3,
          "CC BY 4.0", "R. A. Fisher, Iris (UCI, 1936)"),
    Table("diabetes", "load_diabetes", "progression of diabetes (regression)", 442, 10, 0,
          "none stated", "B. Efron and others, Least Angle Regression (2004)"),
)  # fmt: skip


def table_task(table: Table, data_dir: Path | None = None) -> Task:  # noqa: ARG001  # it is bundled
    """Build the task of a table: a perceptron columns-64-64-outputs.

    Parameters
    ----------
    table
        A row of :data:`TABLES`.
    data_dir
        Not read.
    """
    train, validation, test = _splits(table)

    def model(width: int = WIDTH) -> nn.Module:
        return perceptron([table.columns, width, width, table.classes or 1])

    return Task(
        name=f"tabular-{table.name}",
        version="1",
        model=model,
        train=train,
        validation=validation,
        test=test,
        loss="cross_entropy" if table.classes else "mse",
        metric="accuracy" if table.classes else None,
    )


@cache
def _splits(table: Table) -> list[tuple[Tensor, Tensor]]:
    from sklearn import datasets  # takes seconds to import, and few tasks need it

    columns, target = getattr(datasets, table.loader)(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(target))
    first, second = (round(share * len(order)) for share in SHARES)
    inputs = _standardised(torch.from_numpy(columns[order]), first)
    targets = torch.from_numpy(target[order])
    if table.classes:
        targets = targets.to(torch.int64)
    else:
        targets = _standardised(targets.to(torch.float64)[:, None], first)
    return [
        (inputs[start:end], targets[start:end])
        for start, end in ((0, first), (first, second), (second, len(order)))
    ]


def _standardised(columns: Tensor, train: int) -> Tensor:
    """Return columns [N, C] with mean 0 and standard deviation 1 over the first ``train`` rows."""
    seen = columns[:train]
    return ((columns - seen.mean(0)) / seen.std(0).clamp_min(1e-12)).to(torch.float32)


def _enter_all() -> None:
    for table in TABLES:
        train, both = (round(share * table.rows) for share in SHARES)
        outputs = f"{table.classes} classes" if table.classes else "regression"
        network = f"perceptron {table.columns}-{WIDTH}-{WIDTH}-{table.classes or 1}"
        enter(
            f"tabular-{table.name}",
            f"{table.title}: {table.rows} rows of {table.columns} columns, {outputs}; {network}",
            TaskFacts(
                family="tabular",
                examples=f"{train} / {both - train} / {table.rows - both}",
                splits="60 % / 20 % / 20 % in the order of RandomState(0).permutation",
                inputs=str(table.columns),
                classes=str(table.classes or "–"),
                network=f"{network}, or the protocol's width",
                licence=table.licence,
                source=table.source,
                loss="cross_entropy" if table.classes else "mse",
                metric="accuracy" if table.classes else "–",
            ),
            partial(table_task, table),
        )


_enter_all()
