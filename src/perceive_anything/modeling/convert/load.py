"""An opened original checkpoint -> model and processor in memory.

Knows transformers' loading; names and files are settled before.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Qwen2Tokenizer

from perceive_anything.errors import ModelError
from perceive_anything.modeling.configuration import PamConfig
from perceive_anything.modeling.convert.checkpoint import OriginalCheckpoint
from perceive_anything.modeling.model import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamImageProcessor, PamProcessor
from perceive_anything.modeling.prompts import CHAT_TOKENS

TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))


def load_original(
    checkpoint: OriginalCheckpoint, dtype: torch.dtype
) -> PamForConditionalGeneration:
    """The model of a released checkpoint.

    Args:
        checkpoint: From `open_original`.
        dtype: Precision of the weights in memory; position matrices stay float32.
    """
    state = {name: checkpoint.read(name) for name in checkpoint.tensors}
    model = PamForConditionalGeneration.from_pretrained(
        None, config=checkpoint.config, state_dict=state, dtype=dtype
    )
    model.language_model.generation_config = checkpoint.generation
    return model


def original_processor(folder: Path, config: PamConfig) -> PamProcessor:
    """The processor of a released folder: its Qwen tokenizer and the release's picture settings.

    Raises:
        ModelError: The tokenizer's files are missing or not those of the model.
    """
    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZER_FILES):
        raise ModelError(
            f"{folder} holds no tokenizer, expected tokenizer.json or vocab.json with merges.txt.\n"
            "  Download the folder again, or copy these files from Qwen2.5-Instruct.",
            code="bad_model",
        )
    try:
        tokenizer = Qwen2Tokenizer.from_pretrained(folder)
    except Exception as error:  # tokenizers raises bare Exceptions for a damaged file
        raise ModelError(
            f"the tokenizer of {folder} cannot be read: {error}\n  Download its files again.",
            code="bad_model",
        ) from error
    check_tokenizer(tokenizer, config, folder)
    side = {"height": config.image_size, "width": config.image_size}
    return PamProcessor(
        PamImageProcessor(size=side),
        tokenizer,
        image_rows=config.image_rows,
        image_token_id=config.image_token_id,
    )


def check_tokenizer(tokenizer: Qwen2Tokenizer, config: PamConfig, folder: Path) -> None:
    """See that the tokenizer knows the chat's marks and no token beyond the embedding.

    Raises:
        ModelError: It does not.
    """
    broken = [mark for mark in CHAT_TOKENS if len(tokenizer(mark).input_ids) != 1]
    rows = config.text_config.vocab_size
    if not broken and len(tokenizer) <= rows:
        return
    why = (
        f"it splits {', '.join(broken)}"
        if broken
        else f"it has {len(tokenizer)} tokens for {rows} rows"
    )
    raise ModelError(
        f"the tokenizer of {folder} is not that of the model: {why}.\n"
        "  Expected the tokenizer of Qwen2.5-Instruct; download its files again.",
        code="bad_model",
    )
