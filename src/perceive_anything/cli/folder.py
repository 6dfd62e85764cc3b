"""`perceive image ... --out DIR`: many images into other formats, resumable.

Answers go to the store one by one; the formats are made of the store at the end, so that they are
the same whether the run was interrupted or not.
"""

from __future__ import annotations

import io
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from perceive_anything import __version__
from perceive_anything.cli.answering import Attempts, answer, load
from perceive_anything.cli.inputs import READABLE, Input, common_root, expand, named
from perceive_anything.cli.progress import follow_with_progress
from perceive_anything.cli.store import Answered, Store
from perceive_anything.errors import MediaError, OptionError
from perceive_anything.export import WRITERS, prompt_to_json, write_export
from perceive_anything.export.files import write_bytes
from perceive_anything.export.mask_files import picture_names
from perceive_anything.export.yolo import check_stems
from perceive_anything.tasks import unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from perceive_anything.cli.answering import Request
    from perceive_anything.cli.options import LazyModel
    from perceive_anything.export import ExportedImage

OVERLAYS = "overlays"
FORMATS = (*WRITERS, OVERLAYS)
BESIDE = ("json", "jsonl")  # formats of one file, which need no folder of their own


class FolderRun:
    """One call over many images.

    Args:
        paths: PATHs of the call.
        request: What is asked.
        model: What answers.
        out: Where to.
        formats: Some of `FORMATS`.

    Raises:
        OptionError: A format does not exist or cannot say this, or the folder holds something else.
        MediaError: A folder has no images.
    """

    def __init__(
        self,
        paths: Sequence[str],
        request: Request,
        model: LazyModel,
        out: Path,
        formats: Sequence[str],
    ) -> None:
        self.out, self.request, self.model = out, request, model
        self.formats = check_formats(formats)
        root = common_root(paths)
        self.items = named(_files(paths, out), root)
        names = [item.name for item in self.items]
        if "yolo" in self.formats:
            check_stems(names)
        self._overlays = dict(zip(names, picture_names(names), strict=True))
        self.store = Store(out)
        self.store.open(_identity(request, model, os.path.relpath(root, out.resolve())))

    def answer_all(self, *, quiet: bool, debug: bool) -> bool:
        """Answer what has no answer yet, then write the formats; whether every image has one."""
        done = {item.name for item in self.items if self.store.has(item)}
        waiting = [item for item in self.items if item.name not in done or self._undrawn(item)]
        if len(waiting) < len(self.items) and not quiet:
            told = f"{len(self.items) - len(waiting)} of {len(self.items)} images are done"
            typer.echo(told, err=True)
        attempts = Attempts(debug=debug)
        try:
            steps = self._work(waiting, done, attempts)
            follow_with_progress(steps, len(waiting), quiet=quiet, unit="images")
        except KeyboardInterrupt:
            typer.echo("interrupted: the same command goes on from here", err=True)
            raise
        self._write([item for item in self.items if item.name in done])
        if not quiet:
            told = f"{len(done)} of {len(self.items)} images"
            typer.echo(f"{told} as {', '.join(self.formats)} in {self.out}")
        return not attempts.failed

    def _undrawn(self, item: Input) -> bool:
        return OVERLAYS in self.formats and not self._overlay(item).exists()

    def _overlay(self, item: Input) -> Path:
        return self.out / OVERLAYS / self._overlays[item.name]

    def _work(
        self, waiting: Sequence[Input], done: set[str], attempts: Attempts
    ) -> Iterator[Input]:
        for item in waiting:
            name = attempts.run(item.path, partial(self._answer_one, item, item.name in done))
            if name is not None:
                done.add(name)
            yield item

    def _answer_one(self, item: Input, has_answer: bool) -> str:
        """Answer an image and draw it, as far as that was not done before; its name."""
        array = load(item.path, self.request)
        if not has_answer:
            result = answer(item.path, array, self.request, self.model.get())
            named_result = replace(result, source=item.name, timing_s={})  # times are never equal
            self.store.put(item, named_result.to_json())
        if OVERLAYS in self.formats:
            write_bytes(overlay_png(self.store.get(item), array), self._overlay(item))
        return item.name

    def _write(self, done: Sequence[Input]) -> None:
        answered = Answered(self.store, done)
        for name in self.formats:
            if name != OVERLAYS:
                write_export(name, answered, self.out if name in BESIDE else self.out / name)


def _files(paths: Sequence[str], out: Path) -> list[str]:
    files = expand(paths, left_out=out)
    empty = next((file for file in files if Path(file).is_dir()), None)
    if empty is not None:
        raise MediaError(
            f'there are no images in "{empty}".\n  Expected files ending in {", ".join(READABLE)}.',
            code="file_missing",
        )
    return files


def check_formats(names: Sequence[str]) -> tuple[str, ...]:
    """The formats without repetition; JSON if there is none.

    Raises:
        OptionError: One of them does not exist.
    """
    for name in names:
        if name not in FORMATS:
            raise OptionError(unknown("format", name, FORMATS), code="unknown_option")
    return tuple(dict.fromkeys(names)) or ("json",)


def overlay_png(image: ExportedImage, array: npt.NDArray[np.uint8]) -> bytes:
    """A PNG of an image with its regions drawn on it."""
    from PIL import Image

    from perceive_anything.draw import draw_regions
    from perceive_anything.results import title

    drawn = draw_regions(
        array,
        masks=[region.mask for region in image.regions],
        boxes_xyxy=[region.box_xyxy for region in image.regions],
        labels=[title(r.id, r.texts.get("label"), uncertain=r.uncertain) for r in image.regions],
        prompts=[entry["prompt"] for entry in image.entry["regions"]],
    )
    with io.BytesIO() as file:
        Image.fromarray(drawn).save(file, format="PNG")
        return file.getvalue()


def _identity(request: Request, model: LazyModel, root: str) -> dict[str, Any]:
    """All that decides the answers but the images themselves; the device is left to the user."""
    table = request.table
    return {
        "version": __version__,
        "images": Path(root).as_posix(),
        "model": model.name,
        "sam2": model.sam2,
        "dtype": model.dtype,
        "quantize": model.quantize,
        "tasks": list(request.tasks),
        "language": request.language,
        "max_new_tokens": request.max_new_tokens,
        "temperature": request.temperature,
        "everything": request.everything,
        "prompts": [prompt_to_json(prompt) for prompt in request.prompts],
        "table": table and {k: [prompt_to_json(p) for p in each] for k, each in table.items()},
    }
