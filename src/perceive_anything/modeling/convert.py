"""Original PAM checkpoints -> ours: key names, stacked tensors and configurations.

Knows the names of the released code (arXiv 2506.05302), of SAM 2 and of transformers 5. Reads no
files and downloads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import (
    PreTrainedModel,
    Qwen2Config,
    Sam2HieraDetConfig,
    Sam2VideoConfig,
    Sam2VisionConfig,
)

from perceive_anything.errors import ModelError
from perceive_anything.modeling.configuration import PamConfig, PamPerceiverConfig

SAM_PREFIX = "model.vision_tower.sam2_model_predictor."
SAM_FAMILIES = (
    "image_encoder.",
    "sam_prompt_encoder.",
    "sam_mask_decoder.",
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "no_mem_",
    "no_obj_",
    "obj_ptr_",
    "mask_downsample.",
)
# What transformers keeps and the original lacks: a tied vocabulary head is the embedding itself.
HEAD, EMBEDDING = "language_model.lm_head.weight", "language_model.model.embed_tokens.weight"

_MASK_EMBED = dict(
    zip("01346", ("conv1", "layer_norm1", "conv2", "layer_norm2", "conv3"), strict=True)
)
_UPSCALING = {"0": "upscale_conv1", "1": "upscale_layer_norm", "3": "upscale_conv2"}
_MLP3 = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}
_MLP2 = {"0": "proj_in", "1": "proj_out"}


def _mask_downsampler(match: re.Match[str]) -> str:
    layer, part = divmod(int(match[1]), 3)
    if layer == 4:
        return "mask_downsampler.final_conv."
    return f"mask_downsampler.layers.{layer}.{('conv', 'layer_norm')[part]}."


_Replacement = str | Callable[[re.Match[str]], str]
# Two-way blocks: those of SAM 2's mask decoder and of the perceiver are the same.
_TWO_WAY_RULES: tuple[tuple[str, _Replacement], ...] = (
    (r"\.mlp\.layers\.([01])\.", lambda m: f".mlp.{_MLP2[m[1]]}."),
    (r"\.out_proj\.", ".o_proj."),
    (r"(^|\.)norm(\d|_final_attn)\.", r"\1layer_norm\2."),
)
_SAM_RULES: tuple[tuple[str, _Replacement], ...] = (
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    *_TWO_WAY_RULES,
    (
        r"^image_encoder\.trunk\.patch_embed\.proj\.",
        "vision_encoder.backbone.patch_embed.projection.",
    ),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (
        r"^sam_prompt_encoder\.mask_downscaling\.([01346])\.",
        lambda m: f"prompt_encoder.mask_embed.{_MASK_EMBED[m[1]]}.",
    ),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (
        r"(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head|obj_ptr_proj)"
        r"\.layers\.([012])\.",
        lambda m: f"{m[1]}.{_MLP3[m[2]]}.",
    ),
    (
        r"^sam_mask_decoder\.output_upscaling\.([013])\.",
        lambda m: f"mask_decoder.{_UPSCALING[m[1]]}.",
    ),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^memory_attention\.norm\.", "memory_attention.layer_norm."),
    (r"mask_downsampler\.encoder\.(\d+)\.", _mask_downsampler),
    (r"\.fuser\.", ".memory_fuser."),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv([12])\.", r".pointwise_conv\1."),
    (r"(\.memory_fuser\.layers\.\d+)\.norm\.", r"\1.layer_norm."),
    (r"\.pix_feat_proj\.", ".feature_projection."),
    (r"\.gamma$", ".scale"),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
)
_PERCEIVER_RULES: tuple[tuple[str, _Replacement], ...] = (
    *_TWO_WAY_RULES,
    (r"^pe_layer\.positional_encoding_gaussian_matrix$", "positional_embedding"),
    (r"^sem_tokens\.", "semantic_tokens."),
    (r"^(layers|final_attn_token_to_image|layer_norm_final_attn)\.", r"transformer.\1."),
)
_OUTER_RULES: tuple[tuple[str, _Replacement], ...] = (
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.mm_projector_img\.", "image_projector."),
    (r"^model\.mm_projector_semT\.", "semantic_projector."),
    (r"^model\.semT_newline$", "semantic_newline"),
    (r"^model\.(image|frame)_newline$", r"\1_newline"),
    (r"^model\.(embed_tokens|layers|norm)\.", r"language_model.model.\1."),
)
_PERCEIVER_PREFIX = "model.vision_resampler."
_SAM_POSITION = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_POINT = re.compile(r"sam_prompt_encoder\.point_embeddings\.(\d)\.weight")


def rename_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of a released checkpoint -> one of `PamForConditionalGeneration`.

    A name that belongs to no known family stays as it is, so that loading reports it.

    Args:
        state: Tensors under their original names. SAM 2's own checkpoint (the `model` entry of its
            file, names without prefix) may be merged in where a release leaves it out.
    """
    renamed: dict[str, Tensor] = {}
    points: dict[int, Tensor] = {}
    for key, tensor in state.items():
        name = key.removeprefix(SAM_PREFIX)
        if name != key or name.startswith(SAM_FAMILIES):
            if match := _POINT.fullmatch(name):
                points[int(match[1])] = tensor
            elif name == _SAM_POSITION:
                renamed["sam.shared_image_embedding.positional_embedding"] = tensor
                renamed["sam.prompt_encoder.shared_embedding.positional_embedding"] = tensor.clone()
            else:
                renamed["sam." + _apply(_SAM_RULES, name)] = tensor
        elif key.startswith(_PERCEIVER_PREFIX):
            name = _apply(_PERCEIVER_RULES, key.removeprefix(_PERCEIVER_PREFIX))
            renamed["perceiver." + name] = tensor
        else:
            renamed[_apply(_OUTER_RULES, key)] = tensor
    if points:
        stacked = torch.cat([points[label] for label in sorted(points)])
        renamed["sam.prompt_encoder.point_embed.weight"] = stacked
    return renamed


