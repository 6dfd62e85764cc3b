"""Models with random weights, to measure speed and memory where no checkpoint is at hand.

Their answers are noise.
"""

from __future__ import annotations

import torch

from perceive_anything.errors import OptionError
from perceive_anything.modeling.sizes import SIZES, random_model
from perceive_anything.pipeline import (
    Perceiver,
    accelerate,
    check_acceleration,
    choose_device,
    choose_dtype,
)
from perceive_anything.tasks import unknown

PREFIX = "random:"


def load_any(name: str, device: str | None, dtype: str | None, quantize: str | None) -> Perceiver:
    """A model by name, folder, hub id or size; arguments as in `Perceiver.from_pretrained`."""
    if name.startswith(PREFIX):
        return random_perceiver(name, device, dtype, quantize)
    return Perceiver.from_pretrained(name, device=device, dtype=dtype, quantize=quantize)


def random_perceiver(
    name: str, device: str | None = None, dtype: str | None = None, quantize: str | None = None
) -> Perceiver:
    """A PAM of a published size; it reads and writes nano's words.

    Args:
        name: "random:1.5b", "random:3b" (both with SAM 2.1 large), or "random:tiny" (a toy).
        device: As in `Perceiver.from_pretrained`.
        dtype: As there.
        quantize: As there.

    Raises:
        OptionError: There is no such size, device or precision, or they do not suit each other.
    """
    place = choose_device(device)
    precision = choose_dtype(dtype, place)
    check_acceleration(quantize, False, place, precision)
    size = name.removeprefix(PREFIX)
    if size not in SIZES:
        raise OptionError(unknown("random model", size, tuple(SIZES)), code="unknown_model")
    torch.manual_seed(0)
    model, processor = random_model(size)
    return Perceiver(accelerate(model.to(place, precision), quantize, False), processor, name)
