"""Fine-tuning a finished model, of any size, on a folder of your own: `recipes/finetune_lora.yaml`.

Reads from top to bottom. SAM 2 stays as it is and sees every region once; the perceiver and the
projectors learn, the language model learns through LoRA, which is merged into its weights.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from perceive_anything.data.jsonl import RECORDS, read_jsonl
from perceive_anything.data.readers.coco import read_coco
from perceive_anything.data.schema import TEXT_FIELDS, ImageRecord, RegionRecord
from perceive_anything.data.sources import fingerprint
from perceive_anything.errors import DataError
from perceive_anything.modeling.segmenter import ImageFeatures
from perceive_anything.pipeline import Perceiver
from perceive_anything.results import Region
from perceive_anything.training.config import FinetuneRecipe, LanguageConfig
from perceive_anything.training.export import save_model
from perceive_anything.training.initialise import ALIGNMENT_PARTS, freeze_all_but
from perceive_anything.training.language import LanguageStage
from perceive_anything.training.language_sampler import LanguageSampler
from perceive_anything.training.loop import Report, make_accelerator, silent, train_stage
from perceive_anything.training.lora import add_lora
from perceive_anything.training.record import claim_folder
from perceive_anything.training.regions import TrainingRegion, region_table
from perceive_anything.training.tapped import TappedCache
from perceive_anything.training.texts import ZH_SHARE, known_texts
from perceive_anything.types import Box

REHEARSAL, MOST_OVERLAP = "rehearsal", 0.3
BoxXyxy = tuple[float, float, float, float]


def finetune(
    recipe: FinetuneRecipe, data: Path, report: Report = print, *, resume: bool = False
) -> Path:
    """Teach a model the regions of a folder; goes on where an earlier call stopped.

    Args:
        recipe: What to do.
        data: Folder with images and one COCO file, see `data.readers.coco.read_coco`, or what
            `perceive data build` wrote of images.
        report: Where progress lines go.
        resume: There must be such a run already.

    Returns:
        Folder of the finished model, which `Perceiver.from_pretrained` loads.

    Raises:
        DataError: The folder cannot be used.
        ModelError: There is no such model to start from.
        ConfigError: The folder holds another run, or none to resume.
    """
    accelerator = make_accelerator()
    main = accelerator.is_main_process
    report = report if main else silent
    records = _read(data, recipe.max_bad, report)
    torch.set_num_threads(recipe.num_threads)
    torch.manual_seed(recipe.seed)
    settings, folder = recipe.training, Path(recipe.output)
    pictures = fingerprint(records)
    facts = claim_folder(folder, recipe, pictures, resume=resume, write=main)
    device = accelerator.device.type
    pam = Perceiver.from_pretrained(recipe.start_from, device=device, dtype="float32")
    model = pam.model
    report(f"{len(records)} images, {recipe.rehearsal} other regions of each rehearsed")
    records += rehearse(pam, records, recipe.rehearsal, recipe.seed)

    def encode(rows: Sequence[int]) -> ImageFeatures:
        pixels = pam.processor.pixel_values([records[row].load() for row in rows])
        return model.encode_image(pixels.to(model.device))

    regions = [r for group in region_table(records, pam.processor.side) for r in group]
    with accelerator.main_process_first():
        tapped = TappedCache(folder / "tapped", regions, model, encode, pictures, recipe.seed)
        tapped.build(report)
    freeze_all_but(model, (*ALIGNMENT_PARTS, *(() if recipe.lora else ("language_model",))))
    merge = add_lora(model.language_model, recipe.lora) if recipe.lora else lambda: None
    sampler = LanguageSampler(
        regions, _write, pam.processor, LanguageConfig(**settings.model_dump()), seed=recipe.seed,
        source_weights=_even_weights(regions),
        zh_share=ZH_SHARE * sum(r.region.label_zh is not None for r in regions) / len(regions),
    )  # fmt: skip
    stage = LanguageStage(model, pam.processor, tapped, sampler, recipe.spelling)
    model.train()
    train_stage(
        stage, settings, folder / "training", accelerator=accelerator, facts=facts, report=report
    )
    merge()
    model.eval()
    if main:
        save_model(model, pam.processor, folder / "model")
    accelerator.wait_for_everyone()
    return folder / "model"


def rehearse(
    pam: Perceiver, records: Sequence[ImageRecord], count: int, seed: int
) -> list[ImageRecord]:
    """Other regions of the images, with what the model says of them now, in both languages.

    Args:
        pam: The model.
        records: Images with annotated regions, which the others hardly touch.
        count: Regions of each image, at most.
        seed: Seed of the boxes.
    """
    made = []
    for record in records:
        boxes = _other_boxes(record, count, random.Random(f"{seed}/{record.id}"))
        if boxes:
            image, prompts = pam.image(record.load()), [Box(*box) for box in boxes]
            spoken = [image.perceive(prompts, language=language) for language in ("en", "zh")]
            said = zip(boxes, *spoken, strict=True)
            regions = tuple(_said(number, *both) for number, both in enumerate(said))
            made.append(replace(record, source=REHEARSAL, regions=regions))
    return made


def _read(data: Path, max_bad: int, report: Report) -> list[ImageRecord]:
    if not (data / RECORDS).is_file():
        return read_coco(data, max_bad=max_bad, report=report)
    built = read_jsonl(data / RECORDS, max_bad=max_bad, report=report)
    records = [record for record in built if isinstance(record, ImageRecord)]
    if not records:
        raise DataError(
            f'"{data}" holds clips only.\n'
            "  Fine-tuning learns from images; train on clips by a recipe of the stages, such as "
            "recipes/pam_1.5b_stage1.5.yaml.",
            code="bad_record",
        )
    return records


def _other_boxes(record: ImageRecord, count: int, rng: random.Random) -> list[BoxXyxy]:
    """Random boxes of 30 to 90 % of each side that hardly touch the annotated ones."""
    (width, height), boxes = record.size_wh, []
    for _ in range(10 * count):
        wide, high = (rng.uniform(0.3, 0.9) * side for side in record.size_wh)
        x, y = rng.uniform(0, width - wide), rng.uniform(0, height - high)
        box = (x, y, x + wide, y + high)
        if all(_overlap(box, region.box_xyxy) < MOST_OVERLAP for region in record.regions):
            boxes.append(box)
    return boxes[:count]


def _overlap(first: BoxXyxy, second: BoxXyxy) -> float:
    """Share of the smaller box that lies in the other."""
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second)]
    return max(0.0, wide) * max(0.0, high) / min(areas)


def _said(number: int, box_xyxy: BoxXyxy, english: Region, chinese: Region) -> RegionRecord:
    texts = {field: english.texts[field] or "" for field in TEXT_FIELDS}
    texts |= {f"{field}_zh": chinese.texts[field] or "" for field in TEXT_FIELDS}
    label, label_zh = (region.texts["label"] or "" for region in (english, chinese))
    return RegionRecord(number, label, label_zh, box_xyxy, None, "instance", texts)


def _even_weights(regions: Sequence[TrainingRegion]) -> dict[str, float]:
    """Rehearsed regions are drawn half of the time, as a whole."""
    counts = Counter(region.region.label for region in regions)
    sums: dict[bool, float] = defaultdict(float)
    for region in regions:
        sums[region.record.source == REHEARSAL] += counts[region.region.label] ** -0.5
    return {REHEARSAL: sums[False] / sums[True]} if sums[True] else {}


def _write(region: TrainingRegion, _: random.Random, language: str, __: int) -> dict[str, str]:
    return known_texts(region.region, language)
