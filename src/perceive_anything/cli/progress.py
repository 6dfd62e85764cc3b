"""Progress on stderr: how many a second and the time that is left; plain lines off a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

import typer

EVERY_S = 5.0


def follow_with_progress(
    steps: Iterable[object], total: int | None, *, quiet: bool, unit: str = "frames"
) -> None:
    """Consume an iteration and show how it goes.

    Args:
        steps: One item a frame or image.
        total: How many there will be, if known; backward frames come on top.
        quiet: Show nothing.
        unit: What they are called.
    """
    if quiet:
        for _ in steps:
            pass
    elif sys.stderr.isatty():
        _bar(steps, total, unit)
    else:
        _lines(steps, total, unit)


def _bar(steps: Iterable[object], total: int | None, unit: str) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.completed} of {task.total} " + unit),
        BarColumn(),
        TextColumn("{task.fields[rate]:.1f} a second"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task, start = progress.add_task("", total=total, rate=0.0), time.perf_counter()
        for done, _ in enumerate(steps, start=1):
            progress.update(task, completed=done, rate=done / (time.perf_counter() - start))


def _lines(steps: Iterable[object], total: int | None, unit: str) -> None:
    start = said = time.perf_counter()
    for done, _ in enumerate(steps, start=1):
        now = time.perf_counter()
        if now - said < EVERY_S:
            continue
        said, rate = now, done / (now - start)
        left = f", about {max(0, total - done) / rate:.0f} s left" if total else ""
        typer.echo(f"{done} {unit}, {rate:.1f} a second{left}", err=True)
