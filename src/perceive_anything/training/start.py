"""Where a PAM begins: a finished model, or a SAM 2.1 and a language model that never met.

Knows folders and hub ids; no data.
"""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Sam2VideoConfig
from transformers.models.sam2_video import Sam2VideoModel

from perceive_anything.errors import ModelError
from perceive_anything.hub import find_folder
from perceive_anything.modeling import (
    PamConfig,
    PamForConditionalGeneration,
    PamPerceiverConfig,
)
from perceive_anything.modeling.loading import load_folder
from perceive_anything.modeling.processing import PamImageProcessor, PamProcessor
from perceive_anything.training.config import PartsConfig
from perceive_anything.training.initialise import reset_parts, start_perceiver

Started = tuple[PamForConditionalGeneration, PamProcessor]


def start_model(source: str | PartsConfig) -> Started:
    """The model that training begins from, in float32.

    Args:
        source: A finished model, or the parts of a new one.

    Raises:
        ModelError: It is missing, damaged, or its parts do not fit.
    """
    if isinstance(source, str):
        return load_folder(find_folder(source), torch.float32, None, find_folder)
    return join_parts(source)


def join_parts(parts: PartsConfig) -> Started:
    """A PAM of a SAM 2.1 and a language model; what lies between them begins anew."""
    try:
        sam_folder, text_folder = find_folder(parts.sam), find_folder(parts.language_model)
        sam_config = Sam2VideoConfig.from_pretrained(sam_folder)
        sam_config.multimask_output_in_sam = False  # a single click gives one mask, as in PAM
        config = PamConfig(
            sam_config=sam_config,
            perceiver_config=PamPerceiverConfig(
                hidden_size=sam_config.mask_decoder_config.hidden_size
            ),
            text_config=AutoConfig.from_pretrained(text_folder),
        )
        model = PamForConditionalGeneration(config)
        sam = Sam2VideoModel.from_pretrained(sam_folder, dtype=torch.float32)
        language_model = AutoModelForCausalLM.from_pretrained(text_folder, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(text_folder)
    except (OSError, ValueError, RuntimeError, AttributeError, TypeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"no PAM can be made of {parts.sam} and {parts.language_model}: {reason}\n"
            "  Expected two folders or hub ids in the layout of transformers.",
            code="bad_model",
        ) from error
    model.sam.load_state_dict(sam.state_dict())
    model.language_model.load_state_dict(language_model.state_dict())
    reset_parts(model.image_projector, model.semantic_projector)
    start_perceiver(model)
    side = config.image_size
    image_processor = PamImageProcessor(size={"height": side, "width": side})
    return model, PamProcessor(image_processor, tokenizer, image_rows=config.image_rows)
