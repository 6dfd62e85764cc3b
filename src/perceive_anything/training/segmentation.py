"""Stage `segmentation`: neck, prompt encoder and mask decoder learn to follow prompts.

Knows cached trunk features and simulated prompts. The trunk learns only where a recipe says so. A
helper head that is thrown away afterwards keeps the meaning of regions in the tensors that the
perceiver taps.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perceive_anything.modeling import EfficientNetLiteModel, PamForConditionalGeneration
from perceive_anything.modeling.close_ups import masked_mean
from perceive_anything.modeling.segmenter import (
    ImageFeatures,
    PromptTensors,
    RegionFeatures,
    project_pyramid,
)
from perceive_anything.modeling.tracking import PamSam2VideoModel
from perceive_anything.training.config import StageConfig
from perceive_anything.training.corrections import corrected_prompts
from perceive_anything.training.features import FeatureCache
from perceive_anything.training.loop import TRUNK_BLOCKS
from perceive_anything.training.losses import segmentation_loss
from perceive_anything.training.prompts import (
    SimulatedPrompt,
    box_prompt,
    central_click,
    click_prompt,
    mask_prompt,
    stack_prompts,
)
from perceive_anything.training.regions import TrainingRegion
from perceive_anything.training.stage import Stage

SEGMENTATION_PARTS = (
    "sam.vision_encoder.neck", "sam.vision_encoder.backbone.norms", "sam.prompt_encoder",
    "sam.mask_decoder", "sam.mask_downsample", "sam.no_memory_embedding",
)  # fmt: skip
REFINER_PARTS = ("sam.mask_refiner",)
TRUNK_PARTS = tuple(f"{TRUNK_BLOCKS}{group}." for group in (2, 3, 4))  # strides 8 and 16
TAPPED_WEIGHT = 2.0
CORRECTED = 0.4
CELL = 4  # pixels of the model input a cell of a target


def learning_parts(settings: StageConfig) -> tuple[str, ...]:
    """What of SAM 2 an image teaches."""
    if settings.refiner_only:
        return REFINER_PARTS
    return (*SEGMENTATION_PARTS, *REFINER_PARTS, *(TRUNK_PARTS if settings.trunk_rate else ()))


class MeaningHead(nn.Module):
    """Reads labels and an ImageNet teacher's opinion off the tapped tensors; training only."""

    def __init__(
        self,
        width: int,
        names: Iterable[str],
        trunk: EfficientNetLiteModel,
        classifier: nn.Linear,
    ) -> None:
        super().__init__()
        self.index = {name: number for number, name in enumerate(sorted(names))}
        self.label = nn.Linear(width, len(self.index))
        self.token_label = nn.Linear(width, len(self.index))
        self.teacher = nn.Linear(width, classifier.out_features)
        for name, part in (("trunk", trunk), ("classifier", classifier)):
            object.__setattr__(self, name, part)  # frozen, and not ours to save

    @torch.no_grad()
    def head_maps(self, fine_BCHW: Tensor) -> Tensor:
        """What the ImageNet classifier reads of cached maps, (B, 1280, H / 8, W / 8)."""
        return self.trunk.coarser_stages(fine_BCHW)[-1]

    def forward(
        self,
        regions: RegionFeatures,
        head_maps: Tensor,
        target_RHW: Tensor,
        names: Sequence[str],
    ) -> dict[str, Tensor]:
        """Terms of the loss; names that are not among those of the head give none."""
        known_names = [self.index.get(name, -1) for name in names]
        labels = torch.tensor(known_names, device=target_RHW.device)
        pooled = masked_mean(regions.embedding, target_RHW)
        with torch.no_grad():
            opinion = self.classifier(masked_mean(head_maps, target_RHW)).softmax(1)
        known = labels >= 0
        terms = {"teacher": F.cross_entropy(self.teacher(pooled), opinion)}
        if known.any():
            terms["label"] = F.cross_entropy(self.label(pooled[known]), labels[known])
            terms["token_label"] = F.cross_entropy(
                self.token_label(regions.mask_tokens[known, 1]), labels[known]
            )
        return terms


