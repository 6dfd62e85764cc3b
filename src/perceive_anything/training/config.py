"""Settings of a training run: frozen, typed, read from a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from perceive_anything.config import Settings
from perceive_anything.data.sources import DataSource


class StageConfig(Settings):
    """One stage: how long and how fast.

    Attributes:
        steps: Optimiser steps; 0 leaves the stage out.
        learning_rate: Peak of the cosine schedule.
        rows: Regions (or texts) a step in the language stages; pictures in `segmentation`; clips
            in `memory`.
        per_row: Texts of each region in the language stages; regions of each picture in
            `segmentation`; most frames of each clip in `memory`.
        batches: Batches of `rows` whose gradients make one step, shared by all processes.
        trunk_rate: Learning rate of the trunk's blocks at strides 8 and 16 as a share of the
            others', in `segmentation` and `memory`; 0 leaves them as they are.
        refiner_only: In `segmentation` and `memory`, let the mask refiner learn (in `memory` the
            memory too), but not what texts are written from.
        ema: Decay of an exponential moving average that becomes the result; None for none.
        workers: Processes that draw batches ahead; 0 draws them in between.
        tensorboard: Write the metrics for TensorBoard as well (extra `tensorboard`).
    """

    steps: int
    learning_rate: float
    rows: int
    per_row: int
    batches: int = 1
    trunk_rate: float = 0.0
    refiner_only: bool = False
    warmup: float = 0.03
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema: float | None = None
    workers: int = 0
    tensorboard: bool = False
    log_every: int = 25
    checkpoint_every_s: float = 600.0


class LanguageConfig(StageConfig):
    """A language stage, and what keeps it from learning its pictures by heart.

    Attributes:
        perceiver: Whether perceiver and semantic projector learn.
        means_only: Of the perceiver only what reads the means of regions, with the semantic
            projector; nothing else learns.
        spelling: Weight of the loss that lets the semantic rows spell the label.
        smoothing: Share of the wanted label that is spread over all others.
        dropped: Share of the tapped channels that is dropped, on average one and a half times as
            many cells, and three times as much of the means of regions.
        both_labels: Ask for the label in both languages, besides `per_row` other texts.
        label_weight: How much a label's token counts beside one of the other texts.
        label_rows: Further regions a step of which only the label is asked, and which the language
            model reads without their image rows.
        definitions: Ask of these also what such a thing is: the first sentence of an explanation.
        named: Share of the regions that are taken for one of any class of the trunk, so that the
            language model learns to read its names.
        captioned: Further regions a step that captions by people tell of (`told_things`); only the
            concise caption, which is composed of what several agree on, is asked, and without image
            rows.
        caption_weight: How much a token of these captions counts.
        left_out: Sources whose regions are not drawn (by the start of their names).
        mixed: Largest share of another region's semantic rows in a region's; half of them are
            mixed. What the model has not seen before looks like a mixture, too.
        held: How much of what a label is taught is what the model that the run started from says of
            the same rows, the rest being the annotated label; other texts may change beside it.
    """

    perceiver: bool = True
    means_only: bool = False
    spelling: float = 0.3
    smoothing: float = 0.0
    dropped: float = 0.0
    both_labels: bool = False
    label_weight: float = 1.0
    label_rows: int = 0
    definitions: bool = False
    named: float = 0.0
    captioned: int = 0
    caption_weight: float = 1.0
    left_out: tuple[str, ...] = ()
    mixed: float = 0.0
    held: float = 0.0


class ModelConfig(Settings):
    """Sizes of a model that is trained from nothing (EfficientNet-Lite2 trunk, Qwen2 text).

    Attributes:
        mask_refiner: See `PamConfig.mask_refiner`.
        trunk_names: Let the trunk's ImageNet classifier name close-ups, see `TrunkNames`; wants a
            trunk that does not learn.
    """

    image_size: int = 320
    sam_width: int = 192
    sam_heads: int = 6
    mask_refiner: tuple[int, int, int] | None = None
    text_width: int = 256
    text_layers: int = 6
    text_heads: int = 4
    vocab_size: int = 6144
    trunk_names: bool = True


class ViewsConfig(Settings):
    """Augmented views that are made once, in random order.

    Attributes:
        crops: Crops of every photo with masks.
        maskless: Crops of every photo whose regions have no masks.
        zooms: Close views of every photo with masks, each around one region.
        pastes: Pictures with pasted cut-outs.
        limit: Keep only this many of them.
    """

    crops: int = 2
    maskless: int = 0
    zooms: int = 0
    pastes: int = 1500
    limit: int | None = None


class SourceWeight(Settings):
    """How a source's regions are drawn in the language stages.

    Attributes:
        source: How its name begins.
        weight: How much more often than others its regions are drawn.
        most: Only so many regions of each of its pictures take part; None for all.
    """

    source: str
    weight: float
    most: int | None = None


class ClipsConfig(Settings):
    """Made-up clips for `memory`.

    Attributes:
        count: How many.
        frames: Frames of each.
        companions: Share in which something moves along with an object or looks like it.
    """

    count: int = 500
    frames: int = 6
    companions: float = 0.0


class PartsConfig(Settings):
    """What a PAM begins from before it is one; its perceiver and projectors begin anew.

    Attributes:
        sam: A SAM 2.1 of transformers: folder or hub id.
        language_model: A causal language model of transformers, with its tokenizer.
    """

    sam: str
    language_model: str


NO_STAGE = StageConfig(steps=0, learning_rate=1e-3, rows=4, per_row=5)


class LoraSettings(Settings):
    """Low-rank pairs beside the language model's linear layers.

    Attributes:
        rank: Of each pair.
        alpha: The pairs' products count alpha / rank times.
        dropout: Share of the pairs' inputs that is dropped in training.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05


