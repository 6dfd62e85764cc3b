"""The image tab: open a photo, point, read.

Knows Gradio's components and events; what they do is the business of `photo`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image, UnidentifiedImageError

from perceive_anything.demo import cards
from perceive_anything.demo.examples import Example, photo_examples
from perceive_anything.demo.photo import Photo
from perceive_anything.demo.prompter import prompter, region_of, sent, uploaded
from perceive_anything.demo.service import LOST, QUIET, Service, Settings, downloads
from perceive_anything.errors import MediaError, PromptError
from perceive_anything.export.files import write_json_file
from perceive_anything.media import load_image

if TYPE_CHECKING:
    from perceive_anything.demo.clip import Clip
    from perceive_anything.media import Pixels

Tasks = list[str]  # Gradio reads annotations while it runs
Shown = tuple[object, object]
MAX_PHOTO_PX, MAX_EVERYTHING = 50_000_000, 12
EMPTY = (
    "Click on anything in the photo. Its mask appears at once; what it is, an explanation, a "
    "caption and a description follow here."
)


class ImageTab:
    """The tab; made inside `gr.Blocks`.

    Args:
        service: The demo.
        settings: Language, tasks and model.
    """

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service, self._settings = service, settings
        with gr.Row():
            with gr.Column(scale=7, min_width=320):
                self.canvas = prompter("image", photo_examples())
            with gr.Column(scale=4, min_width=300):
                self.cards = gr.HTML(
                    cards.cards_html(None, EMPTY),
                    js_on_load=cards.JS,
                    apply_default_css=False,
                    elem_classes="pa-plain",
                )
                downloads(self.save_image, ("JSON", "COCO", "PNG"))
        outputs = [self.canvas, self.cards]
        self.canvas.act(self.on_act, settings.all, outputs, **QUIET)
        self.canvas.open(self.on_open, settings.all, outputs, **QUIET)
        self.canvas.example(self.on_example, settings.all, outputs, **QUIET)
        self.cards.choose(self.on_choose, settings.all, outputs, **QUIET)
        self.cards.remove(self.on_remove, settings.all, outputs, **QUIET)
        for control in (settings.language, settings.tasks, settings.model):
            control.input(self.on_settings, settings.all, outputs, **QUIET)

    def on_open(
        self, event: gr.EventData, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Iterator[Shown]:
        """A file was uploaded."""
        with self._service.told():
            path, name = uploaded(sent(event), self._service.folder)
            try:
                array = read_photo(path)
            finally:
                path.unlink()
            self._put(request, array, name, model)
        yield self._shown(request, tasks, photo=True)

    def on_example(
        self, event: gr.EventData, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Iterator[Shown]:
        """An example was picked."""
        with self._service.told():
            example = _example(sent(event).get("index"))
            self._put(request, example.array, example.name, model)
        yield self._shown(request, tasks, photo=True)

    def on_act(
        self, event: gr.EventData, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Iterator[Shown]:
        """A gesture on the canvas, or a button of its toolbar."""
        with self._service.told():
            act(self._photo(request), sent(event), language)
        yield from self._answer(request, tasks)

    def on_choose(
        self, event: gr.EventData, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Iterator[Shown]:
        """A card was clicked."""
        with self._service.told():
            self._photo(request).board.select(region_of(sent(event)))
        yield from self._answer(request, tasks)

    def on_remove(
        self, event: gr.EventData, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Iterator[Shown]:
        """A card was closed."""
        with self._service.told():
            self._photo(request).board.remove(region_of(sent(event)))
        yield from self._answer(request, tasks)

    def on_settings(
        self, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Iterator[Shown]:
        """Another language, other tasks or another model: texts are written anew."""
        visitor = self._service.visitor(request)
        if visitor.photo is None:
            yield gr.skip(), gr.skip()
            return
        with self._service.told():
            perceiver = self._service.models.get(model)
            visitor.photo = visitor.photo.with_model(perceiver, language)
            visitor.photo.board.renew(language)
        yield from self._answer(request, tasks)

    def save_image(self, kind: str, request: gr.Request) -> str | None:
        """A file for download: "JSON", "COCO" or "PNG"."""
        with self._service.told():
            photo = self._photo(request)
            result = photo.result()
            if kind == "PNG":
                return self._service.save(
                    "regions.png", lambda path: result.save(path, photo.array)
                )
            if kind == "JSON":
                return self._service.save("regions.json", result.save)
            coco = result.to_coco()
            return self._service.save("regions_coco.json", lambda path: write_json_file(coco, path))
        return None

    def _put(self, request: gr.Request, array: Pixels, name: str, model: str) -> None:
        visitor, models = self._service.visitor(request), self._service.models
        if visitor.photo is not None:
            visitor.photo.close()
        visitor.photo = Photo(models.get(model), models.lock, array, name)

    def _photo(self, request: gr.Request) -> Photo:
        photo = self._service.visitor(request).photo
        if photo is None:
            raise PromptError(f"there is no photo.\n  {LOST}", code="prompt_missing")
        return photo

    def _answer(self, request: gr.Request, tasks: Tasks) -> Iterator[Shown]:
        """Masks at once, then texts as they grow."""
        yield self._shown(request, tasks)
        photo = self._service.visitor(request).photo
        if photo is None:
            return
        with self._service.told():
            labels = [entry.label for entry in photo.board.entries]
            for _ in photo.write(tasks):
                known = [entry.label for entry in photo.board.entries]
                canvas = gr.skip() if known == labels else gr.HTML(value=photo.view())
                labels = known
                yield canvas, cards.cards_html(photo.board, EMPTY, tasks)

    def _shown(self, request: gr.Request, tasks: Tasks, *, photo: bool = False) -> Shown:
        """The canvas and the cards as they are now."""
        held = self._service.visitor(request).photo
        if held is None:
            return gr.skip(), cards.cards_html(None, EMPTY)
        pixels: dict[str, Any] = {"photo": held.preview} if photo else {}
        canvas = gr.HTML(value=held.view(), **pixels)
        return canvas, cards.cards_html(held.board, EMPTY, tasks)


def act(picture: Photo | Clip, data: dict[str, Any], language: str) -> None:
    """Do what the canvas says with a photo or a clip.

    Args:
        picture: What the canvas shows.
        data: What the browser sent.
        language: Of the texts to come.
    """
    board, kind = picture.board, data.get("type")
    if kind == "undo":
        board.undo()
    elif kind == "clear":
        board.clear()
    elif kind == "remove":
        board.remove(region_of(data))
    elif kind == "choose":
        board.select(region_of(data))
    elif kind == "everything":
        if not picture.everything(MAX_EVERYTHING, language):
            gr.Info("Nothing was found. Point at something instead.")
    else:
        picture.point(data, language)


def _example(number: object) -> Example:
    examples = photo_examples()
    if isinstance(number, int) and 0 <= number < len(examples):
        return examples[number]
    raise PromptError("there is no such example.\n  Pick one that is shown.", code="prompt_syntax")


def read_photo(path: Path) -> Pixels:
    """A photo as uint8 (H, W, 3).

    Raises:
        MediaError: It is no picture, or too large for the demo.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        width = height = 0  # `load_image` says what is wrong with it
    if width * height > MAX_PHOTO_PX:
        raise MediaError(
            f"the photo has {width}x{height} pixels.\n"
            f"  The demo takes up to {MAX_PHOTO_PX // 10**6} million; scale it down.",
            code="image_size",
        )
    return load_image(path)
