"""A dry run of a PAM recipe: what it would take, and one step of it in small.

Knows sizes and a toy; needs neither weights nor data nor a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from perceive_anything.data.schema import (
    ByteRange,
    ClipRecord,
    ImageRecord,
    RegionRecord,
    TrackRecord,
)
from perceive_anything.modeling import PamConfig, PamForConditionalGeneration
from perceive_anything.modeling.processing import CLIP_FRAMES
from perceive_anything.modeling.sizes import config_of_size, random_model
from perceive_anything.training.config import PamRecipe
from perceive_anything.training.drawing import Source
from perceive_anything.training.loop import Report, make_accelerator
from perceive_anything.training.pam import PARTS, make_stage, run_stage
from perceive_anything.training.texts import Record, WrittenTexts

GIB = 2**30
TEXT_TOKENS = 100  # of a question and its answer, about
KEPT = 34  # bytes an activation of a layer takes, times tokens and width (arXiv 2205.05198)
SIDE, FRAMES = 96, 3


@dataclass(frozen=True, slots=True)
class Needs:
    """What training takes.

    Attributes:
        parameters: Of the whole model.
        learning: Of these, how many learn.
        image_tokens: Rows that the language model reads of a region of a picture, texts included.
        clip_tokens: The same for a clip of 16 frames.
        state_gib: Weights, gradients, AdamW's moments and averages, in float32.
        activations_gib: Of one batch of pictures or one clip, whichever is larger; an estimate.
    """

    parameters: int
    learning: int
    image_tokens: int
    clip_tokens: int
    state_gib: float
    activations_gib: float


def needs_of(recipe: PamRecipe) -> Needs:
    """What a recipe takes on one process, from the sizes alone."""
    config = config_of_size(recipe.published)
    with torch.device("meta"):
        model = PamForConditionalGeneration(config)
    names = tuple(part for name in recipe.learn for part in PARTS[name])
    counts = {name: p.numel() for name, p in model.named_parameters()}
    learning = sum(count for name, count in counts.items() if name.startswith(names))
    if recipe.lora is not None:
        learning = sum(c for name, c in counts.items() if name.startswith(PARTS["perceiver"]))
        learning += _lora_parameters(model, recipe.lora.rank)
    copies = 3 + bool(recipe.training.ema)  # gradient, two moments, average
    state = 4 * (sum(counts.values()) + copies * learning) / GIB
    texts = recipe.texts * TEXT_TOKENS
    image, clip = config.image_rows + texts, _clip_rows(config) + texts
    tokens = max(recipe.training.rows * recipe.training.per_row * image, clip)
    activations = _activations(config, tokens, recipe) / GIB
    return Needs(sum(counts.values()), learning, image, clip, state, activations)


def _clip_rows(config: PamConfig) -> int:
    perceiver = config.perceiver_config
    coarse = (config.grid_size // perceiver.frame_shuffle) ** 2
    others = CLIP_FRAMES - 1
    return config.image_rows + others * (coarse + perceiver.num_semantic_tokens + 2) + CLIP_FRAMES


def _lora_parameters(model: PamForConditionalGeneration, rank: int) -> int:
    layers = [
        module for name, module in model.language_model.named_modules()
        if isinstance(module, torch.nn.Linear) and "lm_head" not in name
    ]  # fmt: skip
    return sum(rank * (layer.in_features + layer.out_features) for layer in layers)


def _activations(config: PamConfig, tokens: int, recipe: PamRecipe) -> float:
    """Bytes of the language model's activations; with checkpointing one layer at a time."""
    text = config.text_config
    width, layers = text.hidden_size, text.num_hidden_layers
    size = 2 if recipe.precision == "bfloat16" else 4
    inner = 3 * size * tokens * text.intermediate_size
    layer = KEPT * size / 2 * tokens * width + inner
    checkpoints = size * tokens * width * layers + layer
    kept = checkpoints if recipe.gradient_checkpointing else layers * layer
    answers = recipe.training.rows * recipe.training.per_row * recipe.texts * TEXT_TOKENS
    return kept + 3 * 4 * answers * text.vocab_size


def dry_run(recipe: PamRecipe, report: Report = print) -> Needs:
    """Say what a recipe takes; a toy of the same classes does a step of pictures, one of clips.

    Args:
        recipe: Of kind "pam".
        report: Where the lines go.
    """
    needs, settings = needs_of(recipe), recipe.training
    report(
        f"PAM-{recipe.published}: {needs.parameters / 1e6:,.0f} million parameters, "
        f"{needs.learning / 1e6:,.1f} million learn"
    )
    report(
        f"a region of a picture is {needs.image_tokens:,} tokens, of a clip of {CLIP_FRAMES} "
        f"frames {needs.clip_tokens:,}; a step has {settings.batches} batches of {settings.rows} "
        f"pictures x {settings.per_row} regions, or of one clip"
    )
    report(
        f"memory of one process about {needs.state_gib + needs.activations_gib:.0f} GiB: state "
        f"{needs.state_gib:.1f}, activations {needs.activations_gib:.1f}; state sharded over 8 "
        f"processes {needs.state_gib / 8:.1f}"
    )
    with TemporaryDirectory() as folder:
        _toy_step(recipe, Path(folder), report)
    report("the toy learned, was saved, and all shapes fit")
    return needs


def _toy_step(recipe: PamRecipe, folder: Path, report: Report) -> None:
    torch.manual_seed(recipe.seed)
    accelerator = make_accelerator(recipe.precision)
    few = {"steps": 1, "rows": 2, "per_row": 2, "batches": 2 * accelerator.num_processes}
    settings = recipe.training.model_copy(update=few | {"workers": 0})
    toy = recipe.model_copy(update={"training": settings})
    model, processor = random_model("tiny")
    for record in (toy_picture(folder), toy_clip(folder)):
        stage = make_stage(toy, model, processor, [Source([record], WrittenTexts(), 1.0)])
        report(f"a toy learns from a {record.id}:")
        run_stage(toy, stage, folder / record.id, accelerator, {}, report)


def _noise(folder: Path, name: str) -> ByteRange:
    pixels = np.random.default_rng(len(name)).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.png")
    return ByteRange(str(folder / f"{name}.png"))


def toy_picture(folder: Path) -> Record:
    """A picture of noise with two regions."""
    texts = {"caption": "a square of noise", "caption_zh": "一块噪声"}
    regions = tuple(
        RegionRecord(i, "noise", "噪声", (8.0, 8.0, 40.0 + i, 60.0), None, "instance", texts)
        for i in range(2)
    )
    return ImageRecord(
        "picture", "toy", "", "train", (SIDE, SIDE), (), regions, _noise(folder, "picture")
    )


def toy_clip(folder: Path) -> Record:
    """A clip of noise with two regions, one of which enters late."""
    frames = tuple(_noise(folder, f"frame{i}") for i in range(FRAMES))
    boxes = {i: (8.0 + i, 8.0, 50.0, 60.0) for i in range(FRAMES)}
    late = {i: box for i, box in boxes.items() if i}
    texts = {"caption": "it flickers", "previous": "it was still"}
    regions = tuple(
        TrackRecord(i, "noise", None, known, {}, {}, texts) for i, known in enumerate((boxes, late))
    )
    return ClipRecord("clip", "toy", "", "train", (SIDE, SIDE), frames, regions)
