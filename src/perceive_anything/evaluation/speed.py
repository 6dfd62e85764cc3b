"""How long answers take: as the released code makes them, and as this package does.

Knows a `Perceiver`; says seconds, bytes and tokens. Both ways use the same weights and kernels.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from perceive_anything.errors import ModelError
from perceive_anything.evaluation.memory import peak_mib, reset_peak
from perceive_anything.modeling.answers import iter_answers
from perceive_anything.modeling.generation import answer_prefix, generation_settings
from perceive_anything.modeling.segmenter import ImageFeatures
from perceive_anything.modeling.spelling import label_spelling
from perceive_anything.pipeline import Perceiver
from perceive_anything.sessions.batches import in_batches, regions_at_once
from perceive_anything.types import Box, Prompt

STAGES = ("encode", "segment", "perceive", "prefill", "decode")
Answers = dict[tuple[int, str], list[int]]


@dataclass(frozen=True, slots=True)
class Work:
    """What is answered.

    Attributes:
        pam: The model.
        image: uint8 (H, W, 3).
        prompts: One a region.
        tasks: Text tasks of each region.
        new_tokens: Tokens of each answer, no fewer and no more.
    """

    pam: Perceiver
    image: np.ndarray
    prompts: Sequence[Prompt]
    tasks: Sequence[str]
    new_tokens: int


@dataclass(slots=True)
class Run:
    """One measured run: seconds by stage, peak memory and what was answered."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    peak_mib: float = 0.0
    answers: Answers = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())

    @contextmanager
    def stage(self, name: str, device: torch.device) -> Iterator[None]:
        """Count the seconds inside towards a stage."""
        start = time.perf_counter()
        yield
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.seconds[name] += time.perf_counter() - start


def make_work(pam: Perceiver, num_regions: int, tasks: Sequence[str], new_tokens: int) -> Work:
    """A noise picture of 1024 x 768 and boxes spread over it."""
    image = np.random.default_rng(0).integers(0, 255, (768, 1024, 3), dtype=np.uint8)
    boxes = []
    for number in range(num_regions):
        x, y = 40 + 130 * (number % 6), 30 + 120 * (number // 6 % 5)
        boxes.append(Box(x, y, x + 200, y + 180))
    return Work(pam, image, boxes, tasks, new_tokens)


@torch.inference_mode()
def run_reference(work: Work) -> Run:
    """Everything anew for each region and task, with logits of the whole prompt, as released."""
    run = Run()
    for region, prompt in enumerate(work.prompts):
        for task in work.tasks:
            features = _encode(work, run)
            rows = _read_regions(work, run, features, [prompt])
            run.answers[region, task] = _reference_answer(work, run, rows, task)
    return run


@torch.inference_mode()
def run_fast(work: Work) -> Run:
    """The steps of `ImageSession.perceive`, timed."""
    run, device = Run(), work.pam.device
    features = _encode(work, run)

    def answer(prompts: Sequence[Prompt], first: int) -> list[None]:
        rows = _read_regions(work, run, features, prompts)
        tokens = iter_answers(
            work.pam.model, work.pam.processor, rows, work.tasks, "en", work.new_tokens
        )
        with run.stage("prefill", device):
            first_token = next(tokens)
        with run.stage("decode", device):
            for token in chain([first_token], tokens):
                if token.id is not None:
                    run.answers.setdefault((first + token.region, token.task), []).append(token.id)
        return [None] * len(prompts)

    list(in_batches(work.prompts, regions_at_once(work.pam.model, len(work.tasks)), answer))
    return run


def _encode(work: Work, run: Run) -> ImageFeatures:
    model = work.pam.model
    with run.stage("encode", work.pam.device):
        pixels = work.pam.processor.pixel_values([work.image])
        return model.encode_image(pixels.to(model.device, model.dtype))


def _read_regions(
    work: Work, run: Run, features: ImageFeatures, prompts: Sequence[Prompt]
) -> Tensor:
    model, size_wh = work.pam.model, work.image.shape[1::-1]
    with run.stage("segment", work.pam.device):
        tensors = work.pam.processor.prompt_tensors(prompts, [size_wh] * len(prompts))
        regions = model.segment(features, tensors.to(model.device))
    with run.stage("perceive", work.pam.device):
        return model.visual_rows(regions)


def _reference_answer(work: Work, run: Run, rows: Tensor, task: str) -> list[int]:
    """Transformers' own loop; its first round is the prefill."""
    model, marks = work.pam.model, []

    def stamp(*_: object, **__: object) -> bool:
        marks.append(time.perf_counter())
        return False

    embeds = answer_prefix(model, work.pam.processor, rows, task, "en")
    settings = generation_settings(model, work.pam.processor, task, work.new_tokens)
    spelling = label_spelling(model, rows, [task], "en", settings.eos_token_id)
    start = time.perf_counter()
    ids = model.language_model.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
        generation_config=settings,
        stopping_criteria=[stamp],
        logits_processor=[spelling] if spelling else [],
        logits_to_keep=0,
    )[0].tolist()
    run.seconds["prefill"] += marks[0] - start
    run.seconds["decode"] += time.perf_counter() - marks[0]
    return ids


