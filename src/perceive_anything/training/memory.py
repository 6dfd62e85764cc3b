"""Stage `memory`: SAM 2's memory learns to carry a region from frame to frame of made-up clips.

Knows cached frame features, simulated prompts and the inference code of the video model, which it
runs as it is, with gradients. Images take part in every step, so that they are not forgotten.
Shape suffixes: B clips (one object each), T frames, C width, H W low-resolution grid.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from perceive_anything.data.masklets import MaskletMaker
from perceive_anything.masks import mask_to_box_xyxy
from perceive_anything.modeling import EfficientNetLiteModel, PamForConditionalGeneration
from perceive_anything.modeling.segmenter import PromptTensors, RegionFeatures
from perceive_anything.modeling.tracking import REGION, PamSam2VideoModel
from perceive_anything.training.arrays import ArrayCache, digest
from perceive_anything.training.features import fine_shape, to_pixels
from perceive_anything.training.losses import dice_loss, pixel_loss
from perceive_anything.training.prompts import (
    SimulatedPrompt,
    box_prompt,
    click_prompt,
    mask_prompt,
    stack_prompts,
)
from perceive_anything.training.segmentation import (
    SegmentationBatch,
    SegmentationStage,
    neck_maps,
)
from perceive_anything.training.stage import Stage

MEMORY_PARTS = (
    "sam.memory_attention", "sam.memory_encoder", "sam.memory_temporal_positional_encoding",
    "sam.object_pointer_proj", "sam.temporal_positional_encoding_projection_layer",
    "sam.no_object_pointer", "sam.occlusion_spatial_embedding_parameter",
    "sam.mask_decoder.pred_obj_score_head",
)  # fmt: skip
IMAGES, IMAGE_REGIONS = 8, 6  # of a step, beside the clips
MAX_OBJECTS = 2
VISIBLE_CELLS = 2.0
FIRST_SHARE = 0.3
OBJECT_WEIGHT = 0.5
LEAVING_SHARE, SMALL_SHARE = 0.2, 0.3
SMALL_AREA = 0.025  # of the picture; what is small gets lost first


class ClipCache(ArrayCache):
    """The trunk's map at stride 4 and soft masks of every frame of the first clips of a maker.

    Row `clip * T + frame` holds the raw map and the masks of up to two objects at a quarter of the
    side.

    Args:
        folder: Made if missing.
        maker: Makes the clips.
        num_clips: How many.
        trunk: Encodes the frames.
    """

    def __init__(
        self, folder: Path, maker: MaskletMaker, num_clips: int, trunk: EfficientNetLiteModel
    ) -> None:
        self.maker, self.num_clips, self.trunk = maker, num_clips, trunk
        cells = maker.side // 4
        shapes = fine_shape(maker.side, trunk)
        shapes["masks"] = (MAX_OBJECTS, cells, cells)
        super().__init__(
            folder, shapes, num_clips * maker.num_frames, digest([shapes, _clip_digest(maker)])
        )

    @torch.no_grad()
    def build(self, report: Callable[[str], None] = print) -> None:
        """Make and encode the clips that are missing."""
        count = self.maker.num_frames
        if self.num_done == self.num_rows:
            return
        for clip in range(self.num_done // count, self.num_clips):
            masklet = self.maker.make(clip)
            pixels = torch.stack([to_pixels(frame, self.maker.side) for frame in masklet.frames])
            masks = F.avg_pool2d(torch.from_numpy(masklet.masks).float(), 4)
            masks = F.pad(masks, (0, 0, 0, 0, 0, MAX_OBJECTS - masks.shape[1]))
            self.append([self.trunk.fine_stage(pixels.to(self.trunk.device)), masks])
            if clip % 50 == 0:
                report(f"clips: {clip}/{self.num_clips}")

    def areas(self) -> np.ndarray:
        """Cells that each object covers on each frame, (clips, T, 2)."""
        masks = self.arrays[-1]
        areas = np.stack([masks[row].sum((1, 2), dtype=np.float32) for row in range(len(masks))])
        return areas.reshape(self.num_clips, self.maker.num_frames, MAX_OBJECTS)


def frame_maps(sam: PamSam2VideoModel, fine_BCHW: Tensor) -> list[Tensor]:
    """A cached map -> what the video model keeps of a frame: strides 4, 8 and 16."""
    fine, middle, embedding = neck_maps(sam, fine_BCHW)
    return [sam.mask_decoder.conv_s0(fine), sam.mask_decoder.conv_s1(middle), embedding]


def _clip_digest(maker: MaskletMaker) -> str:
    """Stands for how clips are made and from what."""
    first, records = maker.make(0), [record.id for record in maker.backgrounds]
    return digest(
        [maker.num_frames, maker.companions, *records, sha256(first.frames.tobytes()).hexdigest()]
    )


@dataclass(frozen=True, slots=True)
class ClipDraw:
    """B objects on T frames.

    Attributes:
        rows: Cache rows of the B objects, for each of the T frames.
        prompts: One prompt an object, on its first frame.
        target_TBHW: Soft masks.
    """

    rows: list[list[int]]
    prompts: PromptTensors
    target_TBHW: Tensor


class ClipSampler:
    """Draws objects and frames; a batch depends on the seed and its number alone.

    Args:
        cache: Filled.
        num_clips: Objects of a batch.
        max_frames: Most frames of a batch, two at least; it has at least half of them. Any of the
            clip's, in order or reversed, so that the motion between them varies.
        seed: Seed of all chance.
    """

    def __init__(self, cache: ClipCache, num_clips: int, max_frames: int, seed: int) -> None:
        self.cache, self.num_clips, self.seed = cache, num_clips, seed
        self.max_frames = min(max_frames, cache.maker.num_frames)
        self.areas = cache.areas()
        ever = self.areas.max(1) >= VISIBLE_CELLS
        self.objects = np.argwhere(ever).tolist()
        self.leaving = np.argwhere(ever & (self.areas.min(1) == 0)).tolist()
        small = self.areas.max(1) <= SMALL_AREA * (cache.maker.side // 4) ** 2
        self.small = np.argwhere(ever & small).tolist()

    def draw(self, number: int) -> ClipDraw:
        """What batch `number` is made of."""
        rng = random.Random(f"{self.seed}/{number}")
        num_frames = rng.randint(max(2, self.max_frames // 2), self.max_frames)
        rows, masks = [], []
        for _ in range(self.num_clips):
            clip, item, frames = self._draw(rng, num_frames)
            rows.append([clip * self.cache.maker.num_frames + frame for frame in frames])
            masks.append(self.cache.arrays[-1][rows[-1], item].astype(np.float32))
        prompts = [first_prompt(mask[0], rng) for mask in masks]
        index, side = list(range(self.num_clips)), self.cache.maker.side
        return ClipDraw(
            [list(row) for row in zip(*rows, strict=True)],
            stack_prompts(prompts, index, side),
            torch.from_numpy(np.stack(masks, 1)),
        )

    def _draw(self, rng: random.Random, num_frames: int) -> tuple[int, int, list[int]]:
        """Clip, object and frames; on the first one the object is well seen.

        Objects that are hidden for a while, and small ones, are drawn more often than they come.
        """
        shares = (LEAVING_SHARE, SMALL_SHARE, 1 - LEAVING_SHARE - SMALL_SHARE)
        groups = (self.leaving or self.objects, self.small or self.objects, self.objects)
        while True:
            clip, item = rng.choice(rng.choices(groups, shares)[0])
            frames = sorted(rng.sample(range(self.cache.maker.num_frames), num_frames))
            if rng.random() < 0.5:
                frames.reverse()
            areas = self.areas[clip, :, item]
            if areas[frames[0]] >= max(VISIBLE_CELLS, FIRST_SHARE * areas.max()):
                return clip, item, frames


def first_prompt(mask: np.ndarray, rng: random.Random) -> SimulatedPrompt:
    """How the region is pointed at: 50 % its mask, 30 % a box, 20 % a click."""
    kind = rng.random()
    box = mask_to_box_xyxy(mask >= 0.5)
    if kind < 0.5 and box is not None:
        return mask_prompt(mask)
    if kind < 0.8 and box is not None:
        return box_prompt(tuple(4.0 * edge for edge in box), rng, jitter=rng.choice((0.0, 0.1)))
    return click_prompt(mask, 4, rng, 1)


@contextmanager
def batched_memory(sam: PamSam2VideoModel) -> Iterator[None]:
    """Let memory attention answer in a shape whose batch transformers does not mix with cells.

    It gives (1, B, H W, C), and its caller drops dimension 1, which is right for B = 1 only.
    """
    handle = sam.memory_attention.register_forward_hook(lambda *call: call[-1].squeeze(0))
    try:
        yield
    finally:
        handle.remove()


def follow_clips(
    sam: PamSam2VideoModel,
    frames: Sequence[Sequence[Tensor]],
    positions: Sequence[Tensor],
    prompts: PromptTensors,
    pixels: Sequence[Tensor] | None = None,
) -> list[RegionFeatures]:
    """The inference code over B clips at once, as if one object had tensors of B rows.

    Args:
        sam: The video model, in eval mode.
        frames: Of each frame `fine`, `middle` and `embedding` (B, C, H, W).
        positions: The neck's position codes of the three maps, (H W, B, C).
        prompts: One row a clip, for the first frame.
        pixels: (3, S, S) of each frame, where all clips are one and close-ups are wanted.

    Returns:
        What is seen on each frame.
    """
    session = Sam2VideoInferenceSession(inference_device=sam.device, dtype=sam.dtype)
    session.obj_id_to_idx(0)
    regions = []
    with batched_memory(sam):
        for index, maps in enumerate(frames):
            first, flat = index == 0, [maps_BCHW.flatten(2).permute(2, 0, 1) for maps_BCHW in maps]
            features = {"vision_feats": flat, "vision_pos_embeds": list(positions)}
            session.cache.cache_vision_features(index, features)
            session.processed_frames = None if pixels is None else {index: pixels[index]}
            output = sam._run_single_frame_inference(
                session, index, 0, 1, first, {"prompts": prompts} if first else None, None,
                reverse=False, streaming=True,
            )  # fmt: skip
            regions.append(output.pop(REGION))
            masks, score = output.pop("high_res_masks"), output["object_score_logits"]
            if index + 1 < len(frames):
                memory, codes = sam._encode_new_memory(flat[-1], masks, score, first)
                output |= {"maskmem_features": memory, "maskmem_pos_enc": codes}
            session.store_output(0, index, output_value=output, is_conditioning_frame=first)
    return regions


def memory_loss(regions: Sequence[RegionFeatures], target_TBHW: Tensor) -> dict[str, Tensor]:
    """Terms of the loss: masks where the object is seen, presence wherever that is certain.

    Objects of which less than two cells are seen are neither there nor gone.
    """
    areas_TB = target_TBHW.sum((2, 3))
    seen_TB, gone_TB = areas_TB >= VISIBLE_CELLS, areas_TB == 0
    logits = torch.stack([region.all_masks[:, :1] for region in regions])[seen_TB]
    target = target_TBHW[seen_TB]
    terms = 2 * pixel_loss(logits, target) + dice_loss(logits, target)
    present = torch.stack([region.object_logit for region in regions])
    known = seen_TB | gone_TB
    presence = F.binary_cross_entropy_with_logits(present[known], seen_TB[known].float())
    return {"mask": terms.mean(), "object": OBJECT_WEIGHT * presence}


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """Cached maps (T * B, C, H, W) of B clips, frame by frame, prompts and soft masks.

    Attributes:
        fine_BCHW: The trunk's maps at stride 4.
        prompts: One row a clip, for its first frame.
        target_TBHW: Soft masks.
        images: Single pictures beside the clips, if any.
    """

    fine_BCHW: Tensor
    prompts: PromptTensors
    target_TBHW: Tensor
    images: SegmentationBatch | None


class MemoryStage(Stage[ClipBatch]):
    """Clips and images: cached maps -> the inference code -> losses.

    Args:
        model: Whose SAM 2 learns; in eval mode, as dropout and batch norms would disturb what the
            memory is made from.
        sampler: Draws the clips.
        images: Single pictures, which must not be forgotten meanwhile.
    """

    def __init__(
        self,
        model: PamForConditionalGeneration,
        sampler: ClipSampler,
        images: SegmentationStage | None = None,
    ) -> None:
        super().__init__()
        self.model, self.sampler, self.images = model.eval(), sampler, images
        self.seed = sampler.seed
        self.positions = frame_positions(model.sam)

    def batch(self, number: int) -> ClipBatch:
        """Clips by chance, and pictures."""
        draw = self.sampler.draw(number)
        rows = [row for frame in draw.rows for row in frame]
        images = None if self.images is None else self.images.batch(number)
        fine_BCHW = self.sampler.cache.read(rows)[0]
        return ClipBatch(fine_BCHW, draw.prompts, draw.target_TBHW, images)

    def forward(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Terms of the loss; their sum is minimised."""
        self.model.eval()
        num_clips, sam = len(batch.prompts.labels), self.model.sam
        maps = frame_maps(sam, batch.fine_BCHW)
        frames = list(zip(*(level.split(num_clips) for level in maps), strict=True))
        device = batch.fine_BCHW.device
        positions = [code.to(device).expand(-1, num_clips, -1) for code in self.positions]
        terms = memory_loss(follow_clips(sam, frames, positions, batch.prompts), batch.target_TBHW)
        if self.images is not None:
            terms |= {f"image_{name}": term for name, term in self.images(batch.images).items()}
        return terms


@torch.no_grad()
def frame_positions(sam: PamSam2VideoModel) -> list[Tensor]:
    """The neck's position codes of the three maps of a frame, (H W, 1, C)."""
    blank = torch.zeros(1, 3, sam.image_size, sam.image_size, device=sam.device, dtype=sam.dtype)
    return list(sam.get_image_features(blank, return_dict=True).fpn_position_encoding)
