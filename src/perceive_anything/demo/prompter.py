"""The canvas as a Gradio component, and what its page may send besides gestures.

Knows the HTML, script and events of the canvas; its pictures and regions come from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from perceive_anything.errors import PromptError

if TYPE_CHECKING:
    from perceive_anything.demo.examples import Example

HERE = Path(__file__).parent
HTML = (HERE / "prompter.html").read_text("utf-8")
JS = (HERE / "prompter.js").read_text("utf-8")


def prompter(kind: str, examples: Sequence[Example] = ()) -> gr.HTML:
    """The canvas.

    Its events are "act" (a gesture, or what the toolbar says), "open" (a file was uploaded) and
    "example" (one was picked); its `value` is a view, its `photo` a data URI.

    Args:
        kind: "image", "video" or "live".
        examples: Pictures to begin with.
    """
    return gr.HTML(
        value=None,
        html_template=HTML,
        js_on_load=JS,
        apply_default_css=False,
        elem_classes="pa-plain",
        elem_id=f"pa-{kind}",
        kind=kind,
        photo="",
        examples=[example.thumbnail() for example in examples],
    )


def sent(event: gr.EventData) -> dict[str, Any]:
    """What the browser sent with an event; an object, whatever a stranger sends.

    Args:
        event: As Gradio hands it on.
    """
    data = event._data
    return data if isinstance(data, dict) else {}


def region_of(data: dict[str, Any]) -> int | None:
    """The region that an event is about, if it names one."""
    number = data.get("region")
    return number if isinstance(number, int) else None


def uploaded(data: dict[str, Any], folder: Path) -> tuple[Path, str]:
    """Path and name of a file that was just uploaded.

    Args:
        data: What the browser says of it.
        folder: Where uploads lie; nothing else is opened.

    Raises:
        PromptError: The path leads elsewhere.
    """
    path = Path(str(data.get("path", ""))).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise PromptError(
            "that file was not uploaded here.\n  Choose a file, or drop it on the canvas.",
            code="prompt_syntax",
        )
    return path, str(data.get("name") or path.name)[:120]
