"""Finds the pictures, frames and videos that annotations name, and tells their size.

Knows files and names; nothing of annotations.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from PIL import Image

from perceive_anything.data.handles import frames_of_video
from perceive_anything.data.schema import ByteRange

__all__ = [
    "PICTURES",
    "UNREADABLE",
    "Film",
    "Films",
    "Finder",
    "film_of_folder",
    "picture_size_wh",
    "pictures_below",
]

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
VIDEOS = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm"})
# What opening a picture raises where it is damaged, besides what a malformed row does.
UNREADABLE = (OSError, SyntaxError, Image.DecompressionBombError)
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF: the picture is shown on its side


class Finder:
    """Finds the files that rows name; keeps where the folder of a name was found.

    A file is looked for where its name says below each folder, then without the first parts of
    its name; of a longer name at least folder and file must fit.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.known: dict[PurePosixPath, Path] = {}

    def find(self, *names: str) -> Path:
        """The file of the first of these names that there is.

        Raises:
            ValueError: There is none.
        """
        for name in names:
            path = PurePosixPath(name)
            known = self.known.get(path.parent)
            if known is not None and (file := known / path.name).is_file():
                return file
            for folder in self.folders:
                for start in range(max(1, len(path.parts) - 1)):
                    file = folder.joinpath(*path.parts[start:])
                    if file.is_file():
                        self.known[path.parent] = file.parent
                        return file
        raise ValueError(f"there is no file {names[0]}")


def picture_size_wh(source: Path | bytes) -> tuple[int, int]:
    """Size as `ImageRecord.load` shows it, read from the head of a file or of its bytes."""
    stream: Path | IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else source
    with Image.open(stream) as image:
        width, height = image.size
        turned = "exif" in image.info and image.getexif().get(_ORIENTATION) in _TURNED
    return (height, width) if turned else (width, height)


@dataclass(frozen=True, slots=True)
class Film:
    """The frames of a clip.

    Args:
        frames: Where they lie, in order.
        names: What their files are called, without the kind; numbers for a video.
        size_wh: Their size in pixels.
    """

    frames: tuple[ByteRange, ...]
    names: tuple[str, ...]
    size_wh: tuple[int, int]

    def number(self, name: str) -> int:
        """The number of the frame of a name.

        Raises:
            ValueError: There is none.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise ValueError(f"there is no frame {name}") from None


def film_of_folder(folder: Path, names: Iterable[str] | None = None) -> Film:
    """The pictures of a folder as frames.

    Args:
        folder: The folder.
        names: Which frames, without or with the kind of file; all of them, sorted, by default.

    Raises:
        ValueError: There is no picture, or one of the names has none.
    """
    of_stem = {file.stem: file for file in pictures_below(folder, deep=False)}
    wanted = sorted(of_stem) if names is None else [PurePosixPath(name).stem for name in names]
    missing = [stem for stem in wanted if stem not in of_stem]
    if missing or not wanted:
        raise ValueError(f"there is no frame {missing[0] if missing else ''} in {folder}")
    files = [of_stem[stem] for stem in wanted]
    frames = tuple(ByteRange(str(file)) for file in files)
    return Film(frames, tuple(wanted), picture_size_wh(files[0]))


def pictures_below(folder: Path, *, deep: bool = True) -> list[Path]:
    """The pictures of a folder, and of those below it, sorted."""
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(path for path in found if path.suffix.lower() in PICTURES)


class Films:
    """The clips somewhere below a folder, each a video file or a folder of frames, by name."""

    def __init__(self, root: Path) -> None:
        self.places: dict[str, Path] = {}
        for folder, _, files in os.walk(root):
            path = Path(folder)
            kinds = {Path(file).suffix.lower() for file in files}
            if kinds & PICTURES:
                self.places.setdefault(path.name, path)
            if kinds & VIDEOS:
                videos = (path / file for file in files if Path(file).suffix.lower() in VIDEOS)
                self.places.update((video.stem, video) for video in videos)

    def find(self, name: str) -> Path:
        """The video file or folder of a clip, whose name may end with a kind of file.

        Raises:
            ValueError: There is none.
        """
        path = PurePosixPath(name)
        stem = path.stem if path.suffix.lower() in VIDEOS else path.name
        if stem not in self.places:
            raise ValueError(f"there is no video and no folder of frames {stem}")
        return self.places[stem]

    def open(self, name: str) -> Film:
        """The frames of a clip.

        Raises:
            ValueError: There is none, or it cannot be read.
        """
        place = self.find(name)
        if place.is_dir():
            return film_of_folder(place)
        frames, size_wh = frames_of_video(str(place))
        return Film(frames, tuple(str(frame.offset) for frame in frames), size_wh)
