"""Progress on stderr: frames a second and the time that is left; plain lines off a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

import typer

EVERY_S = 5.0


def follow_with_progress(steps: Iterable[object], total: int | None, *, quiet: bool) -> None:
    """Consume an iteration of frames and show how it goes.

    Args:
        steps: One item a frame.
        total: Frames there will be, if known; backward frames come on top.
        quiet: Show nothing.
    """
    if quiet:
        for _ in steps:
            pass
    elif sys.stderr.isatty():
        _bar(steps, total)
    else:
        _lines(steps, total)


def _bar(steps: Iterable[object], total: int | None) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.completed} of {task.total} frames"),
        BarColumn(),
        TextColumn("{task.fields[fps]:.1f} fps"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task, start = progress.add_task("", total=total, fps=0.0), time.perf_counter()
        for done, _ in enumerate(steps, start=1):
            progress.update(task, completed=done, fps=done / (time.perf_counter() - start))


def _lines(steps: Iterable[object], total: int | None) -> None:
    start = said = time.perf_counter()
    for done, _ in enumerate(steps, start=1):
        now = time.perf_counter()
        if now - said < EVERY_S:
            continue
        said, rate = now, done / (now - start)
        left = f", about {max(0, total - done) / rate:.0f} s left" if total else ""
        typer.echo(f"{done} frames, {rate:.1f} fps{left}", err=True)
