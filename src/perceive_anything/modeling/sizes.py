"""PAM by size, the published ones and a toy: configurations, and models with random weights."""

from __future__ import annotations

from perceive_anything.assets import NANO
from perceive_anything.modeling.configuration import PamConfig, PamPerceiverConfig
from perceive_anything.modeling.convert.sizes import sam_config_of_size, sam_config_of_yaml
from perceive_anything.modeling.model import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamImageProcessor, PamProcessor

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


def config_of_size(name: str) -> PamConfig:
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


def random_model(name: str) -> tuple[PamForConditionalGeneration, PamProcessor]:
    """A model of a key of `SIZES` with random weights; it reads and writes nano's words."""
    model = PamForConditionalGeneration(config_of_size(name))
    side = model.config.image_size
    processor = PamProcessor(
        PamImageProcessor(size={"height": side, "width": side}),
        PamProcessor.from_pretrained(NANO).tokenizer,
        image_rows=model.config.image_rows,
    )
    return model, processor
