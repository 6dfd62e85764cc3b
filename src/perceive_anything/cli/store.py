"""What a run over many images has done so far, on disk: the request and one file an answered image.

Every file is written at once, so a run that is killed at any moment goes on from what is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from perceive_anything.errors import OptionError
from perceive_anything.export import ExportedImage
from perceive_anything.export.files import write_json_file

if TYPE_CHECKING:
    from perceive_anything.cli.inputs import Input

STATE = ".perceive"


class Store:
    """The state of a run, in a hidden folder of its output."""

    def __init__(self, out: Path) -> None:
        self._folder = out / STATE

    def open(self, request: Mapping[str, Any]) -> None:
        """Begin the run, or go on with it.

        Args:
            request: All that decides what the answers are, as JSON.

        Raises:
            OptionError: The folder holds answers to another request, or cannot be written.
        """
        file = self._folder / "request.json"
        before = _read(file)
        if before is None:
            write_json_file(dict(request), file)
            return
        wanted = json.loads(json.dumps(request))
        changed = [key for key in before | wanted if wanted.get(key) != before.get(key)]
        if changed:
            told = "; ".join(
                f"{key} {_short(before.get(key))}, now {_short(wanted.get(key))}" for key in changed
            )
            raise OptionError(
                f'"{self._folder.parent}" holds answers to another request: {told}.\n'
                "  Repeat that request to go on with it, or choose another folder with --out.",
                code="request_changed",
            )

    def has(self, item: Input) -> bool:
        """Whether there is an answer to an image, and the image has not changed since."""
        kept = _read(self._file(item))
        return kept is not None and kept["sha256"] == _digest(item.path)

    def get(self, item: Input) -> ExportedImage:
        """The answer to an image that has one."""
        kept = _read(self._file(item))
        assert kept is not None, f"{item.name} has no answer"
        return ExportedImage(kept["result"], item.name, Path(item.path))

    def put(self, item: Input, result: Mapping[str, Any]) -> None:
        """Keep the answer to an image.

        Args:
            item: The image.
            result: Its result JSON.
        """
        kept = {"sha256": _digest(item.path), "result": dict(result)}
        write_json_file(kept, self._file(item))

    def _file(self, item: Input) -> Path:
        return self._folder / "answers" / f"{item.name}.json"


class Answered(Sequence[ExportedImage]):
    """The answers of a run, read from its store when they are asked for."""

    def __init__(self, store: Store, items: Sequence[Input]) -> None:
        self._store, self._items = store, items

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> ExportedImage: ...
    @overload
    def __getitem__(self, index: slice) -> Answered: ...
    def __getitem__(self, index: int | slice) -> ExportedImage | Answered:
        if isinstance(index, slice):
            return Answered(self._store, self._items[index])
        return self._store.get(self._items[index])


def _read(file: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise OptionError(
            f'"{file}" cannot be read: {error}.\n  Delete it, or choose another folder with --out.',
            code="out_unwritable",
        ) from error
    return value


def _digest(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
