"""Tensor names: ours -> those of the released PAM checkpoints and of SAM 2's own files.

Knows names only. The released code is arXiv 2506.05302's, SAM 2's is that of its 2.1 release.
"""

from __future__ import annotations

import re
from collections.abc import Callable

SAM, SAM_PREFIX = "sam.", "model.vision_tower.sam2_model_predictor."
HEAD, EMBEDDING = "language_model.lm_head.weight", "language_model.model.embed_tokens.weight"

_Rule = tuple[str, str | Callable[[re.Match[str]], str]]
_MLP2 = {"proj_in": "0", "proj_out": "1"}
_MLP3 = {"proj_in": "0", "layers.0": "1", "proj_out": "2"}
_UPSCALING = {"upscale_conv1": "0", "upscale_layer_norm": "1", "upscale_conv2": "3"}
_MASK_EMBED = dict(
    zip(("conv1", "layer_norm1", "conv2", "layer_norm2", "conv3"), "01346", strict=True)
)
# Two-way blocks: those of SAM 2's mask decoder and of the perceiver are the same.
_TWO_WAY: tuple[_Rule, ...] = (
    (r"\.mlp\.(proj_in|proj_out)\.", lambda m: f".mlp.layers.{_MLP2[m[1]]}."),
    (r"\.o_proj\.", ".out_proj."),
    (r"(^|\.)layer_norm(\d|_final_attn)\.", r"\1norm\2."),
)
_MEMORY: tuple[_Rule, ...] = (
    (r"^memory_attention\.layer_norm\.", "memory_attention.norm."),
    (
        r"\.mask_downsampler\.layers\.(\d)\.(conv|layer_norm)\.",
        lambda m: f".mask_downsampler.encoder.{3 * int(m[1]) + (m[2] == 'layer_norm')}.",
    ),
    (r"\.mask_downsampler\.final_conv\.", ".mask_downsampler.encoder.12."),
    (r"\.memory_fuser\.", ".fuser."),
    (r"(\.fuser\.layers\.\d+)\.layer_norm\.", r"\1.norm."),
    (r"\.depthwise_conv\.", ".dwconv."),
    (r"\.pointwise_conv([12])\.", r".pwconv\1."),
    (r"\.scale$", ".gamma"),
    (r"\.feature_projection\.", ".pix_feat_proj."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
    (r"^object_pointer_proj\.", "obj_ptr_proj."),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
)
_SAM: tuple[_Rule, ...] = (
    (
        r"(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head|object_pointer_proj)"
        r"\.(proj_in|layers\.0|proj_out)\.",
        lambda m: f"{m[1]}.layers.{_MLP3[m[2]]}.",
    ),
    (
        r"^mask_decoder\.(upscale_\w+)\.",
        lambda m: f"mask_decoder.output_upscaling.{_UPSCALING[m[1]]}.",
    ),
    (
        r"^prompt_encoder\.mask_embed\.(\w+)\.",
        lambda m: f"prompt_encoder.mask_downscaling.{_MASK_EMBED[m[1]]}.",
    ),
    (
        r"^vision_encoder\.backbone\.patch_embed\.projection\.",
        "image_encoder.trunk.patch_embed.proj.",
    ),
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^vision_encoder\.neck\.convs\.(\d+)\.", r"image_encoder.neck.convs.\1.conv."),
    *_MEMORY,
    *_TWO_WAY,
    (
        r"^(shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding$",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    (r"^(prompt_encoder|mask_decoder)\.", r"sam_\1."),
)
_PERCEIVER: tuple[_Rule, ...] = (
    *_TWO_WAY,
    (r"^transformer\.", ""),
    (r"^positional_embedding$", "pe_layer.positional_encoding_gaussian_matrix"),
    (r"^semantic_tokens\.", "sem_tokens."),
)
_OUTER: tuple[_Rule, ...] = (
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^language_model\.model\.", "model."),
    (r"^image_projector\.", "model.mm_projector_img."),
    (r"^semantic_projector\.", "model.mm_projector_semT."),
    (r"^semantic_newline$", "model.semT_newline"),
    (r"^(image|frame)_newline$", r"model.\1_newline"),
)


def original_names(name: str, *, tied: bool) -> tuple[str, ...]:
    """Where a released checkpoint keeps one tensor of `PamForConditionalGeneration`.

    Args:
        name: Key of our state dict.
        tied: Whether the vocabulary head is the token embedding (it is then stored once).

    Returns:
        One original name; several if they are to be concatenated along the first axis.
    """
    if name == HEAD and tied:
        name = EMBEDDING
    if name == "sam.prompt_encoder.point_embed.weight":
        prefix = f"{SAM_PREFIX}sam_prompt_encoder.point_embeddings"
        return tuple(f"{prefix}.{label}.weight" for label in range(4))
    if name.startswith(SAM):
        return (SAM_PREFIX + _apply(_SAM, name.removeprefix(SAM)),)
    if name.startswith("perceiver."):
        return ("model.vision_resampler." + _apply(_PERCEIVER, name.removeprefix("perceiver.")),)
    return (_apply(_OUTER, name),)


def _apply(rules: tuple[_Rule, ...], name: str) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