def tapped_difference(regions: RegionFeatures, taught: RegionFeatures) -> Tensor:
    """Squared difference of the tapped tensors, in shares of the variance of `taught`."""
    pairs = ((regions.embedding, taught.embedding), (regions.mask_tokens, taught.mask_tokens))
    return torch.stack(
        [(ours - theirs).square().mean() / theirs.var() for ours, theirs in pairs]
    ).sum()


def neck_maps(sam: PamSam2VideoModel, fine_BCHW: Tensor) -> list[Tensor]:
    """A cached map at stride 4 -> the neck's at strides 4, 8 and 16, by all that may learn."""
    encoder = sam.vision_encoder
    trunk = encoder.backbone
    maps = trunk.normalize([fine_BCHW, *trunk.coarser_stages(fine_BCHW)])
    return encoder.neck(maps)[0][-3:][::-1]


def image_features(model: PamForConditionalGeneration, fine_BCHW: Tensor) -> ImageFeatures:
    """Cached maps -> decoder features."""
    return project_pyramid(model.sam, neck_maps(model.sam, fine_BCHW))


@dataclass(frozen=True, slots=True)
class SegmentationDraw:
    """Regions of a few records, their prompts and targets."""

    rows: list[int]
    image_index: list[int]
    regions: list[TrainingRegion]
    prompts: list[SimulatedPrompt]
    rounds: list[int]
    target_RHW: Tensor
    has_mask: Tensor


class SegmentationSampler:
    """Draws batches; each depends on the seed and its number alone."""

    def __init__(
        self, table: list[list[TrainingRegion]], side: int, images: int, regions: int, seed: int
    ) -> None:
        self.side, self.images, self.max_regions, self.seed = side, images, regions, seed
        masked = [any(r.mask is not None for r in group) for group in table]
        self.with_mask = [group for group, ok in zip(table, masked, strict=True) if ok]
        self.without = [group for group, ok in zip(table, masked, strict=True) if group and not ok]

    def draw(self, number: int) -> SegmentationDraw:
        """Regions of `images` records, at most `regions` of each."""
        rng = random.Random(f"{self.seed}/{number}")
        groups = [
            rng.choice(self.without if self.without and rng.random() < 0.2 else self.with_mask)
            for _ in range(self.images)
        ]
        index, chosen, prompts, rounds = [], [], [], []
        for position, group in enumerate(groups):
            for region in rng.sample(group, min(len(group), self.max_regions)):
                index.append(position)
                chosen.append(region)
                prompts.append(self.prompt(region, rng))
                corrected = region.mask is not None and rng.random() < CORRECTED
                rounds.append(rng.randint(1, 3) if corrected and prompts[-1].mask is None else 0)
        cells = self.side // 4
        target = np.stack([target_mask(region, cells) for region in chosen])
        return SegmentationDraw(
            [group[0].row for group in groups], index, chosen, prompts, rounds,
            torch.from_numpy(target),
            torch.tensor([r.mask is not None for r in chosen]),
        )  # fmt: skip

    def prompt(self, region: TrainingRegion, rng: random.Random) -> SimulatedPrompt:
        """A prompt of a random kind: 30 % box, 55 % one click, the rest clicks, mask, box + click.

        Half of the single clicks are central, as people click.
        """
        kind = rng.random()
        box = box_prompt(region.box_xyxy, rng, jitter=rng.choice((0.0, 0.1, 0.15)))
        if region.mask is None or kind < 0.3:
            return box
        if kind < 0.575:
            return central_click(region.soft_mask(), 4)
        if kind < 0.85:
            return click_prompt(region.soft_mask(), 4, rng, 1)
        if kind < 0.9:
            return click_prompt(region.soft_mask(), 4, rng, rng.randint(2, 4))
        if kind < 0.97:
            return mask_prompt(region.soft_mask())
        click = click_prompt(region.soft_mask(), 4, rng, 1)
        return SimulatedPrompt(box.clicks + click.clicks)


