"""``evolute search``: the main job, from a task to a leaderboard, a verdict and a saved rule."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from evolute.benchmark.verdict import Verdict
from evolute.cli.display import resumable
from evolute.cli.leaderboard import leaderboard_table
from evolute.cli.output import console, format_option, print_json, table
from evolute.cli.progress import ProgressDisplay
from evolute.cli.work_options import (
    config_option,
    device_option,
    preset_option,
    read_settings,
    seed_option,
    store_option,
    workers_option,
)
from evolute.discover import DEFAULT_PRESET, DEFAULT_STORE, SearchResult
from evolute.discover import search as run_search
from evolute.errors import InputError
from evolute.leaderboard import Leaderboard
from evolute.presets import PRESETS, resolve
from evolute.runs.budget import format_seconds
from evolute.runs.executors.make import EXECUTORS, LOCAL, RAY, RayCluster
from evolute.search.algorithms import ALGORITHMS
from evolute.settings import merge
from evolute.store.address import shown
from evolute.train.equipment import AUTO, PLAN_NAMES

SHOWN_ROWS = 10

EXAMPLES = f"""\b
Presets:
{chr(10).join(f"  {name:<18} {preset.description}" for name, preset in PRESETS.items())}

\b
Examples:
  evolute search --task digits --preset quick --seed 0
  evolute search --task digits --budget 10m
  evolute search --task digits --budget 500 --algorithm regularized_evolution
  evolute search --task path/to/file.py:build     your own model and data
  evolute search --task digits --config my.toml
  evolute search --task digits --show-config      print all settings as TOML, and stop

