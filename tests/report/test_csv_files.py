"""Tables as CSV are read back as they were, and run in no spreadsheet."""

from __future__ import annotations

import csv
import io

import pytest
from report.places import HOSTILE

from evolute.report.csv_files import table_to_csv
from evolute.report.page import Between, Table, Typeset


def read(table: Table) -> list[list[str]]:
    return list(csv.reader(io.StringIO(table_to_csv(table), newline="")))


def test_numbers_are_written_in_full_and_intervals_as_two_columns() -> None:
    table = Table(
        name="t",
        caption="",
        columns=("rule", "loss#", "interval#", "seeds#"),
        rows=(
            (Typeset("none: g", "<math></math>"), 0.1 + 0.2, Between(0.25, 1 / 3), 3),
            ("none: v", None, None, 4),
        ),
    )
    assert read(table) == [
        ["rule", "loss", "interval from", "interval to", "seeds"],
        ["none: g", "0.30000000000000004", "0.25", "0.3333333333333333", "3"],
        ["none: v", "", "", "", "4"],
    ]


@pytest.mark.parametrize("attack", ["=1+1", "+1", "@SUM(A1)", "-2+3|' /C calc'!A0", "\t=1"])
def test_a_text_that_a_spreadsheet_would_run_is_a_text(attack: str) -> None:
    table = Table(name="t", caption="", columns=("name",), rows=((attack,),))
    assert read(table)[1] == [f"'{attack}"]


@pytest.mark.parametrize("text", [*HOSTILE, 'a,b\n"c"'])
def test_every_text_is_read_back(text: str) -> None:
    table = Table(name="t", caption="", columns=("name",), rows=((text,),))
    assert read(table)[1] == [text]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells"):
        Table(name="t", caption="", columns=("a",), rows=((1, 2),))
