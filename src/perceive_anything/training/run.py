"""A whole training run: from packs and ImageNet weights to a folder that `Perceiver` loads.

Reads as the recipe does, from top to bottom; every step that is done is skipped on a second call.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from transformers import AutoTokenizer

from perceive_anything.assets import NANO
from perceive_anything.data.augment import iter_views, write_pack
from perceive_anything.data.compose import compose_texts
from perceive_anything.data.context import RegionContext, make_context
from perceive_anything.data.corpus import is_validation, iter_corpus
from perceive_anything.data.human_captions import told_things
from perceive_anything.data.lexicon import Entry, Lexicon
from perceive_anything.data.masklets import MaskletMaker
from perceive_anything.data.packs import read_packs
from perceive_anything.data.sources import fingerprint
from perceive_anything.data.tokenizer import train_tokenizer
from perceive_anything.errors import ConfigError
from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamImageProcessor, PamProcessor
from perceive_anything.modeling.prompts import TASK_TEXTS, chat_pieces
from perceive_anything.modeling.segmenter import ImageFeatures
from perceive_anything.modeling.trunk_names import NAME_LENGTH, NO_CLASS, NO_TOKEN
from perceive_anything.tasks import TEXT_TASKS
from perceive_anything.training.config import LanguageConfig, Recipe, StageConfig
from perceive_anything.training.export import save_model
from perceive_anything.training.features import IMAGE_MEAN, IMAGE_STD, FeatureCache, to_pixels
from perceive_anything.training.initialise import (
    ALIGNMENT_PARTS,
    MEANS_PARTS,
    ROW_PARTS,
    freeze_all_but,
    initialise,
    load_finished,
    start_memory,
    start_perceiver,
)
from perceive_anything.training.language import LanguageStage, spelled_labels
from perceive_anything.training.language_sampler import LanguageSampler
from perceive_anything.training.loop import Report, make_accelerator, silent, train_stage
from perceive_anything.training.memory import (
    IMAGE_REGIONS,
    IMAGES,
    MEMORY_PARTS,
    ClipCache,
    ClipSampler,
    MemoryStage,
    frame_maps,
)
from perceive_anything.training.nano import nano_config
from perceive_anything.training.pretraining import PretrainingStage
from perceive_anything.training.record import claim_folder
from perceive_anything.training.regions import TrainingRegion, region_table
from perceive_anything.training.segmentation import (
    MeaningHead,
    SegmentationSampler,
    SegmentationStage,
    image_features,
    learning_parts,
)
from perceive_anything.training.stage import Stage
from perceive_anything.training.tapped import TappedCache
from perceive_anything.training.trunk import imagenet_weights, load_classifier, load_trunk

SYNTHETIC_REGIONS, TASK_TEXT_REPEATS = 6000, 200


class Run:
    """The state of a run: recipe, folders, model, processor, records.

    Args:
        recipe: What to do.
        data: Folder with the packs.
        report: Where progress lines go.
        resume: There must be such a run already.
    """

    def __init__(
        self, recipe: Recipe, data: Path, report: Report = print, *, resume: bool = False
    ) -> None:
        torch.set_num_threads(recipe.num_threads)
        torch.manual_seed(recipe.seed)
        self.recipe, self.data = recipe, data
        self.accelerator = make_accelerator(recipe.precision)
        main = self.accelerator.is_main_process
        self.report = report if main else silent
        self.folder = Path(recipe.output)
        pictures = fingerprint(list(read_packs(data, recipe.packs)))
        self.facts = claim_folder(self.folder, recipe, pictures, resume=resume, write=main)
        self.lexicon = Lexicon.load(data)
        self.contexts: dict[tuple[int, int], RegionContext] = {}
        with self.accelerator.main_process_first():
            self.processor = self.make_processor()
        if self.processor.side != recipe.model.image_size:
            raise ConfigError(
                f'"{recipe.start_from}" reads images of side {self.processor.side}, the recipe '
                f"{recipe.model.image_size}.\n  Set model.image_size to that of the model.",
                code="bad_config",
            )
        self.model = PamForConditionalGeneration(nano_config(recipe.model)).eval()
        initialise(self.model)
        self.trunk = self.model.sam.vision_encoder.backbone
        imagenet = imagenet_weights()
        load_trunk(self.trunk, imagenet)
        self.classifier = load_classifier(imagenet)
        self.classes = self.name_classes()
        if recipe.start_from:
            done = PamForConditionalGeneration.from_pretrained(self.start_folder())
            load_finished(self.model, done)
        finished = recipe.start_from and not recipe.alignment.steps
        self.teacher = deepcopy(self.model).eval().requires_grad_(False) if finished else None

    def name_classes(self) -> tuple[Entry, ...]:
        """The trunk's classes get the names of the lexicon, if it has them all."""
        classes = self.lexicon.of_source("imagenet")
        if self.model.trunk_names is None or len(classes) != self.classifier.out_features:
            return ()
        ids = spelled_labels(self.processor, [entry.label for entry in classes], NAME_LENGTH)
        self.model.trunk_names.load(self.classifier, ids.clamp(min=NO_TOKEN))
        return classes

    def start_folder(self) -> Path:
        """The folder of the model that the run goes on from."""
        name = self.recipe.start_from
        return NANO if name == "nano" else Path(name)

    def make_processor(self) -> PamProcessor:
        """The processor; its tokenizer is trained on the packs' words if there is none yet."""
        if self.recipe.start_from:
            return PamProcessor.from_pretrained(self.start_folder())
        folder, sizes = self.folder / "tokenizer", self.recipe.model
        if not (folder / "tokenizer.json").exists():
            lines = list(
                iter_corpus(self.lexicon, random.Random(self.recipe.seed), SYNTHETIC_REGIONS)
            )
            pairs = [(task, language) for language in TASK_TEXTS for task in TEXT_TASKS]
            lines += [piece for pair in pairs for piece in chat_pieces(*pair)] * TASK_TEXT_REPEATS
            self.report(f"tokenizer: {train_tokenizer(lines, sizes.vocab_size, folder)}")
        image_processor = PamImageProcessor(
            size={"height": sizes.image_size, "width": sizes.image_size},
            image_mean=[IMAGE_MEAN] * 3,
            image_std=[IMAGE_STD] * 3,
        )
        rows = nano_config(sizes).image_rows
        return PamProcessor(image_processor, AutoTokenizer.from_pretrained(folder), image_rows=rows)

    def pretrain(self) -> None:
        """The language model learns the words."""
        settings = self.recipe.pretraining
        freeze_all_but(self.model, ("language_model",))
        stage = PretrainingStage(
            self.model, self.processor, self.lexicon, self.human_captions(),
            num_rows=settings.rows, num_tasks=settings.per_row, seed=self.recipe.seed,
        )  # fmt: skip
        self.train("pretraining", stage, settings)

    def human_captions(self) -> list[str]:
        """Those of all pictures but the ones to validate with."""
        return [
            " ".join(caption.split())
            for image_id, group in self.lexicon.captions.items()
            if not is_validation(image_id)
            for caption in group
        ]

    def prepare(self) -> None:
        """Augmented views, and the frozen trunk's maps of every picture."""
        with self.accelerator.main_process_first():
            records = [
                *read_packs(self.data, self.recipe.packs, split="train"),
                *read_packs(self.make_views().parent),
            ]
            self.cache = FeatureCache(
                self.folder / "features", records, self.recipe.model.image_size, self.trunk
            )
            self.cache.build(self.report)
        self.table = region_table(records, self.recipe.model.image_size)

    def make_views(self) -> Path:
        """The pack of augmented views, made if it is missing."""
        views = self.folder / "views" / "views.tar"
        if not views.exists():
            views.parent.mkdir(exist_ok=True)
            train = list(read_packs(self.data, split="train"))
            made = iter_views(
                train, self.recipe.model.image_size, self.recipe.views.crops,
                self.recipe.views.pastes, self.recipe.seed, self.recipe.views.maskless,
                self.recipe.views.zooms,
            )  # fmt: skip
            made = islice(made, self.recipe.views.limit)
            self.report(f"{write_pack(views, made)} augmented views")
        return views

    def image_stage(
        self, settings: StageConfig, rows: int, per_row: int, head: MeaningHead | None = None
    ) -> SegmentationStage:
        """The loss of `rows` images with `per_row` regions each at most."""
        teacher = None if settings.refiner_only else self.teacher
        sampler = SegmentationSampler(
            self.table, self.recipe.model.image_size, rows, per_row, self.recipe.seed
        )
        return SegmentationStage(self.model, self.cache, sampler, head, teacher)

    def segment(self) -> None:
        """SAM 2 learns to follow prompts."""
        settings = self.recipe.segmentation
        freeze_all_but(self.model, learning_parts(settings))
        head = None
        if self.teacher is None:
            names = {region.region.label for group in self.table for region in group}
            width = self.model.config.perceiver_config.hidden_size
            imagenet = deepcopy(self.trunk).eval().requires_grad_(False)
            head = MeaningHead(width, names, imagenet, self.classifier)
        stage = self.image_stage(settings, settings.rows, settings.per_row, head)
        self.train("segmentation", stage, settings)
        if not self.recipe.start_from:
            start_perceiver(self.model)

    def follow(self) -> None:
        """SAM 2 learns to follow regions through made-up clips, with images beside them."""
        settings, clips = self.recipe.memory, self.recipe.clips
        if not settings.steps:
            return
        records = read_packs(self.data, split="train")
        maker = MaskletMaker(
            records, self.recipe.model.image_size, clips.frames, self.recipe.seed, clips.companions
        )
        with self.accelerator.main_process_first():
            cache = ClipCache(self.folder / "clips", maker, clips.count, self.trunk)
            cache.build(self.report)
        if not self.model.sam.memory_temporal_positional_encoding.any():  # nobody has trained it
            first = cache.read(range(min(64, cache.num_rows)))[0]
            maps = frame_maps(self.model.sam, first.to(self.model.device))
            start_memory(self.model, maps[2])
        freeze_all_but(self.model, (*learning_parts(settings), *MEMORY_PARTS))
        sampler = ClipSampler(cache, settings.rows, settings.per_row, self.recipe.seed)
        images = self.image_stage(settings, IMAGES, IMAGE_REGIONS)
        self.train("memory", MemoryStage(self.model, sampler, images), settings)

    def write_texts(
        self, region: TrainingRegion, rng: random.Random, language: str, named: int
    ) -> dict[str, str]:
        """Texts of a region, maybe as one of a class; facts are measured when it is first drawn."""
        key = (region.row, region.region.id)
        if key not in self.contexts:
            image = region.record.load()
            self.contexts[key] = make_context(region.record, region.region, image, self.lexicon)
        context = self.contexts[key]
        if named != NO_CLASS:
            entry = self.classes[named]
            context = replace(
                context, label=entry.label, label_zh=entry.label_zh, entry=entry, told=()
            )
        return compose_texts(context, rng, language)

    def captioned_rows(self) -> list[int]:
        """The regions that captions by people tell of."""
        return [
            row
            for row, one in enumerate(self.regions)
            if told_things(one.record, one.region, self.lexicon) is not None
        ]

    def tap(self) -> None:
        """SAM 2, which no longer changes, sees every region once."""
        self.regions = [one for group in self.table if group for one in self.chosen(group)]

        def encode(rows: Sequence[int]) -> ImageFeatures:
            fine = self.cache.read(rows)[0].to(self.model.device)
            pictures = [self.cache.records[row].load() for row in rows]
            pixels = torch.stack([to_pixels(one, self.cache.side) for one in pictures])
            return replace(image_features(self.model, fine), pixels=pixels.to(self.model.device))

        with self.accelerator.main_process_first():
            self.tapped = TappedCache(
                self.folder / "tapped", self.regions, self.model, encode, self.cache.key,
                self.recipe.seed,
            )  # fmt: skip
            self.tapped.build(self.report)

    def chosen(self, group: list[TrainingRegion]) -> list[TrainingRegion]:
        """The regions of one picture that the language stages read."""
        source, seed = group[0].record.source, f"{self.recipe.seed}/{group[0].row}"
        weights = (item for item in self.recipe.sources if source.startswith(item.source))
        most = next((item.most for item in weights), None) or len(group)
        return random.Random(seed).sample(group, most) if most < len(group) else group

    def teach_language(self, name: str, settings: LanguageConfig, parts: tuple[str, ...]) -> None:
        """`alignment` (perceiver and projectors) or `finetuning` (the language model too)."""
        sampler = LanguageSampler(
            self.regions,
            self.write_texts,
            self.processor,
            settings,
            seed=self.recipe.seed,
            source_weights={item.source: item.weight for item in self.recipe.sources},
            num_classes=len(self.classes),
            captioned=self.captioned_rows() if settings.captioned else (),
        )
        fixed = () if settings.perceiver else ROW_PARTS
        learning = tuple(part for part in parts if part not in fixed)
        freeze_all_but(self.model, MEANS_PARTS if settings.means_only else learning)
        stage = LanguageStage(
            self.model, self.processor, self.tapped, sampler,
            settings.spelling, settings.smoothing, settings.dropped, settings.mixed,
            self.teacher if settings.held else None, settings.held,
        )  # fmt: skip
        self.train(name, stage, settings)

    def train(self, name: str, stage: Stage, settings: StageConfig) -> None:
        """One stage, with the trunk's batch norms left alone."""
        self.model.train()
        self.trunk.eval()
        self.report(f"== {name}: {settings.steps} steps")
        train_stage(
            stage, settings, self.folder / name,
            accelerator=self.accelerator, facts=self.facts, report=self.report,
        )  # fmt: skip
        self.model.eval()

    def save(self) -> Path:
        """The finished model as a folder that `Perceiver.from_pretrained` loads."""
        folder = self.folder / "model"
        if self.accelerator.is_main_process:
            save_model(self.model, self.processor, folder)
        self.accelerator.wait_for_everyone()
        return folder


def train_from_recipe(
    recipe: Recipe, data: Path, report: Report = print, *, resume: bool = False
) -> Path:
    """Train a model from nothing; resumes where an earlier call stopped.

    Args:
        recipe: What to do.
        data: Folder with the packs.
        report: Where progress lines go.
        resume: There must be such a run already.

    Returns:
        Folder of the finished model.

    Raises:
        DataError: The packs are missing or malformed.
        ConfigError: The folder holds another run, or none to resume.
    """
    run = Run(recipe, data, report, resume=resume)
    run.pretrain()
    if recipe.needs_regions:
        run.prepare()
        run.segment()
        run.follow()
    if recipe.alignment.steps or recipe.finetuning.steps:
        run.tap()
        run.teach_language("alignment", recipe.alignment, ALIGNMENT_PARTS)
        run.teach_language("finetuning", recipe.finetuning, (*ALIGNMENT_PARTS, "language_model"))
    return run.save()
