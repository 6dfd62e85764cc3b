"""The video tab: scrub, point on any frame, follow, look at the lanes.

Knows Gradio's components and events; what they do is the business of `clip`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from perceive_anything.demo import cards, timeline
from perceive_anything.demo.clip import Clip
from perceive_anything.demo.examples import photo_examples, write_clip
from perceive_anything.demo.image_tab import act
from perceive_anything.demo.photo import TICKS
from perceive_anything.demo.prompter import prompter, region_of, sent, uploaded
from perceive_anything.demo.service import LOST, QUIET, Service, Settings, downloads
from perceive_anything.errors import PromptError

Tasks = list[str]  # Gradio reads annotations while it runs
Shown = tuple[object, object, object]
EMPTY = (
    "Click on something on any frame, then press Follow: it is followed through the video, forward "
    "and backward, and described."
)
SHOW_S = 0.15  # the picture follows the model about this often


class VideoTab:
    """The tab; made inside `gr.Blocks`.

    Args:
        service: The demo.
        settings: Language, tasks and model.
    """

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        with gr.Row():
            with gr.Column(scale=7, min_width=320):
                self.canvas = prompter("video", photo_examples()[:1])
                self.timeline = gr.HTML(
                    value=None, html_template=timeline.HTML, js_on_load=timeline.JS,
                    apply_default_css=False, elem_classes="pa-plain", elem_id="pa-timeline",
                )  # fmt: skip
            with gr.Column(scale=4, min_width=300):
                with gr.Row():
                    follow = gr.Button("Follow", variant="primary", elem_id="pa-follow")
                    cancel = gr.Button("Cancel", elem_id="pa-cancel")
                self.cards = gr.HTML(
                    cards.cards_html(None, EMPTY),
                    js_on_load=cards.JS,
                    apply_default_css=False,
                    elem_classes="pa-plain",
                )
                downloads(self.save_video, ("MP4", "JSON"))
        outputs = [self.canvas, self.timeline, self.cards]
        self.canvas.open(self.on_open, settings.all, outputs, **QUIET)
        self.canvas.example(self.on_example, settings.all, outputs, **QUIET)
        self.canvas.act(self.on_act, settings.all, outputs, **QUIET)
        self.timeline.seek(self.on_seek, settings.all, outputs, **QUIET)
        self.cards.choose(self.on_choose, settings.all, outputs, **QUIET)
        self.cards.remove(self.on_remove, settings.all, outputs, **QUIET)
        for control in (settings.language, settings.tasks):
            control.input(self.on_settings, settings.all, outputs, **QUIET)
        follow.click(self.on_follow, settings.all, outputs, **QUIET)
        cancel.click(self.on_cancel, None, None, **QUIET)

    def on_open(
        self, event: gr.EventData, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Shown:
        """A file was uploaded."""
        with self._service.told():
            upload, name = uploaded(sent(event), self._service.folder)
            path = self._own_path(upload.name)
            shutil.move(upload, path)
            self._put(request, path, name, model)
        return self._shown(request, tasks, frame=True)

    def on_example(
        self, event: gr.EventData, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Shown:
        """The example was picked."""
        with self._service.told():
            self._put(request, write_clip(self._own_path("clip.mp4")), "example clip", model)
        return self._shown(request, tasks, frame=True)

    def on_act(
        self, event: gr.EventData, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Shown:
        """A gesture on the canvas, or a button of its toolbar."""
        with self._service.told():
            clip = self._clip(request)
            clip.use(self._service.models.get(model))
            act(clip, sent(event), language)
        return self._shown(request, tasks)

    def on_seek(
        self, event: gr.EventData, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Shown:
        """The slider was moved."""
        with self._service.told():
            frame = sent(event).get("frame")
            self._clip(request).seek(frame if isinstance(frame, int) else 0)
        return self._shown(request, tasks, frame=True)

    def on_choose(
        self, event: gr.EventData, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Shown:
        """A card was clicked."""
        with self._service.told():
            self._clip(request).board.select(region_of(sent(event)))
        return self._shown(request, tasks)

    def on_remove(
        self, event: gr.EventData, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Shown:
        """A card was closed."""
        with self._service.told():
            self._clip(request).board.remove(region_of(sent(event)))
        return self._shown(request, tasks)

    def on_settings(
        self, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Iterator[Shown]:
        """Another language or other tasks: what was followed is told anew."""
        clip = self._service.visitor(request).clip
        if clip is not None:
            with self._service.told():
                for _ in clip.retell(tasks, language):
                    yield self._shown(request, tasks)
        yield self._shown(request, tasks)

    def on_follow(
        self, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Iterator[Shown]:
        """Follow all regions; the lanes grow while that goes on."""
        with self._service.told():
            clip = self._clip(request)
            clip.use(self._service.models.get(model))
            shown_s = 0.0
            for _ in clip.follow(tasks, language):
                if time.monotonic() - shown_s > SHOW_S:
                    shown_s = time.monotonic()
                    yield self._shown(request, tasks)
        yield self._shown(request, tasks)

    def on_cancel(self, request: gr.Request) -> None:
        """Stop following; what was seen stays."""
        clip = self._service.visitor(request).clip
        if clip is not None:
            clip.stop()

    def save_video(self, kind: str, request: gr.Request) -> str | None:
        """A file for download: "MP4" or "JSON"."""
        with self._service.told():
            clip = self._clip(request)
            result = clip.result()
            name = f"regions.{kind.lower()}"
            return self._service.save(name, lambda path: result.save(path, clip.video))
        return None

    def _own_path(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(dir=self._service.folder)) / name

    def _put(self, request: gr.Request, path: Path, name: str, model: str) -> None:
        visitor, models = self._service.visitor(request), self._service.models
        try:
            clip = Clip(models.get(model), models.lock, path, name)
        except Exception:
            path.unlink(missing_ok=True)
            raise
        if visitor.clip is not None:
            visitor.clip.close()
        visitor.clip = clip

    def _clip(self, request: gr.Request) -> Clip:
        clip = self._service.visitor(request).clip
        if clip is None:
            raise PromptError(f"there is no video.\n  {LOST}", code="prompt_missing")
        return clip

    def _shown(self, request: gr.Request, tasks: Tasks, *, frame: bool = False) -> Shown:
        """Canvas, lanes and cards as they are now."""
        clip = self._service.visitor(request).clip
        if clip is None:
            return gr.skip(), gr.skip(), cards.cards_html(None, EMPTY)
        pixels: dict[str, Any] = {"photo": clip.frame_uri} if frame else {}
        canvas = gr.HTML(value=clip.view(), **pixels)
        return canvas, _timeline_view(clip), cards.cards_html(clip.board, EMPTY, tasks)


def _timeline_view(clip: Clip) -> dict[str, Any]:
    state = "followed" if clip.is_followed else "new"
    return {
        "tick": next(TICKS),
        "frames": clip.num_frames,
        "frame": clip.index,
        "fps": clip.video.fps,
        "progress": clip.progress,
        "state": state if clip.progress is None else "following",
        "lanes": timeline.lanes_html(clip.lanes(), clip.num_frames),
    }
