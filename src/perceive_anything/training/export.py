"""The finished model as a small folder: float16 weights, configuration, tokenizer.

Knows the model and the processor; no training state.
"""

from __future__ import annotations

from pathlib import Path

import torch

from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor
from perceive_anything.training.checkpoint import whole


def save_model(
    model: PamForConditionalGeneration, processor: PamProcessor, folder: Path, *, write: bool = True
) -> None:
    """Write weights as float16 (half the size; loading restores float32) and everything else.

    Args:
        model: Any PAM; it keeps its precision.
        processor: Its processor.
        folder: Made if missing.
        write: False in all processes but one; all must call, as shards are gathered.
    """
    whole_values = {name: whole(value).cpu() for name, value in model.state_dict().items()}
    half = {n: v.half() if v.is_floating_point() else v for n, v in whole_values.items()}
    if not write:
        return
    largest = max(float(value.abs().max()) for value in half.values())
    if largest == float("inf"):
        raise OverflowError("a weight does not fit float16")
    model.config.dtype = torch.float16
    model.save_pretrained(folder, state_dict=half)
    model.language_model.generation_config.to_json_file(folder / "generation_config.json")
    processor.save_pretrained(folder)
