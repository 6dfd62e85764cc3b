"""The configuration of nano: PAM's classes at a size that any CPU carries.

Knows sizes and words.
"""

from __future__ import annotations

from perceive_anything.data.knowledge import knowledge
from perceive_anything.modeling import EfficientNetLiteConfig, PamConfig
from perceive_anything.training.config import ModelConfig

POINTER_WIDTH = 64
# Memories a frame reads: SAM 2 has 7; more than clips are long in training do harm (docs/log.md).
NUM_MEMORIES = 4
# Half of its single clicks get a score below 0.4, its logits are soft; a box around what a click
# found makes the better mask.
MASK_GENERATION = {
    "pred_iou_thresh": 0.5,
    "stability_score_thresh": 0.75,
    "stability_score_offset": 0.25,
    "multimask_output": False,
    "box_refinement": True,
    "min_mask_region_area": 100,
    "side_fill_thresh": 0.4,
}
MIN_MASK_PART = 0.03
LOOK_CLOSER_BELOW = 0.2
CLOSE_UP_SIZE = 256
LABEL_SPELLING = 0.3
LABEL_GUIDANCE = 2.0
IMAGENET_CLASSES = 1000


def nano_config(sizes: ModelConfig) -> PamConfig:
    """A `PamConfig` with an EfficientNet-Lite2 trunk and a Qwen2 of the given sizes."""
    side, width = sizes.image_size, sizes.sam_width
    grid = side // 16
    trunk = EfficientNetLiteConfig(
        block_channels=[16, 24, 48, 88, 120, 208, 352],
        block_repeats=[1, 3, 3, 4, 4, 5, 1],
        head_channels=1280,
    )
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": trunk,
        "backbone_channel_list": trunk.output_channels[::-1],
        "backbone_feature_sizes": [[side // 4] * 2, [side // 8] * 2, [grid] * 2],
        "fpn_hidden_size": width,
        "fpn_top_down_levels": [0, 1, 2, 3],
    }
    sam = {
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": width, "image_size": side},
        "mask_decoder_config": {
            "hidden_size": width,
            "mlp_dim": 2 * width,
            "iou_head_hidden_dim": width,
            "num_attention_heads": sizes.sam_heads,
        },
        "image_size": side,
        "multimask_output_in_sam": False,
        "num_maskmem": NUM_MEMORIES,
        "memory_attention_hidden_size": width,
        "memory_attention_num_layers": 2,
        "memory_attention_feed_forward_hidden_size": 2 * width,
        "memory_attention_rope_feat_sizes": [grid, grid],
        "memory_encoder_hidden_size": width,
        "memory_encoder_output_channels": POINTER_WIDTH,
        "mask_downsampler_embed_dim": width,
        "memory_fuser_embed_dim": width,
        "memory_fuser_intermediate_dim": 2 * width,
    }
    perceiver = {
        "hidden_size": width,
        "mlp_dim": 2 * width,
        "num_attention_heads": sizes.sam_heads,
    }
    text = {
        "model_type": "qwen2",
        "hidden_size": sizes.text_width,
        "intermediate_size": 3 * sizes.text_width,
        "num_hidden_layers": sizes.text_layers,
        "num_attention_heads": sizes.text_heads,
        "num_key_value_heads": sizes.text_heads,
        "vocab_size": sizes.vocab_size,
        "tie_word_embeddings": True,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
    }
    return PamConfig(
        sam_config=sam,
        perceiver_config=perceiver,
        text_config=text,
        render_prompts=True,
        video_captions=False,
        mask_generation=MASK_GENERATION,
        choose_mask=True,
        ask_clicks_twice=True,
        memory_selection=True,
        close_up_size=CLOSE_UP_SIZE,
        label_spelling=LABEL_SPELLING,
        label_guidance=LABEL_GUIDANCE,
        label_names=knowledge()["mentions"],
        trunk_classes=IMAGENET_CLASSES if sizes.trunk_names else 0,
        min_mask_part=MIN_MASK_PART,
        look_closer_below=LOOK_CLOSER_BELOW,
        mask_refiner=list(sizes.mask_refiner) if sizes.mask_refiner else None,
    )