PATHS: dict[str, Callable[[Work], Run]] = {"reference": run_reference, "fast": run_fast}


@contextmanager
def exactly(work: Work) -> Iterator[None]:
    """While inside, answers have `new_tokens` tokens: none ends earlier, so no label guides one."""
    model = work.pam.model
    config, settings = model.config, model.language_model.generation_config
    before = config.label_guidance, settings.min_new_tokens
    config.label_guidance, settings.min_new_tokens = 0.0, work.new_tokens
    try:
        yield
    finally:
        config.label_guidance, settings.min_new_tokens = before


def compare(
    work: Work, paths: Sequence[str], num_runs: int, report: Callable[[str], None] = print
) -> dict[str, list[Run]]:
    """Measure the paths in alternation, after one short answer that warms everything up.

    Args:
        work: What is answered.
        paths: Keys of `PATHS`.
        num_runs: Measured runs of each.
        report: Where progress lines go.

    Returns:
        The runs of each path.

    Raises:
        ModelError: Two paths gave different tokens.
    """
    with exactly(warm := Work(work.pam, work.image, work.prompts[:1], work.tasks[:1], 1)):
        run_fast(warm)
    runs: dict[str, list[Run]] = {path: [] for path in paths}
    with exactly(work):
        for number in range(num_runs):
            for path in paths:
                reset_peak(work.pam.device)
                run = PATHS[path](work)
                run.peak_mib = peak_mib(work.pam.device)
                runs[path].append(run)
                report(f"run {number + 1}/{num_runs} {path}: {run.total_s:.2f} s")
    _check_agreement([run.answers for path in paths for run in runs[path]])
    return runs


def _check_agreement(answers: Sequence[Answers]) -> None:
    for other in answers[1:]:
        wrong = [key for key, ids in answers[0].items() if other.get(key) != ids]
        if wrong or len(other) != len(answers[0]):
            raise ModelError(
                f"the paths gave different tokens for (region, task) {wrong[:3]}.\n"
                "  Expected the same ones; in half precision rounding can do that, in float32 it "
                "is a fault of this package.",
                code="paths_differ",
            )


def summary(runs: Sequence[Run]) -> dict[str, float]:
    """Medians: seconds by stage and in all, MiB, and tokens a second while decoding."""
    medians = {
        stage: statistics.median(run.seconds.get(stage, 0.0) for run in runs) for stage in STAGES
    }
    # The first token of each answer comes with the prefill.
    later = sum(max(0, len(ids) - 1) for ids in runs[0].answers.values())
    return {
        **{f"{stage}_s": round(seconds, 4) for stage, seconds in medians.items()},
        "total_s": round(statistics.median(run.total_s for run in runs), 4),
        "peak_mib": round(max(run.peak_mib for run in runs), 1),
        "decode_tokens_per_s": round(later / medians["decode"], 2) if medians["decode"] else 0.0,
    }
