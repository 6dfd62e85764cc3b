"""Models with random weights, to measure speed and memory where no checkpoint is at hand.

Knows published sizes; their answers are noise.
"""

from __future__ import annotations

import torch

from perceive_anything.assets import NANO
from perceive_anything.errors import OptionError
from perceive_anything.modeling import PamConfig, PamForConditionalGeneration, PamPerceiverConfig
from perceive_anything.modeling.convert.sizes import sam_config_of_size, sam_config_of_yaml
from perceive_anything.modeling.processing import PamImageProcessor, PamProcessor
from perceive_anything.pipeline import (
    Perceiver,
    accelerate,
    check_acceleration,
    choose_device,
    choose_dtype,
)
from perceive_anything.tasks import unknown

PREFIX = "random:"
# The language model's width, layers, heads, key-value heads, inner width and vocabulary.
SIZES = {
    "tiny": (64, 2, 4, 2, 128, 6144),
    "1.5b": (1536, 28, 12, 2, 8960, 151936),
    "3b": (2048, 36, 16, 2, 11008, 151936),
}
TINY_SAM = {
    "image_size": 128,
    "image_encoder": {
        "trunk": {
            "embed_dim": 16,
            "stages": [1, 1, 2, 1],
            "global_att_blocks": [3],
            "window_spec": [8, 4, 8, 4],
            "window_pos_embed_bkg_spatial_size": [4, 4],
        }
    },
    "memory_attention": {"num_layers": 1, "layer": {"dim_feedforward": 64}},
}


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
    model = PamForConditionalGeneration(random_config(size))
    side = model.sam.image_size
    processor = PamProcessor(
        PamImageProcessor(size={"height": side, "width": side}),
        PamProcessor.from_pretrained(NANO).tokenizer,
        image_rows=model.config.image_rows,
    )
    return Perceiver(accelerate(model.to(place, precision), quantize, False), processor, name)


def random_config(name: str) -> PamConfig:
    """Configuration of a key of `SIZES`."""
    width, layers, heads, kv_heads, inner, vocabulary = SIZES[name]
    sam = sam_config_of_yaml({"model": TINY_SAM}) if name == "tiny" else sam_config_of_size("large")
    text = {
        "model_type": "qwen2",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    }
    return PamConfig(
        sam_config=sam,
        perceiver_config=PamPerceiverConfig(),
        text_config=text,
    )
