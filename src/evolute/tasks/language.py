"""Language: which character comes next, by a small causal transformer.

The default text is the English one that every CPython carries, ``pydoc_data.topics``: the topics
of ``help()`` in the order of their names (licence PSF). Its wording changes a little from one
Python to the next, so the task's version holds a digest of the text.

Splits, fixed: where the text is one file, its first 80 % train, the next 10 % validate and the last
10 % test; Penn Treebank and WikiText-2 come with their own. Loss: cross-entropy per character in
nats (its exponential is the perplexity); metric: accuracy of the next character.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from evolute.errors import TaskError
from evolute.tasks.base import Split, Task
from evolute.tasks.data import Batch, Data
from evolute.tasks.files import find, no_data, places, read_bytes
from evolute.tasks.registry import TaskFacts, enter
from evolute.tasks.transformer import CharacterModel

CONTEXT = 64
WIDTH = 64
WINDOWS_PER_EVALUATION_BATCH = 250
SHARES = (0.8, 0.9)
"""Where training ends and where validation ends, as shares of a text that is one file."""

Texts = tuple[str, str, str]
"""Training, validation and test text."""


class TextData(Data):
    """Windows of a text, each with the same window one character later as its target.

    Training draws the starts of its windows at random; in order, windows follow each other without
    a gap or an overlap, and what is left over at the end is dropped.

    Parameters
    ----------
    codes
        The text as numbers of characters [length], longer than the context.
    context
        Length T of a window.
    """

    def __init__(self, codes: Tensor, context: int) -> None:
        self._codes = codes
        self._context = context

    def shuffled(self, generator: Generator, batch_size: int) -> Iterator[Batch]:
        starts = len(self._codes) - self._context
        size = min(batch_size, starts)
        for _ in range(max(1, starts // (size * self._context))):
            yield self._windows(torch.randint(starts, (size,), generator=generator))

    def in_order(self) -> Iterator[Batch]:
        last = len(self._codes) - self._context
        starts = torch.arange(0, last, self._context)
        for part in torch.split(starts, WINDOWS_PER_EVALUATION_BATCH):
            yield self._windows(part)

    def _windows(self, starts: Tensor) -> Batch:
        places = starts[:, None] + torch.arange(self._context)
        return self._codes[places], self._codes[places + 1]


def character_task(name: str, texts: Texts, *, context: int = CONTEXT) -> Task:
    """Build a task of next characters from three texts.

    Parameters
    ----------
    name
        Of the task.
    texts
        Training, validation and test text; characters that do not occur in the first are one.
    context
        How many characters the model sees.

    Raises
    ------
    TaskError
        If a text is shorter than a window and the character after it.

    Examples
    --------
    >>> task = character_task("abc", ("abc" * 99, "abc" * 33, "abc" * 33), context=8)
    >>> inputs, targets = next(task.batches(Generator().manual_seed(0), 4))
    >>> inputs.shape, bool((targets[:, :-1] == inputs[:, 1:]).all())
    (torch.Size([4, 8]), True)
    """
    for split, text in zip(Split, texts, strict=True):
        if len(text) <= context:
            raise TaskError(
                f"the {split} text of the task {name!r} has {len(text)} characters: it needs more "
                f"than its context of {context}; give a longer text"
            )
    alphabet = "".join(sorted(set(texts[0])))
    digest = hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=4)

    def model(width: int = WIDTH) -> nn.Module:
        return CharacterModel(len(alphabet) + 1, context, width=width)

    train, validation, test = (TextData(_encoded(text, alphabet), context) for text in texts)
    return Task(
        name=name,
        version=f"1-{digest.hexdigest()}",
        model=model,
        train=train,
        validation=validation,
        test=test,
        loss="cross_entropy",
        metric="accuracy",
    )


def _encoded(text: str, alphabet: str) -> Tensor:
    """Return the place of each character in the alphabet, and one past its end for others."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    known = np.frombuffer(alphabet.encode("utf-32-le", "surrogatepass"), np.uint32)
    place = np.searchsorted(known, points)
    at_place = known[np.minimum(place, len(known) - 1)]
    return torch.from_numpy(np.where(at_place == points, place, len(known)).astype(np.int64))