class FinetuneRecipe(Settings):
    """A finished model learns the regions of a folder of images with a COCO file.

    Attributes:
        kind: Tells this recipe from that of a whole training run.
        seed: Seed of all chance.
        output: Folder for the checkpoint, the log and the finished model.
        num_threads: CPU threads.
        start_from: "nano", a folder or a hub id.
        max_bad: Annotations that may be unusable.
        rehearsal: Other regions of each image, about which the model goes on saying what it said
            before; without any it answers everything with what it was taught.
        lora: None to let all weights of the language model learn.
        spelling: Weight of the loss that lets the semantic rows spell the label; 0 for models that
            were not trained so (only nano was).
        training: Steps, regions and texts a step, learning rate.
    """

    kind: Literal["finetune"]
    seed: int = 0
    output: str = "runs/finetune"
    num_threads: int = 2
    start_from: str = "nano"
    max_bad: int = 20
    rehearsal: int = 4
    lora: LoraSettings | None = LoraSettings()
    spelling: float = 0.0
    training: StageConfig


class PamRecipe(Settings):
    """One stage of training a PAM of any size; SAM 2 stays as it is.

    Attributes:
        kind: Tells this recipe from the others.
        published: Published size, for the dry run: "1.5b", "3b" or "tiny".
        seed: Seed of all chance.
        output: Folder for checkpoints, logs and the finished model.
        num_threads: CPU threads of each process.
        start_from: A finished model (folder, hub id or "nano"), or the parts of a new one.
        learn: What learns.
        lora: Let the language model learn through low-rank pairs; None for all its weights.
        precision: "float32", or "bfloat16" for products in bfloat16 over float32 weights.
        gradient_checkpointing: Compute the language model's layers again in the backward pass,
            which saves most of their memory.
        texts: Texts of each region, at most.
        data: Sources of pictures and clips, with weights; paths below the data folder.
        training: Steps and rates. `rows` pictures make a batch, or one clip does; of each at most
            `per_row` regions take part.
    """

    kind: Literal["pam"]
    published: Literal["tiny", "1.5b", "3b"]
    seed: int = 0
    output: str
    num_threads: int = 4
    start_from: str | PartsConfig
    learn: tuple[Literal["perceiver", "language_model"], ...] = ("perceiver",)
    lora: LoraSettings | None = None
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    gradient_checkpointing: bool = True
    texts: int = 2
    data: tuple[DataSource, ...]
    training: StageConfig


class Recipe(Settings):
    """A whole training run.

    Attributes:
        kind: Tells this recipe from that of fine-tuning.
        seed: Seed of all chance.
        output: Folder for checkpoints, logs and the finished model.
        num_threads: CPU threads.
        precision: "float32", or "bfloat16" for products in bfloat16 over float32 weights.
        start_from: A finished model of the same sizes ("nano" or a folder) to go on from, with its
            tokenizer; from nothing by default. It may lack the mask refiner.
        packs: Which packs give pictures; all of the folder by default.
        sources: Weights of sources in the language stages; 1 where not listed.
    """

    kind: Literal["nano"] = "nano"
    seed: int = 0
    output: str = "runs/nano"
    num_threads: int = 2
    precision: Literal["float32", "bfloat16"] = "float32"
    start_from: str | None = None
    packs: tuple[str, ...] | None = None
    model: ModelConfig = ModelConfig()
    views: ViewsConfig = ViewsConfig()
    clips: ClipsConfig = ClipsConfig()
    sources: tuple[SourceWeight, ...] = ()
    pretraining: StageConfig
    segmentation: StageConfig
    memory: StageConfig = NO_STAGE
    alignment: LanguageConfig
    finetuning: LanguageConfig

    @model_validator(mode="after")
    def _held_to_something(self) -> Recipe:
        if self.finetuning.held and (not self.start_from or self.alignment.steps):
            raise ValueError("finetuning.held wants start_from and alignment.steps 0")
        if self.alignment.held:
            raise ValueError("alignment.held is not possible; held goes with finetuning")
        return self

    @property
    def needs_regions(self) -> bool:
        """Whether any stage reads the regions of pictures."""
        stages = (self.segmentation, self.memory, self.alignment, self.finetuning)
        return any(stage.steps for stage in stages)
