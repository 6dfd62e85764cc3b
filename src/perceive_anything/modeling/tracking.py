"""SAM 2 through a video: its memory carries regions from frame to frame, PAM's taps are kept.

Knows tensors and frame numbers; no text, no files. The session, its bookkeeping and the memory
attention are transformers'; here are only the points where PAM differs from it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from perceive_anything.modeling.segmenter import (
    PAD_LABEL,
    ImageFeatures,
    PromptTensors,
    RegionFeatures,
    decode_regions,
)

REGION = "region"


class PamSam2VideoModel(Sam2VideoModel):
    """SAM 2 whose video path answers with mask token 0 and keeps what the perceiver reads.

    Args:
        config: A `Sam2VideoConfig`.
        render_prompts: See `PamConfig.render_prompts`.
    """

    def __init__(self, config: Any, *, render_prompts: bool = False) -> None:
        super().__init__(config)
        self.render_prompts = render_prompts

    def _run_single_frame_inference(
        self,
        inference_session: Sam2VideoInferenceSession,
        frame_idx: int,
        obj_idx: int,
        batch_size: int,
        is_init_cond_frame: bool,
        point_inputs: dict[str, Any] | None,
        mask_inputs: Tensor | None,
        reverse: bool,
        prev_sam_mask_logits: Tensor | None = None,
        streaming: bool = False,
    ) -> dict[str, Any]:
        """One object on one frame: features with memory, PAM's decoder pass, object pointer."""
        maps, positions = self._prepare_vision_features(inference_session, frame_idx, batch_size)
        embedding = self._prepare_memory_conditioned_features(
            inference_session,
            frame_idx,
            obj_idx,
            is_init_cond_frame,
            maps[-1],
            positions[-1],
            inference_session.num_frames,
            reverse,
            streaming,
        )
        fine, middle = (
            flat.permute(1, 2, 0).unflatten(2, tuple(size))
            for flat, size in zip(maps[:2], self.backbone_feature_sizes[:2], strict=True)
        )
        prompts = (
            point_inputs["prompts"] if point_inputs is not None else _no_prompt(maps[-1].device)
        )
        region = decode_regions(
            self, ImageFeatures(embedding, (fine, middle)), prompts, render=self.render_prompts
        )
        return {
            "pred_masks": region.mask_logits[:, None],
            "high_res_masks": self._full_masks(region, prompts),
            "object_pointer": self.object_pointer(region),
            "object_score_logits": region.object_logit[:, None],
            REGION: region,
        }

    def object_pointer(self, region: RegionFeatures) -> Tensor:
        """(R, C) summary of each object for later frames; one learned vector where it is absent."""
        pointer = self.object_pointer_proj(region.mask_tokens[:, 1])
        return torch.where(region.object_logit[:, None] > 0, pointer, self.no_object_pointer)

    def _full_masks(self, region: RegionFeatures, prompts: PromptTensors) -> Tensor:
        """(R, 1, S, S) float32 logits for the memory; a mask prompt is its own answer."""
        side = (self.image_size, self.image_size)
        logits = region.mask_logits[:, None].float()
        full = F.interpolate(logits, size=side, mode="bilinear", align_corners=False)
        if prompts.masks is None:
            return full
        given = prompts.masks.flatten(1).any(1).view(-1, 1, 1, 1)
        return torch.where(given, 20.0 * prompts.masks.float() - 10.0, full)

    def _batch_encode_memories(
        self,
        inference_session: Sam2VideoInferenceSession,
        frame_idx: int,
        objects_needing_memory_encoding: list[int],
        high_res_masks_for_memory: list[Tensor],
        object_score_logits_for_memory: list[Tensor],
        is_mask_from_pts_per_obj: list[bool],
    ) -> None:
        """One object at a time: transformers binarises all masks of a frame if one is prompted."""
        for row in zip(
            objects_needing_memory_encoding,
            high_res_masks_for_memory,
            object_score_logits_for_memory,
            is_mask_from_pts_per_obj,
            strict=True,
        ):
            super()._batch_encode_memories(
                inference_session, frame_idx, *([value] for value in row)
            )

    def _encode_new_memory(
        self,
        current_vision_feats: Tensor,
        pred_masks_high_res: Tensor,
        object_score_logits: Tensor,
        is_mask_from_pts: bool,
    ) -> tuple[Tensor, Tensor]:
        """Frame and mask -> memory; as released, only that of a prompted frame is bfloat16."""
        height, width = self.backbone_feature_sizes[-1]
        pixels = current_vision_feats.permute(1, 2, 0).unflatten(2, (height, width))
        masks = (
            (pred_masks_high_res > 0).float() if is_mask_from_pts else pred_masks_high_res.sigmoid()
        )
        masks = masks * self.config.sigmoid_scale_for_mem_enc + self.config.sigmoid_bias_for_mem_enc
        memory, positions = self.memory_encoder(pixels, masks.to(pixels.dtype))
        if self.occlusion_spatial_embedding_parameter is not None:
            absent = (object_score_logits <= 0).to(memory.dtype)[..., None, None]
            memory = memory + absent * self.occlusion_spatial_embedding_parameter[..., None, None]
        if is_mask_from_pts:
            memory = memory.to(torch.bfloat16)
        return memory.flatten(2).permute(2, 0, 1), positions.to(pixels.dtype).flatten(2).permute(
            2, 0, 1
        )


class Tracker:
    """Follows the objects of one video, frame after frame; each frame is encoded once.

    Args:
        sam: The SAM 2 part of a PAM.
    """

    def __init__(self, sam: PamSam2VideoModel) -> None:
        self.sam = sam
        self.session = Sam2VideoInferenceSession(inference_device=sam.device, dtype=sam.dtype)

    def add(self, object_id: int, frame_index: int, prompts: PromptTensors) -> None:
        """Point at an object on a frame that is pushed next.

        Args:
            object_id: A new one.
            frame_index: Number of that frame.
            prompts: One row.
        """
        index = self.session.obj_id_to_idx(object_id)
        self.session.add_point_inputs(
            index,
            frame_index,
            {"prompts": prompts.to(self.sam.device), "point_labels": prompts.labels[:, None]},
        )
        self.session.obj_with_new_inputs.append(object_id)

    @torch.inference_mode()
    def push(self, frame_index: int, pixel_values: Tensor) -> dict[int, RegionFeatures]:
        """The next frame (1, 3, S, S), normalised -> what is seen of each object, by its id."""
        self.sam(self.session, frame_idx=frame_index, frame=pixel_values)
        self.session.processed_frames.pop(frame_index)
        return {
            object_id: self._outputs(index, frame_index).pop(REGION)
            for object_id, index in self.session._obj_id_to_idx.items()
        }

    def _outputs(self, object_index: int, frame_index: int) -> dict[str, Any]:
        kept = self.session.output_dict_per_obj[object_index]
        prompted = kept["cond_frame_outputs"]
        return (
            prompted[frame_index]
            if frame_index in prompted
            else kept["non_cond_frame_outputs"][frame_index]
        )


def _no_prompt(device: torch.device) -> PromptTensors:
    """What a tracked frame is asked: one point that is none."""
    return PromptTensors(
        torch.zeros(1, 1, 2, device=device),
        torch.full((1, 1), PAD_LABEL, device=device),
        torch.zeros(1, dtype=torch.long, device=device),
    )
