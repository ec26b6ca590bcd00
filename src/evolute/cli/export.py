"""``evolute export``: one rule as a file for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from evolute import zoo
from evolute.cli.choice import RULE_HELP, choose_rule, store_options
from evolute.compiler.export.exporters import EXPORTERS
from evolute.compiler.export.subject import DEFAULT_NAME, Subject, identifier_of
from evolute.errors import InputError

EXAMPLES = """\b
Examples:
  evolute export opt6 --to torch --output opt6.py
  evolute export best --to json --output best.json
  evolute export 2 --to optax --name MyOptimizer
  evolute export opt10 --to latex
"""


@click.command(epilog=EXAMPLES, help=f"Export a rule to another form.\n\n{RULE_HELP}")
@click.argument("rule")
@click.option("--to", "form", type=click.Choice(sorted(EXPORTERS)), required=True, help="The form.")
@click.option("--output", type=click.Path(path_type=Path), help="File; standard output by default.")
@click.option(
    "--name",
    help=f"Class in a file of code; by default the known optimizer's name, or {DEFAULT_NAME}.",
)
@store_options()
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Print the export itself, or a JSON object that holds it.",
)  # fmt: skip
def export(
    rule: str,
    form: str,
    output: Path | None,
    name: str | None,
    store: str,
    run: str | None,
    task: str | None,
    output_format: str,
) -> None:
    """Write a rule in the form asked for."""
    chosen = choose_rule(rule, store=store, run=run, task=task)
    if rule in zoo.names():
        subject = _of_the_zoo(zoo.load(rule), name)
    else:
        subject = Subject(chosen.rule, name=name or DEFAULT_NAME)
    text = EXPORTERS[form](subject)
    if output_format == "json":
        data = {"name": chosen.name, "form": form, "export": text}
        text = json.dumps(data, indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}") from None
    click.echo(f"wrote {output}", err=True)


def _of_the_zoo(entry: zoo.Entry, name: str | None) -> Subject:
    origin = entry.origin
    return Subject(
        entry.rule,
        name=name or identifier_of(entry.title),
        title=entry.title,
        reference=f"{origin.authors} ({origin.year}). {origin.reference}",
        notes=entry.notes,
    )
