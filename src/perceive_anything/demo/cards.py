"""The list of regions with their texts, as HTML.

Knows the board; everything that a model or a visitor wrote is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from perceive_anything.demo.pictures import color_hex
from perceive_anything.tasks import CAPTION, DESCRIBE, EXPLAIN, RECOGNIZE, TEXT_TASKS

if TYPE_CHECKING:
    import gradio as gr

    from perceive_anything.demo.board import Board, Entry

HERE = Path(__file__).parent
JS = (HERE / "cards.js").read_text("utf-8")
TITLES = {RECOGNIZE: "Label", EXPLAIN: "Explanation", CAPTION: "Caption", DESCRIBE: "Description"}
UNSURE = "The model is unsure of this label."


def cards_html(board: Board | None, empty: str, tasks: Sequence[str] = TEXT_TASKS) -> str:
    """One card a region; the selected one is open.

    Args:
        board: The regions, if there are any yet.
        empty: What to say where there are none.
        tasks: The texts that are shown.
    """
    if board is None or not board.entries:
        return f'<p class="pa-hint">{escape(empty)}</p>'
    cards = [
        _card(entry, position, entry.id == board.selected, tasks)
        for position, entry in enumerate(board.entries)
    ]
    return f'<div class="pa-cards" role="list" aria-label="Regions">{"".join(cards)}</div>'


def cards_component(empty: str) -> gr.HTML:
    """The list as a component, with the events "choose" and "remove".

    Args:
        empty: What to say while there are no regions.
    """
    import gradio as gr

    return gr.HTML(
        cards_html(None, empty), js_on_load=JS, apply_default_css=False, elem_classes="pa-plain"
    )


def _card(entry: Entry, position: int, is_open: bool, tasks: Sequence[str]) -> str:
    chosen = " pa-open" if is_open else ""
    return (
        f'<article class="pa-card{chosen}" role="listitem" data-region="{entry.id}" '
        f'style="--region: {color_hex(position)}">'
        f"<header>{_head(entry, position, is_open, tasks)}"
        f'<button class="pa-remove" data-remove="{entry.id}" title="Remove this region" '
        f'aria-label="Remove region {position + 1}">×</button></header>'
        f"{_body(entry, tasks) if is_open else ''}</article>"
    )


def _head(entry: Entry, position: int, is_open: bool, tasks: Sequence[str]) -> str:
    answer = entry.answer
    label = answer.texts.get(RECOGNIZE, "") if RECOGNIZE in tasks else ""
    writing = RECOGNIZE in answer.started and RECOGNIZE not in answer.finished
    sure = ""
    if answer.confidence is not None and label:
        percent = f"{answer.confidence:.0%}"
        sure = f'<span class="pa-sure" title="Confidence of the label">{percent}</span>'
        if answer.uncertain:
            sure += f'<span class="pa-unsure" title="{UNSURE}">unsure</span>'
    name = escape(label) or ("" if writing else f"Region {position + 1}")
    short = "" if is_open else escape(answer.texts.get(CAPTION, ""))
    return (
        f'<button class="pa-select" data-select="{entry.id}" '
        f'aria-expanded="{str(is_open).lower()}"><i class="pa-dot"></i>'
        f'<span class="pa-name">{name}{_caret(writing)}</span>{sure}'
        f'<span class="pa-short">{short}</span></button>'
    )


def _body(entry: Entry, tasks: Sequence[str]) -> str:
    rows = []
    for task in (EXPLAIN, CAPTION, DESCRIBE):
        if task not in tasks or task not in entry.answer.started:
            continue
        text = escape(entry.answer.texts.get(task, ""))
        caret = _caret(task not in entry.answer.finished)
        rows.append(
            f'<dt>{TITLES[task]}</dt><dd data-task="{task}" lang="{entry.answer.language}">'
            f"{text}{caret}</dd>"
        )
    score = f"{entry.region.score:.0%}"
    rows.append(f'<dt>Mask</dt><dd class="pa-small">score {score}</dd>')
    return f"<dl>{''.join(rows)}</dl>"


def _caret(writing: bool) -> str:
    return '<i class="pa-caret"></i>' if writing else ""
