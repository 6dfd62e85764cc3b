"""A stand-in for the model: masks straight from the prompts, texts that name their task."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest

from perceive_anything.errors import ModelError
from perceive_anything.masks import mask_to_box_xyxy
from perceive_anything.results import Region
from perceive_anything.tasks import TASK_FIELD
from perceive_anything.types import Box, Mask, Prompt


@dataclass
class Ran:
    """What a call of the command line left behind."""

    code: int
    stdout: str
    stderr: str


Run = Callable[..., Ran]


class FakeSession:
    """Answers like an image session."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.size_wh = (array.shape[1], array.shape[0])
        self.timing_s = {"encode": 0.25}

    def perceive(
        self, prompts: Sequence[Prompt], *, tasks: Sequence[str], language: str, **settings: object
    ) -> list[Region]:
        """One region a prompt."""
        FakePerceiver.settings |= settings
        return [self._region(i, prompt, tasks, language) for i, prompt in enumerate(prompts)]

    def _region(self, index: int, prompt: Prompt, tasks: Sequence[str], language: str) -> Region:
        mask = np.zeros(self.array.shape[:2], bool)
        if isinstance(prompt, Box):
            mask[int(prompt.y1) : int(prompt.y2), int(prompt.x1) : int(prompt.x2)] = True
        elif isinstance(prompt, Mask):
            mask = np.array(prompt.array)
        else:
            for (x, y), label in zip(prompt.xy, prompt.labels, strict=True):
                mask[int(y), int(x)] = bool(label)
        texts = {TASK_FIELD[task]: f"{task} [{language}]" for task in tasks if task in TASK_FIELD}
        box_xyxy = mask_to_box_xyxy(mask) or (0, 0, 0, 0)
        return Region(index, prompt, mask, box_xyxy, 0.5, **texts)


class FakePerceiver:
    """Answers like a perceiver; counts how often it is loaded."""

    loaded = 0
    settings: ClassVar[dict[str, object]] = {}
    device = "cpu"
    load_s = 0.5

    def __init__(self, model: str) -> None:
        self.model_name = model

    @classmethod
    def from_pretrained(cls, model: str = "nano", **settings: object) -> FakePerceiver:
        """Knows "nano" and a model with a fault."""
        cls.loaded += 1
        cls.settings = settings
        if model == "faulty":
            raise RuntimeError("something we did not foresee\nwith a second line")
        if model != "nano":
            raise ModelError(
                f'unknown model "{model}".\n  Use nano, a folder or a hub id.', code="unknown_model"
            )
        return cls(model)

    def image(self, array: np.ndarray) -> FakeSession:
        """A session of one image."""
        return FakeSession(array)


def install(monkeypatch: pytest.MonkeyPatch) -> type[FakePerceiver]:
    """Put the stand-in where the command line looks for the model."""
    module = ModuleType("perceive_anything.pipeline")
    module.Perceiver = FakePerceiver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "perceive_anything.pipeline", module)
    FakePerceiver.loaded = 0
    return FakePerceiver