def target_mask(region: TrainingRegion, cells: int) -> np.ndarray:
    """A region's mask as (cells, cells) floats of 4 x 4 pixels; else the inside of its box."""
    return box_mask(region.box_xyxy, cells, 4) if region.mask is None else region.soft_mask()


def box_mask(box_xyxy: tuple[float, ...], cells: int, cell: float) -> np.ndarray:
    """The inside of a box as a (cells, cells) float mask."""
    x1, y1, x2, y2 = (round(edge / cell) for edge in box_xyxy)
    mask = np.zeros((cells, cells), dtype=np.float32)
    mask[max(y1, 0) : max(y2, y1 + 1), max(x1, 0) : max(x2, x1 + 1)] = 1
    return mask


@dataclass(frozen=True, slots=True)
class SegmentationBatch:
    """Cached maps of B pictures, prompts and soft targets of R regions of them.

    Attributes:
        fine_BCHW: The trunk's maps at stride 4.
        prompts: One row a region.
        rounds_R: How many clicks are still to be made on mistakes.
        chance: Seed of these clicks.
        target_RHW: Soft masks; the inside of the box where there is none.
        has_mask: (R,) bool.
        names: The regions' labels.
    """

    fine_BCHW: Tensor
    prompts: PromptTensors
    rounds_R: Tensor
    chance: str
    target_RHW: Tensor
    has_mask: Tensor
    names: list[str]


class SegmentationStage(Stage[SegmentationBatch]):
    """Cached maps -> regions -> losses.

    Args:
        model: Whose SAM 2 learns.
        cache: Trunk features of the pictures.
        sampler: Draws the batches.
        head: For a model whose perceiver is still to be trained.
        teacher: For a finished model, a copy of it: what the perceiver reads stays near the copy's.
    """

    def __init__(
        self,
        model: PamForConditionalGeneration,
        cache: FeatureCache,
        sampler: SegmentationSampler,
        head: MeaningHead | None = None,
        teacher: PamForConditionalGeneration | None = None,
    ) -> None:
        super().__init__()
        self.model, self.cache, self.sampler = model, cache, sampler
        self.head, self.teacher = head, teacher
        self.seed = sampler.seed

    def batch(self, number: int) -> SegmentationBatch:
        """Pictures by chance, with some of their regions."""
        draw = self.sampler.draw(number)
        return SegmentationBatch(
            self.cache.read(draw.rows)[0],
            stack_prompts(draw.prompts, draw.image_index, self.sampler.side),
            torch.tensor(draw.rounds),
            f"{self.seed}/{number}",
            draw.target_RHW,
            draw.has_mask,
            [region.region.label for region in draw.regions],
        )

    def forward(self, batch: SegmentationBatch) -> dict[str, Tensor]:
        """Terms of the loss; their sum is minimised."""
        fine_BCHW, seen = batch.fine_BCHW, batch.has_mask
        features = image_features(self.model, fine_BCHW)
        prompts = corrected_prompts(
            partial(self.model.segment, features, once=True), batch.prompts, batch.target_RHW,
            batch.rounds_R, CELL, random.Random(batch.chance),
        )  # fmt: skip
        regions = self.model.segment(features, prompts, once=True)
        terms = segmentation_loss(regions.rows(seen), batch.target_RHW[seen])
        if self.head is not None:
            head_maps = self.head.head_maps(fine_BCHW)[prompts.image_index]
            meaning = self.head(regions, head_maps, batch.target_RHW, batch.names)
            terms |= {name: 0.4 * term for name, term in meaning.items()}
        if self.teacher is not None:
            with torch.no_grad():
                theirs = image_features(self.teacher, fine_BCHW)
                taught = self.teacher.segment(theirs, prompts, once=True)
            terms["tapped"] = TAPPED_WEIGHT * tapped_difference(regions, taught)
        return terms
