"""The command line's shell: the group of commands, and how errors are told.

An error that a user can mend is one line on standard error and exit status 2; Ctrl-C is 130.
"""

from __future__ import annotations

import sys

import click

from evolute.cli.bench import bench
from evolute.cli.data import add_data_dir, data_commands
from evolute.cli.doctor import doctor
from evolute.cli.eliminate import eliminate
from evolute.cli.explain import explain
from evolute.cli.export import export
from evolute.cli.leaderboard import leaderboard
from evolute.cli.report import report
from evolute.cli.rules import rules
from evolute.cli.search import search
from evolute.cli.show import show
from evolute.cli.store import store_commands
from evolute.cli.tasks import tasks
from evolute.cli.zoo import zoo_commands
from evolute.errors import EvoluteError

BAD_INPUT = 2
INTERRUPTED = 130


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with: evolute search --task digits --preset quick",
)
@click.version_option(package_name="evolute")
def cli() -> None:
    """Find out whether a better optimizer than Adam exists for your model."""


for command in (
    search,
    bench,
    eliminate,
    explain,
    leaderboard,
    show,
    report,
    export,
    tasks,
    data_commands,
    rules,
    zoo_commands,
    store_commands,
    doctor,
):
    cli.add_command(command)
    add_data_dir(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit status."""
    try:
        status = cli.main(args=arguments, prog_name="evolute", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        sys.exit(0)
    except click.ClickException as error:
        _fail(error.format_message())
    except EvoluteError as error:
        _fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        sys.stderr.close()
        sys.exit(0)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> None:
    click.echo(f"evolute: {' '.join(message.split())}", err=True)
    sys.exit(BAD_INPUT)