def load_original(model: PreTrainedModel, state: Mapping[str, Tensor]) -> None:
    """Load a released checkpoint into a model of the same sizes; nothing may be left over.

    Args:
        model: A `PamForConditionalGeneration`, from `config_from_original`.
        state: As in `rename_original`.

    Raises:
        ModelError: A tensor is missing, has another shape, or belongs nowhere.
    """
    renamed = rename_original(state)
    if model.config.text_config.tie_word_embeddings and EMBEDDING in renamed:
        renamed.setdefault(HEAD, renamed[EMBEDDING])
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        raise ModelError(
            f"the checkpoint does not fit the model.\n  {error}", code="bad_model"
        ) from error


def config_from_original(config: Mapping[str, Any], sam2_yaml: Mapping[str, Any]) -> PamConfig:
    """Configuration of a released checkpoint.

    Args:
        config: Its `config.json`; the language model's sizes lie at the top level.
        sam2_yaml: The SAM 2 configuration that it names, parsed (one `model` entry).
    """
    return PamConfig(
        sam_config=_sam_config(sam2_yaml["model"]),
        perceiver_config=PamPerceiverConfig(),
        text_config=_text_config(config),
        render_prompts=False,
    )


def _text_config(config: Mapping[str, Any]) -> Qwen2Config:
    names = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "hidden_act",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "rms_norm_eps",
        "tie_word_embeddings",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
    )
    rope = {"rope_type": "default", "rope_theta": config["rope_theta"]}
    given = {name: config[name] for name in names if name in config}
    return Qwen2Config(**given, rope_parameters=rope)


def _sam_config(sam2: Mapping[str, Any]) -> Sam2VideoConfig:
    """SAM 2's Hydra configuration -> transformers; a single click gives one mask, as released."""
    side, attention = int(sam2["image_size"]), sam2["memory_attention"]
    grid = side // 16
    return Sam2VideoConfig(
        vision_config=_vision_config(sam2["image_encoder"], side),
        prompt_encoder_config={"image_size": side},
        mask_decoder_config={"dynamic_multimask_via_stability": True},
        image_size=side,
        num_maskmem=sam2["num_maskmem"],
        sigmoid_scale_for_mem_enc=sam2["sigmoid_scale_for_mem_enc"],
        sigmoid_bias_for_mem_enc=sam2["sigmoid_bias_for_mem_enc"],
        enable_occlusion_spatial_embedding=sam2.get("no_obj_embed_spatial", False),
        enable_temporal_pos_encoding_for_object_pointers=sam2.get("add_tpos_enc_to_obj_ptrs", True),
        multimask_output_in_sam=False,
        memory_attention_num_layers=attention["num_layers"],
        memory_attention_feed_forward_hidden_size=attention["layer"]["dim_feedforward"],
        memory_attention_rope_feat_sizes=[grid, grid],
    )


def _vision_config(encoder: Mapping[str, Any], side: int) -> Sam2VisionConfig:
    trunk, neck = encoder["trunk"], encoder["neck"]
    width, heads, stages = trunk["embed_dim"], trunk["num_heads"], trunk["stages"]
    hiera = Sam2HieraDetConfig(
        hidden_size=width,
        num_attention_heads=heads,
        image_size=[side, side],
        blocks_per_stage=stages,
        embed_dim_per_stage=[width * 2**stage for stage in range(len(stages))],
        num_attention_heads_per_stage=[heads * 2**stage for stage in range(len(stages))],
        window_size_per_stage=trunk["window_spec"],
        global_attention_blocks=trunk["global_att_blocks"],
        window_positional_embedding_background_size=trunk["window_pos_embed_bkg_spatial_size"],
    )
    return Sam2VisionConfig(
        backbone_config=hiera,
        backbone_channel_list=neck["backbone_channel_list"],
        backbone_feature_sizes=[[side // stride, side // stride] for stride in (4, 8, 16)],
        fpn_hidden_size=neck["d_model"],
        fpn_top_down_levels=neck["fpn_top_down_levels"],
    )


def _apply(rules: tuple[tuple[str, _Replacement], ...], name: str) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
