"""What every session says of regions: masks and scores of a frame, texts by task.

Knows features and prompts; shared by images, videos and streams.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from perceive_anything.errors import PromptError
from perceive_anything.events import TextChunk
from perceive_anything.masks import without_small_parts
from perceive_anything.modeling.answers import iter_answers
from perceive_anything.modeling.confidence import is_uncertain, label_confidence
from perceive_anything.modeling.processing import restore_masks
from perceive_anything.tasks import (
    CAPTION,
    RECOGNIZE,
    SEGMENT,
    TASK_FIELD,
    check_language,
    check_tasks,
    check_temperature,
)
from perceive_anything.types import Mask, Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from perceive_anything.modeling import PamConfig, PamForConditionalGeneration
    from perceive_anything.modeling.processing import PamProcessor
    from perceive_anything.modeling.segmenter import RegionFeatures

HALF_CHARACTER = "\ufffd"  # what a tokenizer gives for the first bytes of a longer character


@dataclass(frozen=True, slots=True)
class Written:
    """A finished text and the mean log-probability of its tokens, its end among them."""

    text: str
    log_probability: float


@dataclass(frozen=True, slots=True)
class Writing:
    """Which texts are written, and how.

    Attributes:
        tasks: In the order asked for.
        language: "en" or "zh".
        max_new_tokens: Upper bound for each text; None leaves it to the model.
        temperature: 0 for greedy decoding.
    """

    tasks: tuple[str, ...]
    language: str
    max_new_tokens: int | None = None
    temperature: float = 0.0

    @property
    def texts(self) -> tuple[str, ...]:
        """The tasks that write something."""
        return tuple(task for task in self.tasks if task != SEGMENT)

    @classmethod
    def checked(
        cls, tasks: Sequence[str], language: str, max_new_tokens: int | None, temperature: float
    ) -> Writing:
        """From what a user asked for.

        Raises:
            OptionError: A task or language does not exist, or the temperature is out of range.
        """
        return cls(
            check_tasks(tasks),
            check_language(language),
            max_new_tokens,
            check_temperature(temperature),
        )


def as_batch(prompts: Prompt | Sequence[Prompt], name: str) -> tuple[list[Prompt], bool]:
    """The prompts of a call as a list, and whether they were one.

    Args:
        prompts: One prompt or a list.
        name: Of the image or video, for the message.

    Raises:
        PromptError: The list is empty.
    """
    if not isinstance(prompts, Sequence):
        return [prompts], False
    if not prompts:
        raise PromptError(
            f'no prompt was given for "{name}": got an empty list.\n'
            "  Give at least one Box, Points or Mask in its pixels.",
            code="prompt_missing",
        )
    return list(prompts), True


def iter_texts(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    visual_RVD: Tensor,
    tasks: Sequence[str],
    writing: Writing,
    previous: str | None = None,
    wanted: Callable[[int], bool] | None = None,
) -> Iterator[TextChunk]:
    """Texts of R regions as they are written; the chunks of a text add up to it.

    Args:
        model: Any PAM.
        processor: Its processor.
        visual_RVD: Visual rows of the regions.
        tasks: Text tasks, "video" included.
        writing: Language and length; its tasks are not read.
        previous: For "video": caption of the part before this one.
        wanted: As in `iter_answers`.
    """
    ids: dict[tuple[int, str], list[int]] = {
        (region, task): [] for region in range(len(visual_RVD)) for task in tasks
    }
    said, told = dict.fromkeys(ids, ""), dict.fromkeys(ids, 0)
    sure: dict[tuple[int, str], list[float]] = {key: [] for key in ids}
    for token in iter_answers(
        model, processor, visual_RVD, tasks, writing.language, writing.max_new_tokens,
        writing.temperature, previous, wanted,
    ):  # fmt: skip
        key, final = (token.region, token.task), token.id is None
        sure[key].append(token.log_probability)
        if token.id is not None:
            ids[key].append(token.id)
        text = processor.decode_answer(ids[key])
        if final or not text.endswith(HALF_CHARACTER):
            new, said[key] = text[len(said[key]) :], text
            if new or final:
                num_tokens, told[key] = len(ids[key]) - told[key], len(ids[key])
                chunk = TextChunk(
                    token.region, token.task, new, final, num_tokens=num_tokens, cut=token.cut
                )
                yield _finished(chunk, sure[key], model.config) if final else chunk


def _finished(chunk: TextChunk, sure: Sequence[float], config: PamConfig) -> TextChunk:
    """The last piece of a text with how sure the model is of the whole."""
    mean = round(sum(sure) / len(sure), 4)
    if chunk.task != RECOGNIZE:
        return replace(chunk, log_probability=mean)
    confidence = label_confidence(sum(sure) / len(sure), config.label_calibration)
    return replace(
        chunk,
        log_probability=mean,
        label_confidence=confidence,
        uncertain=is_uncertain(confidence, config.label_threshold),
    )


def write_text(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    visual_RVD: Tensor,
    task: str,
    writing: Writing,
    previous: str | None = None,
) -> list[Written]:
    """Answers of R regions to one task, "video" included."""
    texts, sure = [""] * len(visual_RVD), [0.0] * len(visual_RVD)
    for chunk in iter_texts(model, processor, visual_RVD, [task], writing, previous):
        texts[chunk.region] += chunk.text
        sure[chunk.region] = chunk.log_probability or 0.0
    return [Written(*pair) for pair in zip(texts, sure, strict=True)]


def write_caption(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    frames: Sequence[RegionFeatures],
    writing: Writing,
    previous: str | None = None,
) -> Written:
    """Caption of one region in a clip.

    Args:
        model: Any PAM; one that was never trained on clips captions the frame that shows the region
            best.
        processor: Its processor.
        frames: What is seen of the region on the sampled frames, in time order.
        writing: Language and length.
        previous: Caption of the part of the video before this one.
    """
    if model.config.video_captions:
        rows, task = model.clip_rows(frames), "video"
    else:
        rows, task, previous = model.visual_rows(best_frame(frames)), CAPTION, None
    return write_text(model, processor, rows, task, writing, previous)[0]


def best_frame(frames: Sequence[RegionFeatures]) -> RegionFeatures:
    """What is seen of one region on the frame that shows it best."""
    return max(frames, key=lambda f: float(f.score[0]) * float(f.object_logit[0] > 0))


def write_texts(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    visual_RVD: Tensor,
    writing: Writing,
) -> list[dict[str, Any]]:
    """Texts of R regions and how sure each is, by field of `Region`; "segment" writes none."""
    chunks: list[list[TextChunk]] = [[] for _ in range(len(visual_RVD))]
    for chunk in iter_texts(model, processor, visual_RVD, writing.texts, writing):
        chunks[chunk.region].append(chunk)
    return [texts_of(own) for own in chunks]


def texts_of(chunks: Sequence[TextChunk]) -> dict[str, Any]:
    """Texts of one region and how sure each is, by field of `Region`.

    Args:
        chunks: All of the region's, from `iter_texts`.
    """
    found: dict[str, Any] = {"log_probabilities": {}}
    for chunk in chunks:
        name = TASK_FIELD[chunk.task]
        found[name] = found.get(name, "") + chunk.text
        if chunk.final:
            found["log_probabilities"][name] = chunk.log_probability
        if chunk.final and chunk.task == RECOGNIZE:
            found |= {"label_confidence": chunk.label_confidence, "uncertain": chunk.uncertain}
    return found


def masks_and_scores(
    features: RegionFeatures,
    size_wh: tuple[int, int],
    prompts: Sequence[Prompt | None],
    min_part: float = 0.0,
) -> tuple[np.ndarray, list[float]]:
    """Masks of the picture's size and scores 0..1 of R regions.

    A mask prompt is its own answer, as in SAM 2; an absent region has an empty mask and score 0.

    Args:
        features: From the mask decoder.
        size_wh: Width and height of the picture in pixels.
        prompts: Prompt of each region on this frame, None where there is none.
        min_part: `PamConfig.min_mask_part`.

    Returns:
        (R, H, W) bool, and R scores.
    """
    logits_RHW = features.mask_logits
    if min_part:
        logits_RHW = torch.stack([_without_small_parts(one, min_part) for one in logits_RHW])
    masks = restore_masks(logits_RHW, size_wh)
    present = (features.object_logit > 0).float() * features.score.float()
    scores = [round(score, 4) for score in present.clamp(0, 1).tolist()]
    for row, prompt in enumerate(prompts):
        if isinstance(prompt, Mask):
            masks[row], scores[row] = prompt.array, 1.0
    return masks, scores


def _without_small_parts(logits_HW: Tensor, min_part: float) -> Tensor:
    """Logits whose sign is turned over in small islands and holes."""
    mask = (logits_HW > 0).cpu().numpy()
    kept = without_small_parts(mask, math.ceil(min_part * mask.sum()))
    same = torch.from_numpy(kept == mask).to(logits_HW.device)
    return torch.where(same, logits_HW, -logits_HW)
