"""Low-rank adaptation of the language model, by peft (arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Callable

from transformers import PreTrainedModel

from perceive_anything.errors import require_package
from perceive_anything.training.config import LoraSettings


def add_lora(language_model: PreTrainedModel, settings: LoraSettings) -> Callable[[], None]:
    """Put trainable low-rank pairs beside every linear layer of the decoder.

    Args:
        language_model: Changed in place; the rest of it is frozen.
        settings: Rank, scale and dropout.

    Returns:
        Call it after training: adds the pairs to the weights and takes them out.
    """
    peft = require_package("peft", extra="train")
    wrapper = peft.get_peft_model(
        language_model,
        peft.LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules="all-linear",
        ),
    )
    return wrapper.merge_and_unload
