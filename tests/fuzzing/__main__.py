"""Coverage-guided fuzzing of one reader: ``PYTHONPATH=tests python -m fuzzing rule --seconds 600``.

Needs ``atheris``. Ends with 0 if nothing was found; else the input that did it is printed and kept
in a file named ``crash-…``, and libFuzzer's status is returned. An input that takes over a second
of the processor is a finding too: on a busy machine a second of the clock says nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

LONGEST_SECONDS = 1.0
"""Processor time that an input may take."""

HANG_SECONDS = 60
"""Time of the clock after which libFuzzer ends an input that does not end by itself."""


def main() -> None:
    """Fuzz the reader named on the command line."""
    try:
        import atheris
    except ImportError:
        sys.exit("fuzzing: atheris is not installed: install it with pip")
    with atheris.instrument_imports(include=["evolute"], exclude=["evolute.zoo.entries"]):
        from fuzzing.readers import ALLOWED, READERS
    parser = argparse.ArgumentParser(prog="fuzzing", description=__doc__)
    parser.add_argument("reader", choices=sorted(READERS), help="what is fed")
    parser.add_argument("--seconds", type=int, default=600, help="how long (default 600)")
    arguments = parser.parse_args()
    reader = READERS[arguments.reader]

    for example in reader.examples:  # what is loaded at first counts as no input's time
        reader.read(example)

    def feed(data: bytes) -> None:
        started = time.process_time()
        try:
            reader.read(data)
        except ALLOWED as error:
            if "\n" in str(error):
                raise AssertionError("a message of several lines") from error
        spent = time.process_time() - started
        if spent > LONGEST_SECONDS:
            raise AssertionError(f"took {spent:.1f} s of the processor")

    with tempfile.TemporaryDirectory() as folder:
        corpus, words = Path(folder, "corpus"), Path(folder, "words.dict")
        corpus.mkdir()
        for number, example in enumerate(reader.examples):
            Path(corpus, str(number)).write_bytes(example)
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in reader.words), "ascii")
        limits = [
            f"-max_total_time={arguments.seconds}",
            f"-timeout={HANG_SECONDS}",
            "-max_len=20000",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *limits, f"-dict={words}", str(corpus)], feed)
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
