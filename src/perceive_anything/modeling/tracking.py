"""SAM 2 through a video: its memory carries regions from frame to frame, PAM's taps are kept.

Knows tensors and frame numbers; no text, no files. The session, its bookkeeping and the memory
attention are transformers'; here are only the points where PAM differs from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import (
    Sam2VideoInferenceCache,
    Sam2VideoInferenceSession,
)

from perceive_anything.modeling.refiner import MaskRefiner
from perceive_anything.modeling.segmenter import (
    PAD_LABEL,
    ImageFeatures,
    PromptTensors,
    RegionFeatures,
    decode_regions,
)

REGION = "region"


class CachedPositions(nn.Module):
    """Sine positions of a feature map, made once a shape and in float32.

    Transformers makes them anew for every frame, and in the model's own precision.

    Args:
        made_by: The library's module.
    """

    def __init__(self, made_by: nn.Module) -> None:
        super().__init__()
        self.made_by = made_by
        self._made: dict[tuple[object, ...], Tensor] = {}

    def forward(
        self,
        shape: torch.Size,
        device: torch.device | str,
        dtype: torch.dtype,
        mask: Tensor | None = None,
    ) -> Tensor:
        """(B, C, H, W) positions; `mask` is part of the library's signature and always None."""
        key = (*shape[2:], str(device), dtype)
        if key not in self._made:
            with torch.inference_mode(mode=False), torch.no_grad():
                one = self.made_by(torch.Size((1, *shape[1:])), device, torch.float32)
                self._made[key] = one.to(dtype)
        return self._made[key].expand(shape[0], -1, -1, -1)


class PamSam2VideoModel(Sam2VideoModel):
    """SAM 2 whose video path decodes as that of images does, and keeps what the perceiver reads.

    Args:
        config: A `Sam2VideoConfig`.
        render_prompts: See `PamConfig.render_prompts`.
        choose_mask: See `PamConfig.choose_mask`.
        ask_clicks_twice: See `PamConfig.ask_clicks_twice`.
        mask_refiner: See `PamConfig.mask_refiner`.
        memory_selection: See `PamConfig.memory_selection`.
        close_up_size: See `PamConfig.close_up_size`.
    """

    def __init__(
        self,
        config: Any,
        *,
        render_prompts: bool = False,
        choose_mask: bool = False,
        ask_clicks_twice: bool = False,
        mask_refiner: list[int] | None = None,
        memory_selection: bool = False,
        close_up_size: int = 0,
    ) -> None:
        super().__init__(config)
        self.render_prompts, self.choose_mask = render_prompts, choose_mask
        self.ask_clicks_twice = ask_clicks_twice
        self.memory_selection, self.close_up_size = memory_selection, close_up_size
        width, masks = config.mask_decoder_config.hidden_size, self.mask_decoder.num_mask_tokens
        self.mask_refiner = MaskRefiner(mask_refiner, width, masks) if mask_refiner else None
        for part in (self.vision_encoder.neck, self.memory_encoder):
            part.position_encoding = CachedPositions(part.position_encoding)

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
        prompts = point_inputs["prompts"] if point_inputs is not None else _no_prompt(embedding)
        pixels = self._pixels(inference_session, frame_idx, len(embedding))
        features = ImageFeatures(embedding, (fine, middle), pixels)
        region = decode_regions(
            self,
            features,
            prompts,
            render=self.render_prompts,
            choose=self.choose_mask,
            twice=self.ask_clicks_twice,
        )
        return {
            "pred_masks": region.mask_logits[:, None],
            "high_res_masks": self._full_masks(region, prompts),
            "object_pointer": self.object_pointer(region),
            "object_score_logits": region.object_logit[:, None],
            REGION: region,
        }

    def _pixels(
        self, inference_session: Sam2VideoInferenceSession, frame_idx: int, rows: int
    ) -> Tensor | None:
        """(rows, 3, S, S) of a frame for close-ups; None without them, or if only maps are kept."""
        frames = inference_session.processed_frames
        if not self.close_up_size or not frames:
            return None
        return frames[frame_idx].expand(rows, -1, -1, -1)

    def _gather_memory_frame_outputs(
        self,
        inference_session: Sam2VideoInferenceSession,
        obj_idx: int,
        frame_idx: int,
        track_in_reverse_time: bool = False,
    ) -> list[tuple[int, dict[str, Any] | None]]:
        """What is read of the past, by its place in time: 0 for prompted frames, then backwards."""
        gathered = super()._gather_memory_frame_outputs(
            inference_session, obj_idx, frame_idx, track_in_reverse_time
        )
        if not self.memory_selection:
            return gathered
        prompted = [output for place, output in gathered if place == 0]
        tracked = inference_session.output_dict_per_obj[obj_idx]["non_cond_frame_outputs"]
        seen = [tracked[index] for index in last_seen(tracked, self.num_maskmem - 1)]
        return [*((0, output) for output in prompted), *enumerate(seen, start=1)]

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


