"""``evolute report``: a run of any kind as a page to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from evolute.cli.choice import open_existing, store_options
from evolute.cli.output import format_option, print_json
from evolute.errors import InputError
from evolute.leaderboard import RunKind
from evolute.report.build import KIND_WORDS, build_page, write_page
from evolute.report.matplotlib_files import ImageFormat
from evolute.tasks.user import load_task

EXAMPLES = """\b
Examples:
  evolute report
  evolute report digits-quick-0 --output report.html
  evolute report digits-quick-0 --figures figures --image-format png --csv tables
  evolute report bench                            the newest benchmark
  evolute report NAME --output bench.html         whatever NAME is the name of
  evolute report eliminate                        the newest elimination: rounds and winners
  evolute report explain                          the newest ablation: what each part is worth
"""

KINDS: Mapping[str, RunKind] = {word: kind for kind, word in KIND_WORDS.items() if word}
"""First words that ask for the report of another kind than a search: the commands that make it."""


@click.command(epilog=EXAMPLES)
@click.argument("what", metavar="[RUN | bench|eliminate|explain [NAME]]", nargs=-1)
@click.option("--output", default="report.html", show_default=True, type=click.Path(path_type=Path),
              help="The page: one file that needs no other and no network.")  # fmt: skip
@click.option("--figures", type=click.Path(path_type=Path),
              help="Folder for each figure as a file for papers, drawn by Matplotlib.")  # fmt: skip
@click.option("--image-format", type=click.Choice(["svg", "png"]), default="svg",
              show_default=True, help="Format of these figures.")  # fmt: skip
@click.option("--csv", type=click.Path(path_type=Path), help="Folder for each table as CSV.")
@store_options()
@format_option()
def report(
    what: tuple[str, ...],
    output: Path,
    figures: Path | None,
    image_format: ImageFormat,
    csv: Path | None,
    store: str,
    run: str | None,
    task: str | None,
    output_format: str,
) -> None:
    """Write what a search, or other work, found as one HTML page to look at.

    RUN is the name or the first digits of a search, benchmark, elimination or ablation; the newest
    search by default, after bench, eliminate or explain the newest of that kind.
    """
    name, kind = _chosen(what, run)
    if task is not None:
        load_task(task)
    with open_existing(store) as opened:
        page = build_page(opened, name, kind=kind)
    written = write_page(page, output, figures=figures, image_format=image_format, csv=csv)
    if output_format == "json":
        data = {"title": page.title, "verdict": page.verdict, "evidence": page.evidence}
        print_json(data | {"files": [str(path) for path in written]})
        return
    click.echo(f"{page.title}: {page.verdict}")
    click.echo(f"Open {written[0]} in a browser.")
    if written[1:]:
        folders = sorted({str(path.parent) for path in written[1:]})
        click.echo(f"{len(written) - 1} more files are in {' and '.join(folders)}.")


def _chosen(what: tuple[str, ...], run: str | None) -> tuple[str | None, RunKind | None]:
    """Return the name that is asked for, None for the newest, and its kind if that is said."""
    kind: RunKind | None = None
    names = list(what)
    if names and names[0] in KINDS:
        kind = KINDS[names.pop(0)]
    if run is not None:
        names.append(run)
    if len(names) > 1:
        raise InputError(
            f"one report is of one run, got {' and '.join(map(repr, names))}: name one of them"
        )
    return (names[0] if names else None), kind
