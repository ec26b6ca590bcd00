"""Next characters: the data, the splits, and a network that other code can take apart."""

from __future__ import annotations

import itertools
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch
from tasks.tiny_files import TEXT, write_texts
from torch import Tensor, fx

from evolute.errors import TaskError
from evolute.lang.rule import Rule
from evolute.seeds import torch_generator
from evolute.tasks.base import Split, Task
from evolute.tasks.language import CONTEXT, character_task
from evolute.tasks.transformer import CharacterModel
from evolute.tasks.user import load_task
from evolute.testing.task_contract import SHORT
from evolute.train.trainer import run_trial


def codes(task: Task, split: Split) -> list[int]:
    """The text of a split as the windows in order show it."""
    return torch.cat([inputs.flatten() for inputs, _ in task.in_order(split)]).tolist()


def test_the_default_text_is_the_help_topics_of_python_in_three_parts_one_after_another() -> None:
    task = load_task("char-lm")
    text = "\n\n".join(topics[name] for name in sorted(topics))
    alphabet = sorted(set(text[: int(0.8 * len(text))]))
    shown = [codes(task, split) for split in Split]
    for part, start in zip(shown, (0.0, 0.8, 0.9), strict=True):
        expected = text[int(start * len(text)) :][:500]
        assert "".join(alphabet[code] if code < len(alphabet) else "?" for code in part[:500]) == (
            "".join(character if character in alphabet else "?" for character in expected)
        )
    sizes = [len(part) / len(text) for part in shown]
    assert sizes == pytest.approx([0.8, 0.1, 0.1], abs=0.001)
    assert len(text) > 300_000


def test_windows_in_order_follow_each_other_and_targets_are_one_character_ahead() -> None:
    task = character_task("small", (TEXT * 4, TEXT * 2, TEXT * 2), context=8)
    for split in Split:
        for inputs, targets in task.in_order(split):
            assert torch.equal(inputs[:, 1:], targets[:, :-1])
            assert torch.equal(inputs[1:, 0], targets[:-1, -1])


def test_training_windows_start_anywhere_in_the_training_text() -> None:
    task = character_task("small", (TEXT * 4, TEXT * 2, TEXT * 2), context=8)
    batches = itertools.islice(task.batches(torch_generator(0, "b"), 16), 40)
    text = codes(task, Split.TRAIN)
    starts = {tuple(text[start : start + 8]) for start in range(len(text) - 8)}
    drawn = {tuple(row) for inputs, _ in batches for row in inputs.tolist()}
    assert len(drawn & starts) > len(TEXT) / 2
    assert len(drawn - starts) <= 8, "windows that end in the part dropped at the end of a pass"


def test_a_character_that_training_never_showed_is_one_class_of_its_own() -> None:
    task = character_task("small", ("abab" * 9, "abz!" * 9, "abab" * 9), context=8)
    (inputs, _), *_ = task.in_order(Split.VALIDATION)
    assert inputs[0, :4].tolist() == [0, 1, 2, 2]
    assert task.model()(inputs).shape == (len(inputs), 3, 8)


def test_the_version_changes_with_the_text() -> None:
    one, two = (
        character_task("small", (text * 9, TEXT, TEXT), context=8) for text in ("ab", "abc")
    )
    assert one.version != two.version
    assert load_task("char-lm").name == "char-lm"


def test_no_place_sees_a_later_one() -> None:
    model = CharacterModel(5, 12).eval()
    text = torch.randint(5, (2, 12), generator=torch_generator(0, "text"))
    changed = text.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 5
    before, after = model(text), model(changed)
    assert torch.allclose(before[..., :7], after[..., :7], atol=1e-6)
    assert not torch.allclose(before[..., 7:], after[..., 7:], atol=1e-3)


def test_the_network_can_be_traced_and_gives_the_same() -> None:
    model = CharacterModel(5, 12)
    text = torch.randint(5, (3, 12), generator=torch_generator(0, "text"))
    traced = fx.symbolic_trace(model)
    output: Tensor = traced(text)
    assert torch.equal(output, model(text))


def test_the_width_of_the_protocol_is_that_of_the_network() -> None:
    task = load_task("char-lm")
    assert [task.model(width).characters.weight.shape[1] for width in (None, 32)] == [64, 32]  # type: ignore[union-attr,index]
    assert CONTEXT == 64


def test_it_learns() -> None:
    task = character_task("small", (TEXT * 30, TEXT * 4, TEXT * 4), context=16)
    trial = run_trial(Rule.parse("v/(sqrt(s)+1e-8)"), task, SHORT, seed=0)
    with torch.no_grad():
        first = task.evaluate(task.model(), Split.VALIDATION)
    assert trial.score is not None
    assert trial.score.loss < 0.95 * first.loss


@pytest.mark.parametrize(
    ("name", "folder", "files"),
    [
        ("char-text", "char-text", ("a.txt",)),
        ("char-ptb", "ptb", ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")),
    ],
)
def test_a_text_that_is_no_utf8_or_too_short_is_one_line(
    name: str, folder: str, files: tuple[str, ...], tmp_path: Path
) -> None:
    write_texts(tmp_path / folder, files)
    assert load_task(name, data_dir=tmp_path).name == name
    for content, says in (
        (b"\xff\xfe" * 999, "is no UTF-8 text (byte 0)"),
        (b"short", "characters: it needs more than its context of 64"),
    ):
        (tmp_path / folder / files[-1]).write_bytes(content)
        with pytest.raises(TaskError) as caught:
            load_task(name, data_dir=tmp_path)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


def test_two_text_files_or_none_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"not on this machine: looked for a file \*.txt in"):
        load_task("char-text", data_dir=tmp_path)
    write_texts(tmp_path / "char-text", ("a.txt", "b.txt"))
    with pytest.raises(TaskError, match="2 text files: leave one of a.txt, b.txt"):
        load_task("char-text", data_dir=tmp_path)


def test_a_data_set_that_lacks_a_file_says_which(tmp_path: Path) -> None:
    write_texts(tmp_path / "ptb", ("ptb.train.txt", "ptb.valid.txt"))
    with pytest.raises(TaskError, match=r"not whole: ptb.test.txt is missing"):
        load_task("char-ptb", data_dir=tmp_path)
