"""Answers of many regions to many tasks: each region is read once, all rows decode together.

Knows the model and the processor; regions come as visual rows, tokens go out as they are chosen.
`generation.write_answers` is the plain path, which gives the same tokens. Shape suffixes: R
regions, N rows (one a region and task), L positions, V visual rows, D width, W vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import takewhile

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
)

from perceive_anything.modeling.generation import generation_settings, region_prefix
from perceive_anything.modeling.guidance import (
    LabelGuide,
    WrittenAnswer,
    is_guided,
    label_guide,
)
from perceive_anything.modeling.model import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor
from perceive_anything.modeling.reading import read, roomy_cache
from perceive_anything.modeling.spelling import NOT_A_LABEL, LabelSpelling, label_spelling
from perceive_anything.tasks import RECOGNIZE


@dataclass(frozen=True, slots=True)
class Token:
    """One token of one answer.

    Attributes:
        region: Number of the region.
        task: What is answered.
        id: The token; None once the answer has ended.
        log_probability: Natural logarithm of its probability, or of that of the end; 0 for an end
            that no token stands for, as the answer has become too long.
        cut: Whether this is such an end.
    """

    region: int
    task: str
    id: int | None
    log_probability: float = 0.0
    cut: bool = False


@dataclass(slots=True)
class _Rows:
    """The answers that are still written, one a row.

    Attributes:
        index: (N,) region times number of tasks plus task.
        limit: (N,) most tokens of each.
        mask: (N, L) 1 where the cache holds something that the row reads.
        position: (N, 1) of the newest input.
        written: (N, steps) tokens so far.
    """

    index: Tensor
    limit: Tensor
    mask: Tensor
    position: Tensor
    written: Tensor

    def take(self, keep: Tensor) -> None:
        """Let all but the given rows leave."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name)[keep])

    def step(self) -> None:
        """Make room for one more input a row."""
        self.position = self.position + 1
        self.mask = torch.cat([self.mask, torch.ones_like(self.position)], 1)


@torch.inference_mode()
def iter_answers(
    model: PamForConditionalGeneration,
    processor: PamProcessor,
    visual_RVD: Tensor,
    tasks: Sequence[str],
    language: str,
    max_new_tokens: int | None = None,
    temperature: float = 0.0,
    previous: str | None = None,
    wanted: Callable[[int], bool] | None = None,
) -> Iterator[Token]:
    """Tokens of R regions' answers to all tasks, a token of every unfinished answer each round.

    Labels that guide the other texts (`PamConfig.label_guidance`) come before these.

    Arguments are those of `generation.write_answers`, with several tasks, and `wanted`: asked
    before every round whether a region's answers are still of interest; else they end there.
    """
    first = [RECOGNIZE] if is_guided(model.config, tasks, language) else []
    then = [task for task in tasks if task not in first]
    tails = {task: processor.task_ids(task, language, previous) for task in (*first, *then)}
    shared = _shared_start(list(tails.values()))
    cache = roomy_cache(model.language_model.config)
    read(model.language_model, region_prefix(model, processor, visual_RVD, shared), cache)

    def write(
        tasks: Sequence[str], cache: DynamicCache, guide: LabelGuide | None = None
    ) -> Iterator[Token]:
        settings = [
            generation_settings(model, processor, task, max_new_tokens, temperature)
            for task in tasks
        ]
        ends = settings[0].eos_token_id
        spelling = label_spelling(model, visual_RVD, tasks, language, ends)
        rest = {task: tails[task][len(shared) :] for task in tasks}
        return _write(model, cache, len(visual_RVD), rest, settings, spelling, guide, wanted)

    guide = None
    if first:
        labels = [WrittenAnswer() for _ in range(len(visual_RVD))]
        for token in write(first, copy.deepcopy(cache)):
            labels[token.region].add(token.id, token.log_probability, cut=token.cut)
            if token.task in tasks:
                yield token
        guide = label_guide(labels, model.config, processor.tokenizer)
    yield from write(then, cache, guide)


