"""SAM 2.1's configurations: those of its own yaml files and the four published sizes.

Knows settings only; the yaml is SAM 2's own, parsed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VisionConfig

from perceive_anything.errors import ModelError

# What SAM 2's code takes where its yaml says nothing.
_HIERA: dict[str, Any] = {
    "embed_dim": 96,
    "num_heads": 1,
    "stages": [2, 3, 16, 3],
    "global_att_blocks": [12, 16, 20],
    "window_pos_embed_bkg_spatial_size": [14, 14],
    "window_spec": [8, 4, 14, 7],
}
_TRUNKS: dict[str, dict[str, Any]] = {
    "tiny": {
        "stages": [1, 2, 7, 2],
        "global_att_blocks": [5, 7, 9],
        "window_pos_embed_bkg_spatial_size": [7, 7],
    },
    "small": {
        "stages": [1, 2, 11, 2],
        "global_att_blocks": [7, 10, 13],
        "window_pos_embed_bkg_spatial_size": [7, 7],
    },
    "base-plus": {"embed_dim": 112, "num_heads": 2},
    "large": {
        "embed_dim": 144,
        "num_heads": 2,
        "stages": [2, 6, 36, 4],
        "global_att_blocks": [23, 33, 43],
        "window_pos_embed_bkg_spatial_size": [7, 7],
        "window_spec": [8, 4, 16, 8],
    },
}
SIZES = tuple(_TRUNKS)


def size_named(text: str) -> str | None:
    """The published size that a name speaks of: "sam2.1_hiera_base_plus.pt" -> "base-plus"."""
    match = re.search(r"tiny|small|base[-_]?plus|large", text.lower())
    if match is None:
        return None
    return "base-plus" if match[0].startswith("base") else match[0]


def sam_config_of_size(name: str) -> Sam2VideoConfig:
    """Configuration of a published SAM 2.1: "tiny", "small", "base-plus" or "large"."""
    model = {"image_encoder": {"trunk": _TRUNKS[name]}, "no_obj_embed_spatial": True}
    return sam_config_of_yaml({"model": model})


def sam_config_of_yaml(
    settings: Mapping[str, Any], name: str = "the SAM 2 yaml"
) -> Sam2VideoConfig:
    """SAM 2's own configuration -> transformers'; a single click gives one mask, as in PAM.

    Args:
        settings: The parsed yaml; what it leaves out takes the value of SAM 2's code.
        name: Of the file, for messages.

    Raises:
        ModelError: It is not a SAM 2 configuration.
    """
    try:
        return _sam_config(settings["model"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(
            f"{name} is no configuration of SAM 2: {type(error).__name__}: {error}\n"
            "  Expected model.image_encoder.trunk and its neighbours, as in sam2.1_hiera_l.yaml.",
            code="bad_model",
        ) from error


def _sam_config(sam2: Mapping[str, Any]) -> Sam2VideoConfig:
    side = int(sam2.get("image_size", 1024))
    attention = sam2.get("memory_attention", {})
    grid = side // 16
    return Sam2VideoConfig(
        vision_config=_vision_config(sam2["image_encoder"], side),
        prompt_encoder_config={"image_size": side},
        mask_decoder_config={"dynamic_multimask_via_stability": True},
        image_size=side,
        num_maskmem=sam2.get("num_maskmem", 7),
        sigmoid_scale_for_mem_enc=sam2.get("sigmoid_scale_for_mem_enc", 20.0),
        sigmoid_bias_for_mem_enc=sam2.get("sigmoid_bias_for_mem_enc", -10.0),
        enable_occlusion_spatial_embedding=sam2.get("no_obj_embed_spatial", False),
        enable_temporal_pos_encoding_for_object_pointers=sam2.get("add_tpos_enc_to_obj_ptrs", True),
        multimask_output_in_sam=False,
        memory_attention_num_layers=attention.get("num_layers", 4),
        memory_attention_feed_forward_hidden_size=attention.get("layer", {}).get(
            "dim_feedforward", 2048
        ),
        memory_attention_rope_feat_sizes=[grid, grid],
    )


def _vision_config(encoder: Mapping[str, Any], side: int) -> Sam2VisionConfig:
    trunk, neck = _HIERA | dict(encoder["trunk"]), encoder.get("neck", {})
    width, heads, stages = trunk["embed_dim"], trunk["num_heads"], trunk["stages"]
    widths = [width * 2**stage for stage in range(len(stages))]
    hiera = Sam2HieraDetConfig(
        hidden_size=width,
        num_attention_heads=heads,
        image_size=[side, side],
        blocks_per_stage=stages,
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[heads * 2**stage for stage in range(len(stages))],
        window_size_per_stage=trunk["window_spec"],
        global_attention_blocks=trunk["global_att_blocks"],
        window_positional_embedding_background_size=trunk["window_pos_embed_bkg_spatial_size"],
    )
    return Sam2VisionConfig(
        backbone_config=hiera,
        backbone_channel_list=neck.get("backbone_channel_list", widths[::-1]),
        backbone_feature_sizes=[[side // stride, side // stride] for stride in (4, 8, 16)],
        fpn_hidden_size=neck.get("d_model", 256),
        fpn_top_down_levels=neck.get("fpn_top_down_levels", [2, 3]),
    )
