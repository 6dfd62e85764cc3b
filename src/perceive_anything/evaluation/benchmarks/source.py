"""What a loader of a benchmark is given: its folder, its description, and where bad rows go.

Knows JSON files and pictures below a folder. Refuses to know formats.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from perceive_anything.data.bad_rows import MALFORMED, BadRows
from perceive_anything.data.schema import ByteRange
from perceive_anything.errors import DataError
from perceive_anything.evaluation.samples import Media

__all__ = ["UNUSABLE", "Source"]

# What making a sample of a row raises: a malformed row, or a picture that is not there or damaged.
UNUSABLE = (*MALFORMED, OSError, SyntaxError)


@dataclass(frozen=True, slots=True)
class Source:
    """One reading of a benchmark.

    Attributes:
        name: Of the benchmark.
        root: Its folder, or its annotation file.
        home: Where it is described and can be had.
        layout: What is expected on disk, to follow the word "Expected".
        split: Which part, for sets that have parts.
        bad: Counts what cannot be used.
    """

    name: str
    root: Path
    home: str
    layout: str
    split: str
    bad: BadRows
    _files: dict[str, Path] = field(default_factory=dict)
    _sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the benchmark."""
        return self.root.parent if self.root.is_file() else self.root

    def file(self, *patterns: str) -> Path:
        """The annotation file that was given, or the first below the folder that fits.

        Raises:
            DataError: There is none.
        """
        if self.root.is_file():
            return self.root
        for pattern in patterns:
            for path in sorted(self.folder.glob(pattern)):
                return path
        raise self.missing(" or ".join(patterns))

    def missing(self, what: str) -> DataError:
        """An error that says what the benchmark should look like and where it is described."""
        return DataError(
            f'{self.name}: there is no {what} in "{self.folder}".\n'
            f"  Expected {self.layout}. It is described at {self.home}.",
            code="file_missing",
        )

    def rows(self, path: Path) -> list[tuple[str, Mapping[str, Any]]]:
        """The objects of a JSON list or of JSON lines, each with its place for messages.

        Raises:
            DataError: The file cannot be read.
        """
        if path.suffix == ".jsonl":
            return list(self._lines(path))
        content = self.json(path)
        if not isinstance(content, list):
            raise self.missing(f"list of rows in {path.name}")
        return [(f"{path.name}[{number}]", row) for number, row in enumerate(content)]

    def json(self, path: Path) -> Any:  # noqa: ANN401 - whatever a JSON file holds
        """What a JSON file says.

        Raises:
            DataError: It cannot be read.
        """
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f'"{path}" cannot be read: {error}.\n  Expected {self.layout}.', code="bad_record"
            ) from error

    def picture(self, *names: str) -> Path:
        """The file of the first of these names that lies anywhere below the folder.

        Raises:
            ValueError: There is none.
        """
        for name in names:
            if (self.folder / name).is_file():
                return self.folder / name
        if not self._files:
            for folder, _, files in os.walk(self.folder):
                self._files.update((file, Path(folder, file)) for file in files)
        for name in names:
            found = self._files.get(PurePosixPath(name).name)
            if found is not None:
                return found
        raise ValueError(f"there is no file {names[0]}")

    def image(self, *names: str) -> Media:
        """A picture as the media of a sample.

        Raises:
            ValueError: There is none.
        """
        return Media((ByteRange(str(self.picture(*names))),))

    def size_wh(self, media: Media) -> tuple[int, int]:
        """Width and height of a picture as it is shown, from the head of its file.

        Raises:
            OSError: It cannot be read.
        """
        path = Path(media.files[0].path)
        if path not in self._sizes:
            with Image.open(path) as image:
                turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
                self._sizes[path] = image.size[::-1] if turned else image.size
        return self._sizes[path]

    def _lines(self, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise DataError(f'"{path}" cannot be read: {error}.', code="bad_record") from error
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("it is no JSON object")
            except ValueError as error:
                self.bad.leave_out(f"{path.name}:{number}", error)
                continue
            yield f"{path.name}:{number}", row