def _write(
    model: PamForConditionalGeneration,
    cache: DynamicCache,
    num_regions: int,
    tails: dict[str, list[int]],
    settings: list[GenerationConfig],
    spelling: LabelSpelling | None,
    guide: LabelGuide | None,
    wanted: Callable[[int], bool] | None,
) -> Iterator[Token]:
    """Answers to tasks, whose last ids the cache of the regions does not hold; it is used up."""
    tasks, device = list(tails), model.device
    ends = torch.tensor(settings[0].eos_token_id, device=device)
    process = _processors(settings[0], device, spelling, guide)
    num_read = cache.get_seq_length()
    cache.batch_repeat_interleave(len(tasks))
    ids_NL, rows = _start(list(tails.values()), settings, num_read, num_regions, device)
    position_NL = (rows.mask.cumsum(1) - 1)[:, num_read:]

    def logits_after(ids_NL: Tensor, mask: Tensor, position_NL: Tensor) -> Tensor:
        return model.language_model(
            inputs_embeds=model.get_input_embeddings()(ids_NL),
            attention_mask=mask,
            position_ids=position_NL,
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]

    def peek(written: Tensor) -> Tensor:
        ahead = replace(rows)
        ahead.step()
        logits_NW = logits_after(written[:, -1:], ahead.mask, ahead.position)
        cache.crop(-1)
        return logits_NW

    if guide is not None:
        guide.peek = peek
    while True:
        logits_NW = logits_after(ids_NL, rows.mask, position_NL)
        regions_N = rows.index // len(tasks)
        if spelling is not None:
            is_label_N = rows.index % len(tasks) == tasks.index(RECOGNIZE)
            spelling.regions_N = regions_N.where(is_label_N, NOT_A_LABEL)
        if guide is not None:
            guide.regions_N = regions_N
        logits_NW = process(rows.written, logits_NW.float())
        chosen = _choose(logits_NW, sample=settings[0].do_sample)
        sure = logits_NW.log_softmax(-1).gather(1, chosen[:, None])[:, 0]
        rows.written = torch.cat([rows.written, chosen[:, None]], 1)
        ended = torch.isin(chosen, ends)
        over = ended | (rows.limit <= rows.written.shape[1])
        if wanted is not None:
            left = [not wanted(row // len(tasks)) for row in rows.index.tolist()]
            over = over | torch.tensor(left, device=over.device)
        for row, token, log_p, is_end, is_over in zip(
            *(column.tolist() for column in (rows.index, chosen, sure, ended, over)), strict=True
        ):
            region, task = divmod(row, len(tasks))
            if not is_end:
                yield Token(region, tasks[task], token, log_p)
            if is_over:
                yield Token(region, tasks[task], None, log_p if is_end else 0.0, not is_end)
        if over.all():
            return
        if over.any():
            keep = (~over).nonzero()[:, 0]
            rows.take(keep)
            cache.batch_select_indices(keep)
        rows.step()
        ids_NL, position_NL = rows.written[:, -1:], rows.position


def _shared_start(tails: Sequence[list[int]]) -> list[int]:
    """Ids that all tasks begin with, short of the last one of any, which the answer follows."""
    places = zip(*(tail[:-1] for tail in tails), strict=False)
    return [ids[0] for ids in takewhile(lambda ids: len(set(ids)) == 1, places)]


def _start(
    tails: list[list[int]],
    settings: list[GenerationConfig],
    num_read: int,
    num_regions: int,
    device: torch.device,
) -> tuple[Tensor, _Rows]:
    """Ids of the task texts (N, L), padded in front, and the rows that begin behind them."""
    longest = max(map(len, tails))
    padded = [[0] * (longest - len(tail)) + tail for tail in tails]
    ids_NL = torch.tensor(padded, device=device).repeat(num_regions, 1)
    front = [[0] * (longest - len(tail)) + [1] * len(tail) for tail in tails]
    tail_mask = torch.tensor(front, device=device).repeat(num_regions, 1)
    mask = torch.cat([tail_mask.new_ones(len(ids_NL), num_read), tail_mask], 1)
    limits = torch.tensor([one.max_new_tokens for one in settings], device=device)
    rows = _Rows(
        index=torch.arange(len(ids_NL), device=device),
        limit=limits.repeat(num_regions),
        mask=mask,
        position=mask.sum(1, keepdim=True) - 1,
        written=ids_NL[:, :0],
    )
    return ids_NL, rows


def _processors(
    settings: GenerationConfig,
    device: torch.device,
    *sayings: LabelSpelling | LabelGuide | None,
) -> LogitsProcessorList:
    """What the model's own settings do to the logits, as in transformers' `generate`."""
    made = LogitsProcessorList()
    if settings.repetition_penalty not in (None, 1.0):
        made.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.min_new_tokens:
        made.append(
            MinNewTokensLengthLogitsProcessor(
                0, settings.min_new_tokens, settings.eos_token_id, device=device
            )
        )
    if settings.suppress_tokens:
        made.append(SuppressTokensLogitsProcessor(settings.suppress_tokens, device=device))
    made += [saying for saying in sayings if saying is not None]
    if settings.do_sample:
        made.append(TemperatureLogitsWarper(settings.temperature))
        if settings.top_k:
            made.append(TopKLogitsWarper(settings.top_k))
    return made


def _choose(scores_NW: Tensor, *, sample: bool) -> Tensor:
    """(N,) the likeliest token of each row, or one drawn by its probability."""
    if sample:
        return torch.multinomial(scores_NW.softmax(-1), 1)[:, 0]
    return scores_NW.argmax(-1)