Running the same command again resumes it: nothing that was scored is trained twice.
"""


@click.command(epilog=EXAMPLES)
@click.option("--task", help="Name of a task, or path/to/file.py:build, which runs that file. No "
                             "other file's code is ever run.")  # fmt: skip
@preset_option("Numbers to begin from.")
@seed_option()
@click.option("--budget", help="Time such as 10m, or a number of candidates to train.")
@click.option("--algorithm", help=f"One of: {', '.join(ALGORITHMS)}.")
@config_option()
@store_option()
@workers_option()
@click.option(
    "--executor", type=click.Choice(EXECUTORS), default=LOCAL, show_default=True,
    help="Where they train: on this machine, or on a Ray cluster.",
)  # fmt: skip
@click.option("--ray-address", help="Of that cluster.  [default: the one of this machine]")
@click.option("--resources-per-worker", help="As CPU=1,GPU=0.5.  [default: CPU=1]")
@click.option(
    "--working-folder", type=click.Path(path_type=Path),
    help="Folder that goes to each node of the cluster once; workers work in it.",
)  # fmt: skip
@click.option("--lanes", type=int, help="Most trainings side by side in one process.")
@click.option("--memory", help="Memory for them, such as 4G.  [default: half of what is free]")
@click.option(
    "--precision", type=click.Choice(("float32", "bf16")), help="What networks compute with."
)
@click.option("--plan", help=f"One of: {', '.join(PLAN_NAMES)}.  [default: {AUTO}]")
@device_option()
@click.option("--verdict/--no-verdict", default=True, help="Compare with hand-made optimizers.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="File for the best rule.  [default: RUN.best.json]",
)
@click.option("--show-config", is_flag=True, help="Print all settings as TOML, and stop.")
@format_option()
def search(
    task: str | None,
    preset: str | None,
    seed: int | None,
    budget: str | None,
    algorithm: str | None,
    config: Path | None,
    store: str,
    workers: int | None,
    executor: str,
    ray_address: str | None,
    resources_per_worker: str | None,
    working_folder: Path | None,
    lanes: int | None,
    memory: str | None,
    precision: str | None,
    plan: str | None,
    device: str | None,
    verdict: bool,
    output: Path | None,
    show_config: bool,
    output_format: str,
) -> None:
    """Search for an optimizer for a task, and compare it with hand-made ones."""
    settings = read_settings(config)
    named = {"task": task, "preset": preset, "seed": seed, "budget": budget, "algorithm": algorithm}
    named |= {"lanes": lanes, "memory": memory, "plan": plan, "device": device}
    stage = {"precision": precision}
    settings = merge(settings, {**named, "initial": stage, "main": stage})
    if "task" not in settings:
        raise InputError("no task is given: add --task, such as --task digits; see 'evolute tasks'")
    if show_config:
        click.echo(resolve(DEFAULT_PRESET, settings).to_toml(), nl=False)
        return
    _require_writable(output)
    where = _place(executor, ray_address, resources_per_worker, working_folder)
    with resumable(ProgressDisplay, store) as display:
        result = run_search(
            settings["task"],
            config=settings,
            store=store,
            workers=workers,
            executor=where,
            verdict=verdict,
            listener=display,
        )
    saved = _save(result, output)
    if output_format == "json":
        print_json(_as_data(result, saved))
    else:
        _print_for_people(result, saved, store)


def _place(
    executor: str, address: str | None, resources: str | None, folder: Path | None
) -> str | RayCluster:
    """Return where workers are."""
    if executor == RAY:
        return RayCluster(address, resources or RayCluster().resources_per_worker, folder)
    if (address, resources, folder) != (None, None, None):
        raise InputError(
            "--ray-address, --resources-per-worker and --working-folder are for a cluster: add "
            "--executor ray"
        )
    return executor


def _require_writable(output: Path | None) -> None:
    """Refuse, before hours of search, a file that could not be written at its end."""
    folder = Path.cwd() if output is None else output.parent
    if not os.access(folder, os.W_OK) or (output is not None and output.is_dir()):
        raise InputError(
            f"cannot write the best rule to {output or folder}: give --output a file in a folder "
            "that exists and that you can write to"
        )


def _save(result: SearchResult, output: Path | None) -> Path | None:
    """Write the best rule to a file; return where."""
    if result.best is None:
        return None
    path = output or Path(re.sub(r"[^\w.-]+", "_", result.name).lstrip(".") + ".best.json")
    data = result.best.to_json() | {
        "run": result.name,
        "verdict": None if result.verdict is None else result.verdict.sentence,
    }
    try:
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write the best rule to {path}: {error.strerror}; the search is stored: run "
            "the same command with another --output"
        ) from None
    return path


def _as_data(result: SearchResult, saved: Path | None) -> dict[str, Any]:
    return {
        "name": result.name,
        "run": result.run,
        "ending": str(result.ending),
        "sampled": result.progress.sampled,
        "degenerate": result.progress.degenerate,
        "duplicate": result.progress.duplicate,
        "trained": result.progress.trained,
        "failed": result.progress.failed,
        "failures": [
            {"kind": kind, "count": count, "example": sentence}
            for kind, count, sentence in result.failures
        ],
        "seconds": result.progress.seconds,
        "leaderboard": [row.to_dict() for row in result.leaderboard],
        "best": None if result.best is None else result.best.to_json(),
        "verdict": None if result.verdict is None else result.verdict.to_json(),
        "saved": None if saved is None else str(saved),
    }


def _print_for_people(result: SearchResult, saved: Path | None, store: str) -> None:
    screen = console()
    progress = result.progress
    screen.print(
        Text(
            f"{result.name}: {result.ending} after {format_seconds(progress.seconds)}: "
            f"{progress.sampled} rules sampled, {progress.degenerate} degenerate, "
            f"{progress.duplicate} duplicates, {progress.trained} trained, "
            f"{progress.failed} of them failed."
        )
    )
    if result.best is None:
        screen.print(Text("No candidate finished."))
        for kind, count, sentence in result.failures:
            screen.print(Text(f"  {count} {kind}, such as: {sentence}"))
        screen.print(Text("Try a larger --budget, or another --preset or --seed."))
        return
    rows = Leaderboard(result.leaderboard.rows[:SHOWN_ROWS])
    title = f"Leaderboard (best {len(rows)} of {len(result.leaderboard)}, validation split)"
    screen.print(leaderboard_table(rows, title=f"\n{title}"))
    if result.verdict is not None:
        print_verdict(screen, result.verdict)
    screen.print(Text(f"\nBest rule: {result.best.rule}", style="bold green"))
    screen.print(
        Text(
            f"at learning rate {result.best.learning_rate:.3g}, saved in {saved}; "
            f"run in {shown(store)}"
        )
    )
    where = "" if store == DEFAULT_STORE else f" --store {shlex.quote(shown(store))}"
    screen.print(Text(f"Next: evolute show best{where}; evolute leaderboard --top 50{where}"))


def print_verdict(screen: Console, verdict: Verdict) -> None:
    """Print a verdict's table, its notes and its sentence."""
    columns = ["optimizer", "rate#", "test loss#", "± s.e.#", f"test {verdict.metric or 'metric'}#"]
    columns += [
        "to best hand-made#",
        "95% interval#".replace("95", f"{verdict.confidence:.0%}"[:-1]),
    ]
    rows = []
    for row in verdict.table:
        best, versus = row.finalist.tuning.best, row.versus_reference
        interval = None if versus is None else versus.interval
        rows.append(
            (
                row.finalist.name,
                None if best is None else best.learning_rate,
                None if row.loss is None else row.loss.mean,
                None if row.loss is None else row.loss.standard_error,
                None if row.metric is None else row.metric.mean,
                None if interval is None else f"{interval.mean:+.4f}",
                None if interval is None else f"{interval.lower:+.4f} … {interval.upper:+.4f}",
            )
        )
    seeds = max((len(row.finalist.runs) for row in verdict.table), default=0)
    title = f"\nVerdict (test split, {seeds} fresh seeds, all tuned alike; best in tuning first)"
    screen.print(table(columns, rows, title=title))
    for note in verdict.notes:
        screen.print(Text(f"  note: {note}"))
    screen.print(Text(f"\n{verdict.sentence}", style="bold"))
