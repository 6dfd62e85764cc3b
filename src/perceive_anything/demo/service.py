"""What all tabs of the demo share: models, visitors, folders, and errors as messages for people.

Knows who asks (a page's id); nothing of the layout.
"""

from __future__ import annotations

import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from perceive_anything.demo.models import Models
from perceive_anything.demo.visitors import Visitor, Visitors
from perceive_anything.errors import PerceiveError
from perceive_anything.live import SECRET

# Gradio hands a file's address to the page only as the value of a component.
SAVE_JS = """(file) => {
  if (!file) return;
  const link = document.createElement('a');
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""
LOST = "Open one; what a page shows is freed after half an hour without use."


@dataclass(frozen=True, slots=True)
class Service:
    """The demo behind its page.

    Args:
        models: That visitors may choose.
        folder: For uploads and downloads; everything in it is temporary.
        sources: Cameras, files and addresses that the operator allows, for the stream tab.
        visitors: The open pages.
    """

    models: Models
    folder: Path
    sources: tuple[str, ...] = ()
    visitors: Visitors = field(default_factory=Visitors)

    def visitor(self, request: gr.Request) -> Visitor:
        """Who asks."""
        return self.visitors.get(request.session_hash or "")

    def leave(self, request: gr.Request) -> None:
        """A page was closed."""
        self.visitors.forget(request.session_hash or "")

    def source_names(self) -> list[str]:
        """What visitors see of the sources: neither folders nor passwords."""
        return [
            f"{number}: {SECRET.sub('', source) if '://' in source else Path(source).name}"
            for number, source in enumerate(self.sources, start=1)
        ]

    @contextmanager
    def told(self) -> Iterator[None]:
        """Whatever fails inside is told to the visitor, and goes no further."""
        try:
            yield
        except PerceiveError as error:
            gr.Warning(self.readable(str(error)), title="That did not work")
        except Exception:  # the last door: a fault of ours, which the operator should see
            traceback.print_exc(file=sys.stderr)
            gr.Warning("A fault of the demo; its operator can see more.", title="Sorry")

    def readable(self, message: str) -> str:
        """A message as HTML, without the paths of this machine."""
        inside = re.sub(rf"{re.escape(str(self.folder))}/(\w+/)*", "", message)
        return escape(inside).replace("\n", "<br>")

    def save(self, name: str, write: Callable[[Path], object]) -> str:
        """A file for download.

        Args:
            name: Of the file.
            write: Writes it to the given path.
        """
        path = Path(tempfile.mkdtemp(dir=self.folder)) / name
        write(path)
        return str(path)


@dataclass(frozen=True, slots=True)
class Settings:
    """The controls above the tabs: language, tasks and model."""

    language: gr.Radio
    tasks: gr.CheckboxGroup
    model: gr.Dropdown

    @property
    def all(self) -> list[gr.components.Component]:
        """As the last three inputs of every handler."""
        return [self.language, self.tasks, self.model]


# How every event runs: side by side for many visitors, without Gradio's overlays and API page.
QUIET: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "trigger_mode": "multiple",
    "concurrency_limit": 16,
}


def downloads(make: Callable[[str, gr.Request], str | None], kinds: Sequence[str]) -> None:
    """A row of buttons that save files.

    Args:
        make: Kind and who asks -> path of the file, None if there is none.
        kinds: Names of the buttons.
    """
    with gr.Row(elem_classes="pa-downloads"):
        file = gr.File(visible="hidden")
        for kind in kinds:
            button = gr.Button(
                f"↓ {kind}", size="sm", min_width=70, elem_id=f"{make.__name__}-{kind}"
            )

            def made(request: gr.Request, kind: str = kind) -> str | None:
                return make(kind, request)

            button.click(made, None, file, **QUIET).then(None, file, None, js=SAVE_JS)
