"""One stage of training a PAM of any size: `recipes/pam_*.yaml`, `kind: pam`.

Reads from top to bottom; a second call goes on where the first one stopped.
"""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator

from perceive_anything.data.lexicon import Lexicon
from perceive_anything.data.sources import fingerprint, read_source
from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor
from perceive_anything.training.arrays import digest
from perceive_anything.training.config import PamRecipe
from perceive_anything.training.drawing import Drawer, Source
from perceive_anything.training.export import save_model
from perceive_anything.training.initialise import ALIGNMENT_PARTS, freeze_all_but
from perceive_anything.training.instruct import InstructStage
from perceive_anything.training.loop import Report, make_accelerator, silent, train_stage
from perceive_anything.training.lora import add_lora
from perceive_anything.training.record import claim_folder
from perceive_anything.training.start import start_model
from perceive_anything.training.texts import ComposedTexts, WrittenTexts

PARTS = {
    "perceiver": (*ALIGNMENT_PARTS, "frame_newline"),
    "language_model": ("language_model",),
}


def train_pam(
    recipe: PamRecipe, data: Path, report: Report = print, *, resume: bool = False
) -> Path:
    """Train one stage of a PAM, in as many processes as `accelerate launch` started.

    Args:
        recipe: What to do.
        data: Folder that the recipe's sources lie in.
        report: Where progress lines go.
        resume: There must be such a run already.

    Returns:
        Folder of the finished model, which `Perceiver.from_pretrained` loads.

    Raises:
        DataError: A source cannot be used.
        ModelError: There is no such model to start from.
        ConfigError: The folder holds another run, or none to resume.
    """
    accelerator, folder = make_accelerator(recipe.precision), Path(recipe.output)
    report = report if accelerator.is_main_process else silent
    torch.set_num_threads(recipe.num_threads)
    torch.manual_seed(recipe.seed)
    sources = open_sources(recipe, data, report)
    seen = digest(fingerprint(source.records) for source in sources)
    main = accelerator.is_main_process
    facts = claim_folder(folder, recipe, seen, resume=resume, write=main)
    model, processor = start_model(recipe.start_from)
    stage = make_stage(recipe, model, processor, sources)
    return run_stage(recipe, stage, folder, accelerator, facts, report)


def open_sources(recipe: PamRecipe, data: Path, report: Report) -> list[Source]:
    """Records and texts of every source of the recipe."""
    return [
        Source(
            read_source(source, data, report),
            ComposedTexts(Lexicon.load(data / source.path))
            if source.format == "packs"
            else WrittenTexts(),
            source.weight,
        )
        for source in recipe.data
    ]


def make_stage(
    recipe: PamRecipe,
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    sources: list[Source],
) -> InstructStage:
    """The stage of a recipe over any model and records."""
    settings = recipe.training
    drawer = Drawer(
        sources, rows=settings.rows, per_row=settings.per_row, batches=settings.batches,
        seed=recipe.seed,
    )  # fmt: skip
    return InstructStage(model, processor, drawer, recipe.texts)


def run_stage(
    recipe: PamRecipe,
    stage: InstructStage,
    folder: Path,
    accelerator: Accelerator,
    facts: dict[str, str],
    report: Report,
) -> Path:
    """Train and save."""
    model, main = stage.model, accelerator.is_main_process
    learn = [part for name in recipe.learn for part in PARTS[name]]
    freeze_all_but(model, tuple(learn if recipe.lora is None else PARTS["perceiver"]))
    merge = add_lora(model.language_model, recipe.lora) if recipe.lora else lambda: None
    model.train()
    model.sam.eval()
    if recipe.gradient_checkpointing:
        settings = {"use_reentrant": False}
        model.language_model.activation_checkpointing_enable(settings)
    count = sum(p.numel() for p in stage.parameters() if p.requires_grad)
    report(f"{count / 1e6:,.1f} million parameters learn")
    train_stage(
        stage, recipe.training, folder / "training",
        accelerator=accelerator, facts=facts, report=report,
    )  # fmt: skip
    merge()
    model.eval()
    if recipe.gradient_checkpointing:
        model.language_model.activation_checkpointing_disable()
    save_model(model, stage.processor, folder / "model", write=main)
    accelerator.wait_for_everyone()
    return folder / "model"
