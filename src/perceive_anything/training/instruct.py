"""Stages 1, 1.5 and 2 of PAM: pictures and clips with prompts -> SAM 2, frozen -> texts.

Knows records, the model and its processor. Every picture is encoded once for all its regions, every
region is read once for all its texts. Source: arXiv 2506.05302.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from perceive_anything.data.schema import ClipRecord, ImageRecord, RegionRecord
from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor, clip_frames
from perceive_anything.modeling.segmenter import PromptTensors, RegionFeatures
from perceive_anything.training.branches import Branch, answer_branch, pack_branches
from perceive_anything.training.drawing import (
    CLIP_CLICKS,
    IMAGE_CLICKS,
    Drawer,
    Pick,
    draw_prompt,
    known_frames,
    on_frame,
)
from perceive_anything.training.language import answer_logits, answer_loss
from perceive_anything.training.memory import follow_clips, frame_positions
from perceive_anything.training.prompts import SimulatedPrompt, stack_prompts
from perceive_anything.training.regions import make_region
from perceive_anything.training.stage import Stage, to_device
from perceive_anything.training.texts import AnyRegion


@dataclass(frozen=True, slots=True)
class InstructBatch:
    """Pictures, or the frames of one clip, with R regions and their texts.

    Attributes:
        pixel_values: (B, 3, S, S) pictures, or frames in time order.
        prompts: R rows; of a clip, for its first frame.
        branches: Questions and answers of each region.
        is_clip: Whether `pixel_values` are frames.
    """

    pixel_values: Tensor
    prompts: PromptTensors
    branches: list[list[Branch]]
    is_clip: bool


class InstructStage(Stage[InstructBatch]):
    """Texts of regions through the whole model.

    Args:
        model: Perceiver and projectors learn, the language model maybe; SAM 2 does not.
        processor: Its processor.
        drawer: Draws records, regions and prompts.
        texts: Texts of each region, at most.
    """

    def __init__(
        self,
        model: PamForConditionalGeneration,
        processor: PamProcessor,
        drawer: Drawer,
        texts: int,
    ) -> None:
        super().__init__()
        self.model, self.processor, self.drawer, self.texts = model, processor, drawer, texts
        self.seed = drawer.seed
        self.head_ids = nn.Buffer(torch.tensor(processor.head_ids()), persistent=False)
        self.positions = frame_positions(model.sam)

    def batch(self, number: int) -> InstructBatch:
        """The pictures or the clip of batch `number`."""
        rng = random.Random(f"{self.seed}/batch/{number}")
        picks = self.drawer.draw(number)
        is_clip = isinstance(picks[0].record, ClipRecord)
        return self._clip(picks[0], rng) if is_clip else self._pictures(picks, rng)

    def weight(self, batch: InstructBatch) -> float:
        """Tokens to predict."""
        return sum(len(b.ids) - b.num_question for row in batch.branches for b in row)

    def _pictures(self, picks: Sequence[Pick], rng: random.Random) -> InstructBatch:
        prompts, index, branches = [], [], []
        for place, pick in enumerate(picks):
            for region in pick.regions:
                prompts.append(self._prompt(pick, region, rng, IMAGE_CLICKS))
                index.append(place)
                branches.append(self._branches(pick, region, rng))
        images = [pick.record for pick in picks if isinstance(pick.record, ImageRecord)]
        pixels = self.processor.pixel_values([image.load() for image in images])
        tensors = stack_prompts(prompts, index, self.processor.side)
        return InstructBatch(pixels, tensors, branches, is_clip=False)

    def _clip(self, pick: Pick, rng: random.Random) -> InstructBatch:
        clip = pick.record
        assert isinstance(clip, ClipRecord)
        start = known_frames(rng.choice(pick.regions))[0]
        seen = [region for region in pick.regions if start in known_frames(region)]
        frames = [start + frame for frame in clip_frames(len(clip.frames) - start)]
        prompts = [self._prompt(pick, on_frame(r, start), rng, CLIP_CLICKS) for r in seen]
        pixels = self.processor.pixel_values([clip.load(frame) for frame in frames])
        tensors = stack_prompts(prompts, list(range(len(seen))), self.processor.side)
        branches = [self._branches(pick, region, rng) for region in seen]
        return InstructBatch(pixels, tensors, branches, is_clip=True)

    def _prompt(
        self, pick: Pick, region: RegionRecord, rng: random.Random, clicks: int
    ) -> SimulatedPrompt:
        side = self.processor.side
        placed = make_region(0, pick.record, region, side)
        return draw_prompt(placed, pick.record.size_wh, side, rng, clicks)

    def _branches(self, pick: Pick, region: AnyRegion, rng: random.Random) -> list[Branch]:
        turns = pick.source.texts.turns(pick.record, region, rng)
        return [
            answer_branch(self.processor, self.processor.question_ids(turn.question), turn.answer)
            for turn in rng.sample(turns, min(len(turns), self.texts))
        ]

    def forward(self, batch: InstructBatch) -> dict[str, Tensor]:
        """Cross entropy of the answers, mean over their tokens."""
        visual = self._clip_rows(batch) if batch.is_clip else self._picture_rows(batch)
        head = self.model.get_input_embeddings()(self.head_ids)
        prefix = torch.cat([head.expand(len(visual), -1, -1), visual], 1)
        packed = to_device(pack_branches(batch.branches, prefix.shape[1]), prefix.device)
        return {"text": answer_loss(answer_logits(self.model, prefix, packed), packed)}

    def _picture_rows(self, batch: InstructBatch) -> Tensor:
        with torch.no_grad():
            seen = self.model.segment(self.model.encode_image(batch.pixel_values), batch.prompts)
        return self.model.visual_rows(seen)

    def _clip_rows(self, batch: InstructBatch) -> Tensor:
        with torch.no_grad():
            seen = self._follow(batch)
        return self.model.clip_rows(seen)

    def _follow(self, batch: InstructBatch) -> list[RegionFeatures]:
        """The regions on each frame, by the inference code of the video model."""
        sam, count = self.model.sam, len(batch.branches)
        pyramid = sam.vision_encoder(batch.pixel_values).fpn_hidden_states
        decoder = sam.mask_decoder
        maps = [decoder.conv_s0(pyramid[0]), decoder.conv_s1(pyramid[1]), pyramid[2]]
        frames = [
            [level[i].expand(count, -1, -1, -1) for level in maps]
            for i in range(len(batch.pixel_values))
        ]
        positions = [code.to(maps[0].device).expand(-1, count, -1) for code in self.positions]
        return follow_clips(sam, frames, positions, batch.prompts, list(batch.pixel_values))