def _split(text: str) -> Texts:
    first, second = (int(share * len(text)) for share in SHARES)
    return text[:first], text[first:second], text[second:]


def python_topics(data_dir: Path | None) -> Task:  # noqa: ARG001  # it is part of Python
    """Build ``char-lm``: the text of CPython's help topics."""
    from pydoc_data.topics import topics  # half a megabyte that few tasks need

    text = "\n\n".join(topics[name] for name in sorted(topics))
    return character_task("char-lm", _split(text))


def own_text(data_dir: Path | None) -> Task:
    """Build ``char-text``: the one text file of the data folder.

    Raises
    ------
    TaskError
        If there is no such file, or more than one, or it is not UTF-8.
    """
    for folder in places("char-text", data_dir):
        found = sorted(folder.glob("*.txt"))
        if len(found) > 1:
            raise TaskError(
                f"the folder {str(folder)!r} has {len(found)} text files: leave one of "
                f"{', '.join(path.name for path in found[:5])} there"
            )
        if found:
            return character_task("char-text", _split(_read_text(found[0])))
    raise no_data(
        "char-text", "a file *.txt", data_dir=data_dir, advice="put a text of your own there"
    )


def split_text(
    name: str, data_set: str, files: tuple[str, str, str], data_dir: Path | None
) -> Task:
    """Build a task from a data set that comes as three text files.

    Parameters
    ----------
    name
        Of the task.
    data_set
        Of the data set.
    files
        Training, validation and test file.
    data_dir
        The data folder given, or None.

    Raises
    ------
    TaskError
        If a file is missing, is not UTF-8, or is too short.
    """
    paths = find(data_set, files, data_dir=data_dir, archive_folder=data_set)
    if paths is None:
        raise no_data(
            data_set,
            ", ".join(files),
            data_dir=data_dir,
            advice=f"run 'evolute data fetch {data_set}'",
        )
    train, validation, test = map(_read_text, paths)
    return character_task(name, (train, validation, test))


def _read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise TaskError(
            f"the file {str(path)!r} is no UTF-8 text (byte {error.start}): convert it"
        ) from None


def _facts(examples: str, splits: str, licence: str, source: str, needs: str) -> TaskFacts:
    return TaskFacts(
        family="language",
        examples=examples,
        splits=splits,
        inputs=f"{CONTEXT} characters",
        classes="the characters of the training text, and one for all others",
        network=f"causal transformer, 2 layers of 4 heads, width {WIDTH} or the protocol's",
        licence=licence,
        source=source,
        needs=needs,
    )


_ONE_FILE = "first 80 % of the characters train, next 10 % validate, last 10 % test"

enter(
    "char-lm",
    "next character of CPython's help topics (460 kB of English); transformer 2×64, context 64",
    _facts("about 370,000 / 46,000 / 46,000 characters", _ONE_FILE, "PSF",
           "pydoc_data.topics, part of CPython", "nothing"),
    python_topics,
)  # fmt: skip
enter(
    "char-text",
    "next character of a text of your own (--data-dir with one .txt); transformer 2×64",
    _facts("80 % / 10 % / 10 % of the file", _ONE_FILE, "of the file given", "a file given",
           "files: one .txt in --data-dir"),
    own_text,
)  # fmt: skip
enter(
    "char-ptb",
    "next character of Penn Treebank (6 MB); transformer 2×64, context 64",
    _facts("5.1 / 0.4 / 0.4 million characters", "as published", "LDC; see its terms",
           "M. Marcus and others, Penn Treebank (1993), as prepared by T. Mikolov (2010)",
           "files: evolute data fetch ptb"),
    partial(split_text, "char-ptb", "ptb", ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")),
)  # fmt: skip
enter(
    "char-wikitext2",
    "next character of WikiText-2 (13 MB); transformer 2×64, context 64",
    _facts("10.8 / 1.1 / 1.3 million characters", "as published", "CC BY-SA 3.0",
           "S. Merity and others, Pointer Sentinel Mixture Models (2016)",
           "files: evolute data fetch wikitext-2"),
    partial(split_text, "char-wikitext2", "wikitext-2",
            ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens")),
)  # fmt: skip
