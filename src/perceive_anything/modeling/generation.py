"""Answers for many regions, one task at a time: the plain path that faster ones are tested against.

Knows the model and the processor; regions come as features, answers go out as text.
"""

from __future__ import annotations

import torch
from torch import Tensor

from perceive_anything.modeling.model import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor

MAX_NEW_TOKENS = {"recognize": 24, "explain": 96, "caption": 48, "describe": 128}


def answer_prefix(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    visual_RVD: Tensor,
    task: str,
    language: str,
) -> Tensor:
    """What the language model reads before it answers: header, visual rows, task (R, L, D).

    Args:
        model: Any PAM.
        processor: Its processor.
        visual_RVD: From `PamForConditionalGeneration.visual_rows`.
        task: One of the four text tasks.
        language: "en" or "zh".
    """
    embed = model.get_input_embeddings()
    pieces = [processor.head_ids(), processor.task_ids(task, language)]
    head, tail = (
        embed(torch.tensor(ids, device=visual_RVD.device)).expand(len(visual_RVD), -1, -1)
        for ids in pieces
    )
    return torch.cat([head, visual_RVD.to(head.dtype), tail], 1)


@torch.inference_mode()
def write_answers(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    visual_RVD: Tensor,
    task: str,
    language: str,
    max_new_tokens: int | None = None,
) -> list[str]:
    """Greedy answers of R regions to one task.

    Args:
        model: Any PAM.
        processor: Its processor.
        visual_RVD: Visual rows of the regions.
        task: One of the four text tasks.
        language: "en" or "zh".
        max_new_tokens: Upper bound; by default one that suits the task.
    """
    embeds = answer_prefix(model, processor, visual_RVD, task, language)
    tokenizer = processor.tokenizer
    ids = model.language_model.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
        max_new_tokens=max_new_tokens or MAX_NEW_TOKENS[task],
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return [processor.decode_answer(row) for row in ids]
