"""``evolute doctor`` says what is active, and why not."""

from __future__ import annotations

import json
from importlib import metadata

import pytest
import torch
from cli.shell import Capture, run

from evolute.cli.doctor import examine
from evolute.compiler.native import status
from evolute.compiler.triton_lanes import status as kernel_status


def test_both_formats_say_the_same(capsys: Capture) -> None:
    assert run(["doctor", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [each.name for each in examine()]
    assert run(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert all(row["name"] in shown for row in rows)


def test_it_tells_of_the_native_core_and_of_torch() -> None:
    found = {each.name: each for each in examine()}
    assert found["native core"].active is status().active
    assert found["native core"].detail == status().reason
    assert found["torch"].detail == torch.__version__
    assert found["cuda"].active is torch.cuda.is_available()
    assert found["kernels for rules on a GPU"].active is kernel_status().active
    assert found["kernels for rules on a GPU"].detail == kernel_status().reason
    assert str(torch.get_num_threads()) in found["threads"].detail


def test_a_native_core_that_is_switched_off_is_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EVOLUTE_NATIVE_ISA", "off")
    core = examine()[0]
    assert not core.active
    assert core.detail == "switched off by EVOLUTE_NATIVE_ISA=off"


def test_a_wrong_instruction_set_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("EVOLUTE_NATIVE_ISA", "mmx")
    assert run(["doctor"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_extra_that_is_not_installed_is_told_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs = ["torch>=2", "click>=8; extra == 'there'", "no-such-thing[x]>=1; extra == 'absent'"]
    monkeypatch.setattr(metadata, "requires", lambda _name: needs)
    found = {each.name: each for each in examine()}
    assert found["extra there"].active
    assert not found["extra absent"].active
    assert found["extra absent"].detail == (
        "not installed: no-such-thing; pip install 'evolute[absent]'"
    )
