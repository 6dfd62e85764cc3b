"""Answers for many regions, one task at a time: the plain path that faster ones are tested against.

Knows the model and the processor; regions come as features, answers go out as text.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig

from perceive_anything.modeling.guidance import (
    LabelGuide,
    WrittenAnswer,
    is_guided,
    label_guide,
)
from perceive_anything.modeling.model import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor
from perceive_anything.modeling.prompts import CHAT_TOKENS
from perceive_anything.modeling.spelling import LabelSpelling, label_spelling
from perceive_anything.tasks import RECOGNIZE

# Where the model's own settings give no bound; nano's texts are short.
MAX_NEW_TOKENS = {"recognize": 24, "explain": 96, "caption": 48, "describe": 128, "video": 64}


def answer_prefix(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    visual_RVD: Tensor,
    task: str,
    language: str,
    previous: str | None = None,
) -> Tensor:
    """What the language model reads before it answers: header, visual rows, task (R, L, D).

    Args:
        model: Any PAM.
        processor: Its processor.
        visual_RVD: From `PamForConditionalGeneration.visual_rows`.
        task: One of the four text tasks, or "video".
        language: "en" or "zh".
        previous: For "video": caption of the part before this one.
    """
    ids = processor.task_ids(task, language, previous)
    return region_prefix(model, processor, visual_RVD, ids)


def region_prefix(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    visual_RVD: Tensor,
    then_ids: Sequence[int],
) -> Tensor:
    """What is read of each region first: header, visual rows and some ids (R, L, D)."""
    head, then = (
        model.get_input_embeddings()(
            torch.tensor(ids, dtype=torch.long, device=visual_RVD.device)
        ).expand(len(visual_RVD), -1, -1)
        for ids in (processor.head_ids(), then_ids)
    )
    return torch.cat([head, visual_RVD.to(head.dtype), then], 1)


def generation_settings(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    task: str,
    max_new_tokens: int | None = None,
    temperature: float = 0.0,
) -> GenerationConfig:
    """The model's own settings (`generation_config.json`), greedy unless a temperature is given.

    Args:
        model: Any PAM.
        processor: Its processor.
        task: One of the text tasks.
        max_new_tokens: Upper bound; by default the model's, or one that suits the task.
        temperature: 0 for greedy decoding; the release samples at 0.1.
    """
    own = copy.deepcopy(model.language_model.generation_config)
    tokenizer = processor.tokenizer
    turn_end = tokenizer.convert_tokens_to_ids(CHAT_TOKENS[1])
    own.eos_token_id = sorted({turn_end, *np.atleast_1d(own.eos_token_id or turn_end).tolist()})
    own.pad_token_id = tokenizer.pad_token_id
    own.max_new_tokens = max_new_tokens or own.max_new_tokens or MAX_NEW_TOKENS[task]
    own.do_sample = temperature > 0
    own.temperature = temperature or None
    own.top_p = None
    if not own.do_sample:
        own.top_k = None
    return own


@torch.inference_mode()
def answer_ids(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    visual_RVD: Tensor,
    task: str,
    language: str,
    max_new_tokens: int | None = None,
    temperature: float = 0.0,
    previous: str | None = None,
) -> list[list[int]]:
    """Token ids of R regions' answers to one task, without the end of turn.

    Args:
        model: Any PAM.
        processor: Its processor.
        visual_RVD: Visual rows of the regions.
        task: One of the four text tasks, or "video".
        language: "en" or "zh".
        max_new_tokens: Upper bound; by default the model's, or one that suits the task.
        temperature: 0 for greedy decoding; the release samples at 0.1.
        previous: For "video": caption of the part before this one.
    """
    guide = None
    if is_guided(model.config, [task], language):
        limits = (max_new_tokens, temperature)
        labels = _written_labels(model, processor, visual_RVD, language, *limits)
        guide = label_guide(labels, model.config, processor.tokenizer)
    settings = generation_settings(model, processor, task, max_new_tokens, temperature)
    embeds = answer_prefix(model, processor, visual_RVD, task, language, previous)
    spelling = label_spelling(model, visual_RVD, [task], language, settings.eos_token_id)
    rows = _generate(model, embeds, settings, spelling, guide).sequences.tolist()
    ends = set(settings.eos_token_id)
    return [list(takewhile(lambda token: token not in ends, row)) for row in rows]


def _written_labels(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    visual_RVD: Tensor,
    language: str,
    max_new_tokens: int | None,
    temperature: float,
) -> list[WrittenAnswer]:
    """Labels with the probabilities of their tokens."""
    settings = generation_settings(model, processor, RECOGNIZE, max_new_tokens, temperature)
    embeds = answer_prefix(model, processor, visual_RVD, RECOGNIZE, language)
    spelling = label_spelling(model, visual_RVD, [RECOGNIZE], language, settings.eos_token_id)
    settings.output_scores = True
    made = _generate(model, embeds, settings, spelling)
    sure = torch.stack(made.scores, 1).log_softmax(-1).gather(2, made.sequences[..., None])
    labels = [WrittenAnswer() for _ in range(len(embeds))]
    for label, *row in zip(labels, made.sequences.tolist(), sure[..., 0].tolist(), strict=True):
        for token, log_probability in zip(*row, strict=True):
            is_end = token in settings.eos_token_id
            label.add(None if is_end else token, log_probability, cut=False)
            if is_end:
                break
    return labels


def _generate(
    model: PamForConditionalGeneration,
    embeds_RLD: Tensor,
    settings: GenerationConfig,
    spelling: LabelSpelling | None,
    guide: LabelGuide | None = None,
) -> Any:
    """The loop of transformers."""
    if guide is not None:
        guide.peek = partial(_next_logits, model, embeds_RLD)
    mask = torch.ones(embeds_RLD.shape[:2], dtype=torch.long, device=embeds_RLD.device)
    return model.language_model.generate(
        inputs_embeds=embeds_RLD,
        attention_mask=mask,
        generation_config=settings,
        logits_processor=[one for one in (spelling, guide) if one is not None],
        return_dict_in_generate=True,
    )


def _next_logits(model: PamForConditionalGeneration, embeds_RLD: Tensor, written: Tensor) -> Tensor:
    """What would follow after what was read and written, read anew (R, vocabulary)."""
    words_RLD = model.get_input_embeddings()(written)
    return model.language_model(inputs_embeds=torch.cat([embeds_RLD, words_RLD], 1)).logits[:, -1]


def write_answers(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    visual_RVD: Tensor,
    task: str,
    language: str,
    *settings: Any,
) -> list[str]:
    """Texts of `answer_ids`, which has the same arguments."""
    rows = answer_ids(model, processor, visual_RVD, task, language, *settings)
    return [processor.decode_answer(row) for row in rows]
