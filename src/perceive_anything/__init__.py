"""Perceive Anything: point at a region of an image and learn what it is.

Public names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "Box": "types",
    "CaptionEvent": "events",
    "EndEvent": "events",
    "FrameEvent": "events",
    "ImageResult": "results",
    "Mask": "types",
    "PerceiveError": "errors",
    "Perceiver": "pipeline",
    "Points": "types",
    "Region": "results",
    "RegionFound": "events",
    "TextChunk": "events",
    "Track": "tracks",
    "VideoResult": "tracks",
}
__all__ = ["__version__", "tasks", *_HOMES]

if TYPE_CHECKING:
    from perceive_anything import tasks as tasks
    from perceive_anything.errors import PerceiveError as PerceiveError
    from perceive_anything.events import CaptionEvent as CaptionEvent
    from perceive_anything.events import EndEvent as EndEvent
    from perceive_anything.events import FrameEvent as FrameEvent
    from perceive_anything.events import RegionFound as RegionFound
    from perceive_anything.events import TextChunk as TextChunk
    from perceive_anything.pipeline import Perceiver as Perceiver
    from perceive_anything.results import ImageResult as ImageResult
    from perceive_anything.results import Region as Region
    from perceive_anything.tracks import Track as Track
    from perceive_anything.tracks import VideoResult as VideoResult
    from perceive_anything.types import Box as Box
    from perceive_anything.types import Mask as Mask
    from perceive_anything.types import Points as Points


def __getattr__(name: str) -> object:
    if name == "tasks":
        return importlib.import_module("perceive_anything.tasks")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"perceive_anything.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
