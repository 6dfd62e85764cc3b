"""One answer for people: a table on a terminal, plain lines elsewhere.

Knows results; writes to standard output only.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from perceive_anything.results import ImageResult, Region
    from perceive_anything.tracks import Track


def print_result(result: ImageResult, overlay: Path | None = None) -> None:
    """Print one image's regions.

    Args:
        result: The answer.
        overlay: Where the picture of it was saved.
    """
    if sys.stdout.isatty():
        _print_table(result)
    else:
        for line in plain_lines(result):
            typer.echo(line)
    if overlay is not None:
        typer.echo(f"overlay: {overlay}")


def plain_lines(result: ImageResult) -> list[str]:
    """The answer as lines that a person can read in a log.

    Args:
        result: The answer.

    Returns:
        A heading, then per region one line and one for each text.
    """
    lines = [_heading(result)]
    for region in result.regions:
        (_, box), (_, score), *texts = _fields(region)
        lines.append(f"region {region.id}: box {box} score {score}")
        lines.extend(f"  {name}: {text}" for name, text in texts)
    return lines


def _print_table(result: ImageResult) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(_heading(result)), title_justify="left", show_header=False)
    table.add_column(justify="right", style="bold")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for region in result.regions:
        for index, (name, text) in enumerate(_fields(region)):
            style = "bold green" if name == "label" else ""
            table.add_row("" if index else str(region.id), name, Text(text, style=style))
        table.add_section()
    Console(highlight=False).print(table)


def _heading(result: ImageResult) -> str:
    width, height = result.size_wh
    spent = sum(seconds for stage, seconds in result.timing_s.items() if stage != "load")
    return f"{result.source}  {width}x{height}  {result.model}  {spent:.1f} s"


def _fields(region: Region) -> list[tuple[str, str]]:
    """Box, score and the texts there are, in reading order."""
    found = [
        ("box", ",".join(str(value) for value in region.box_xyxy)),
        ("score", f"{region.score:.2f}"),
    ]
    return found + shown_texts(region)


def shown_texts(region: Region | Track) -> list[tuple[str, str]]:
    """Name and text of those that were written; a label says how sure it is, "cat? (31% sure)"."""
    texts = dict(region.texts)
    if region.label and region.label_confidence is not None:
        texts["label"] = f"{region.title} ({region.label_confidence:.0%} sure)"
    return [(name, text) for name, text in texts.items() if text is not None]
