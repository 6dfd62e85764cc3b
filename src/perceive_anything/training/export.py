"""The finished model as a small folder: float16 weights, configuration, tokenizer.

Knows the model and the processor; no training state.
"""

from __future__ import annotations

from pathlib import Path

import torch

from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor


def save_model(model: PamForConditionalGeneration, processor: PamProcessor, folder: Path) -> None:
    """Write weights as float16 (half the size; loading restores float32) and everything else.

    Args:
        model: Any PAM; it keeps its precision.
        processor: Its processor.
        folder: Made if missing.
    """
    half = {name: value.half() for name, value in model.state_dict().items()}
    largest = max(float(value.abs().max()) for value in half.values())
    if largest == float("inf"):
        raise OverflowError("a weight does not fit float16")
    model.config.dtype = torch.float16
    model.save_pretrained(folder, state_dict=half)
    processor.save_pretrained(folder)