def last_seen(tracked: Mapping[int, Mapping[str, Any]], count: int) -> list[int]:
    """The last `count` frames that show the object, latest first.

    Args:
        tracked: Outputs by frame number, in the order in which the frames came.
        count: How many at most.
    """
    shown = (i for i in reversed(tracked) if (tracked[i]["object_score_logits"] > 0).any())
    return list(islice(shown, count))


class Tracker:
    """Follows objects through frames that are pushed one after the other, each encoded once.

    What is kept of an object does not grow: its prompted frames, the last sixteen, and the few that
    `memory_selection` reads. Each object has a session of its own, so that adding, removing and
    refining one leaves the others alone.

    Args:
        sam: The SAM 2 part of a PAM.
        reverse: Frames come in descending order.
        prune: Forget frames that nothing reads any more; only tests switch it off.
    """

    def __init__(
        self, sam: PamSam2VideoModel, *, reverse: bool = False, prune: bool = True
    ) -> None:
        self.sam, self.reverse, self.prune = sam, reverse, prune
        self._sessions: dict[int, Sam2VideoInferenceSession] = {}
        self._cache = Sam2VideoInferenceCache(sam.device, sam.device)
        config = sam.config
        self._window = max(config.num_maskmem, config.max_object_pointers_in_encoder)

    @property
    def object_ids(self) -> list[int]:
        """The objects that are followed."""
        return list(self._sessions)

    def add(self, object_id: int, frame_index: int, prompts: PromptTensors) -> None:
        """Point at an object, new or known, on the frame that is pushed next.

        A new object starts there. For one that is followed already the prompt corrects what memory
        says, and the frame is remembered for good.

        Args:
            object_id: Any number.
            frame_index: Number of that frame.
            prompts: One row.
        """
        if object_id not in self._sessions:
            session = Sam2VideoInferenceSession(
                inference_device=self.sam.device,
                inference_state_device=self.sam.device,
                dtype=self.sam.dtype,
            )
            session.cache = self._cache
            session.obj_id_to_idx(object_id)
            self._sessions[object_id] = session
        session = self._sessions[object_id]
        inputs = {"prompts": prompts.to(self.sam.device), "point_labels": prompts.labels[:, None]}
        session.add_point_inputs(0, frame_index, inputs)
        if session.output_dict_per_obj[0]["cond_frame_outputs"]:  # known: corrected, not started
            session.frames_tracked_per_obj[0][frame_index] = {"reverse": self.reverse}
        session.obj_with_new_inputs.append(object_id)

    def remove(self, object_id: int) -> None:
        """Forget an object."""
        del self._sessions[object_id]

    @torch.inference_mode()
    def push(self, frame_index: int, pixel_values: Tensor) -> dict[int, RegionFeatures]:
        """The next frame -> what is seen of each object, by its id.

        Args:
            frame_index: Its number, above (below in reverse) all before it.
            pixel_values: (1, 3, S, S), normalised.
        """
        pixels = pixel_values.to(self.sam.device, self.sam.dtype)
        return {
            object_id: self._push(session, frame_index, pixels)
            for object_id, session in self._sessions.items()
        }

    def _push(
        self, session: Sam2VideoInferenceSession, frame_index: int, pixels: Tensor
    ) -> RegionFeatures:
        corrected = bool(session.obj_with_new_inputs)
        self.sam(session, frame_idx=frame_index, frame=pixels, reverse=self.reverse)
        kept = session.output_dict_per_obj[0]
        prompted, tracked = kept["cond_frame_outputs"], kept["non_cond_frame_outputs"]
        if corrected and frame_index in tracked:
            prompted[frame_index] = tracked.pop(frame_index)
        output = prompted.get(frame_index) or tracked[frame_index]
        session.processed_frames.pop(frame_index)
        del output["high_res_masks"]
        if self.prune:
            self._forget(session, frame_index)
        return output.pop(REGION)

    def _forget(self, session: Sam2VideoInferenceSession, frame_index: int) -> None:
        tracked = session.output_dict_per_obj[0]["non_cond_frame_outputs"]
        old = {index for index in tracked if abs(frame_index - index) >= self._window}
        if self.sam.memory_selection:
            old -= set(last_seen(tracked, self.sam.num_maskmem - 1))
        for index in old:
            del tracked[index]
            session.frames_tracked_per_obj[0].pop(index, None)


def _no_prompt(embedding_RCHW: Tensor) -> PromptTensors:
    """What a tracked frame is asked: one point that is none."""
    rows, device = len(embedding_RCHW), embedding_RCHW.device
    return PromptTensors(
        torch.zeros(rows, 1, 2, device=device),
        torch.full((rows, 1), PAD_LABEL, device=device),
        torch.arange(rows, device=device),
    )
