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
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task, start = progress.add_task("", total=total, pace=""), time.perf_counter()
        for done, _ in enumerate(steps, start=1):
            progress.update(task, completed=done, pace=pace(done, time.perf_counter() - start))


def _lines(steps: Iterable[object], total: int | None, unit: str) -> None:
    start = said = time.perf_counter()
    for done, _ in enumerate(steps, start=1):
        now = time.perf_counter()
        if now - said < EVERY_S or done == total:
            continue
        said, spent = now, now - start
        left = f", about {max(0, total - done) * spent / done:.0f} s left" if total else ""
        typer.echo(f"{done} {unit}, {pace(done, spent)}{left}", err=True)


def pace(done: int, spent_s: float) -> str:
    """How fast it goes.

    Example:
        >>> pace(50, 20), pace(2, 13)
        ('2.5 a second', '6.5 s each')
    """
    if done < spent_s:
        return f"{spent_s / done:.1f} s each"
    return f"{done / spent_s:.1f} a second"
