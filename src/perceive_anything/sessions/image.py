"""One image, encoded once, perceived as often as you like.

Knows the model's three steps (encode, segment, write) and turns their tensors into `Region`s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import torch

from perceive_anything.events import RegionFound
from perceive_anything.masks import BoolMask, mask_to_box_xyxy
from perceive_anything.results import Region
from perceive_anything.sessions.batches import in_batches, regions_at_once
from perceive_anything.sessions.closer import look_closer
from perceive_anything.sessions.everything import MaskGeneration, check_max_regions, find_masks
from perceive_anything.sessions.regions import (
    Writing,
    as_batch,
    iter_texts,
    masks_and_scores,
    write_texts,
)
from perceive_anything.tasks import ALL_TASKS
from perceive_anything.types import Mask, Prompt

if TYPE_CHECKING:
    from perceive_anything.events import TextChunk
    from perceive_anything.modeling import PamForConditionalGeneration
    from perceive_anything.modeling.processing import PamProcessor
    from perceive_anything.modeling.segmenter import RegionFeatures


class ImageSession:
    """An encoded image; made by `Perceiver.image`.

    Attributes:
        array: The image, uint8 (H, W, 3).
        source: Where it came from, for messages and results.
        timing_s: Seconds spent so far in "encode", "segment" and "text".
    """

    def __init__(
        self,
        model: PamForConditionalGeneration,
        processor: PamProcessor,
        array: np.ndarray,
        source: str = "image",
    ) -> None:
        self._model, self._processor = model, processor
        self.array, self.source = array, source
        self.timing_s = {"encode": 0.0, "segment": 0.0, "text": 0.0}
        start = time.perf_counter()
        with torch.inference_mode():
            pixels = processor.pixel_values([array]).to(model.device, model.dtype)
            self._features = model.encode_image(pixels)
        self.timing_s["encode"] = time.perf_counter() - start

    @property
    def model(self) -> PamForConditionalGeneration:
        """The model that answers."""
        return self._model

    @property
    def processor(self) -> PamProcessor:
        """Its processor."""
        return self._processor

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.array.shape[:2]
        return width, height

    @overload
    def perceive(
        self, prompts: Prompt, *, tasks: Sequence[str] = ..., language: str = ...,
        max_new_tokens: int | None = ..., temperature: float = ..., stream: Literal[False] = ...,
    ) -> Region: ...  # fmt: skip
    @overload
    def perceive(
        self, prompts: Sequence[Prompt], *, tasks: Sequence[str] = ..., language: str = ...,
        max_new_tokens: int | None = ..., temperature: float = ..., stream: Literal[False] = ...,
    ) -> list[Region]: ...  # fmt: skip
    @overload
    def perceive(
        self, prompts: Prompt | Sequence[Prompt], *, tasks: Sequence[str] = ...,
        language: str = ..., max_new_tokens: int | None = ..., temperature: float = ...,
        stream: Literal[True],
    ) -> Iterator[TextChunk]: ...  # fmt: skip
    def perceive(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        tasks: Sequence[str] = ALL_TASKS,
        language: str = "en",
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        stream: bool = False,
    ) -> Region | list[Region] | Iterator[TextChunk]:
        """Segment and describe regions of this image.

        Args:
            prompts: One prompt (`Box`, `Points`, `Mask`; pixels of the original image) or a list.
            tasks: Which texts to write; fewer tasks generate fewer tokens.
            language: "en" or "zh".
            max_new_tokens: Upper bound for each text; by default the model's, or one that suits the
                task.
            temperature: 0 writes the likeliest words, the same ones each time; above 0 samples (the
                released models' authors use 0.1).
            stream: Give the texts piece by piece as they are written, all at the same time. Leaving
                the loop stops the work.

        Returns:
            One `Region` for one prompt, a list in the order of the prompts for a list; with
            `stream` an iterator of `TextChunk`.

        Raises:
            PromptError: A prompt lies outside the image, or there is none.
            OptionError: An unknown task or language, or a temperature below 0.
            ModelError: One region alone is too large for the memory.

        Example:
            >>> image = Perceiver.from_pretrained().image("cat.jpg")  # doctest: +SKIP
            >>> image.perceive(Box(40, 10, 180, 120)).label  # doctest: +SKIP
            'cat'
        """
        writing = Writing.checked(tasks, language, max_new_tokens, temperature)
        batch, several = as_batch(prompts, self.source)
        for prompt in batch:
            prompt.validate_for(self.size_wh, self.source)
        size = regions_at_once(self._model, len(writing.texts))
        if stream:
            return in_batches(batch, size, partial(self._stream, writing))
        regions = list(in_batches(batch, size, partial(self._perceive, writing)))
        return regions if several else regions[0]

    @overload
    def everything(
        self, *, max_regions: int = ..., tasks: Sequence[str] = ..., language: str = ...,
        max_new_tokens: int | None = ..., temperature: float = ..., stream: Literal[False] = ...,
        **generation: float,
    ) -> list[Region]: ...  # fmt: skip
    @overload
    def everything(
        self, *, max_regions: int = ..., tasks: Sequence[str] = ..., language: str = ...,
        max_new_tokens: int | None = ..., temperature: float = ..., stream: Literal[True],
        **generation: float,
    ) -> Iterator[RegionFound | TextChunk]: ...  # fmt: skip
    def everything(
        self,
        *,
        max_regions: int = 32,
        tasks: Sequence[str] = ALL_TASKS,
        language: str = "en",
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        stream: bool = False,
        **generation: float,
    ) -> list[Region] | Iterator[RegionFound | TextChunk]:
        """Find regions without any prompt, then describe each; the largest first.

        Args:
            max_regions: Most regions.
            tasks: As in `perceive`; only "segment" finds masks and writes nothing.
            language: As there.
            max_new_tokens: As there.
            temperature: As there.
            stream: Give all masks as soon as they are found, then the texts of all of them piece by
                piece. Leaving the loop stops the work.
            **generation: How masks are found and chosen, by the names of SAM 2's mask generator,
                such as `points_per_side`; see `MaskGeneration`. By default what suits the model.

        Returns:
            Regions whose prompts are the masks that were found; there may be none. With `stream` an
            iterator of `RegionFound`, the largest first, then `TextChunk`s by their number.

        Raises:
            OptionError: An unknown task or language, or a setting out of range.

        Example:
            >>> image = Perceiver.from_pretrained().image("cat.jpg")  # doctest: +SKIP
            >>> [region.label for region in image.everything(max_regions=3)]  # doctest: +SKIP
            ['sofa', 'cat', 'cushion']
        """
        check_max_regions(max_regions)
        writing = Writing.checked(tasks, language, max_new_tokens, temperature)
        settings = MaskGeneration.of(self._model.config.mask_generation, generation)
        if stream:
            return self._stream_everything(settings, max_regions, writing)
        found = self._find(settings, max_regions)
        if not found or not writing.texts:
            return found
        regions = self.perceive(
            [region.prompt for region in found], tasks=tasks, language=language,
            max_new_tokens=max_new_tokens, temperature=temperature,
        )  # fmt: skip
        return [
            replace(region, score=item.score) for region, item in zip(regions, found, strict=True)
        ]

    def _find(self, settings: MaskGeneration, most: int) -> list[Region]:
        """Regions without texts, the largest first."""
        found = find_masks(partial(self._segment, close_ups=False), self.size_wh, settings, most)
        return [
            Region(i, Mask(f.mask), f.mask, mask_to_box_xyxy(f.mask) or (0, 0, 0, 0), f.score)
            for i, f in enumerate(found)
        ]

    def _stream_everything(
        self, settings: MaskGeneration, most: int, writing: Writing
    ) -> Iterator[RegionFound | TextChunk]:
        found = self._find(settings, most)
        yield from map(RegionFound, found)
        size = regions_at_once(self._model, len(writing.texts))
        prompts = [region.prompt for region in found]
        yield from in_batches(prompts, size, partial(self._stream, writing))

    @torch.inference_mode()
    def _segment(self, prompts: Sequence[Prompt], *, close_ups: bool = True) -> RegionFeatures:
        start = time.perf_counter()
        image = self._features if close_ups else replace(self._features, pixels=None)
        tensors = self._processor.prompt_tensors(prompts, [self.size_wh] * len(prompts))
        features = self._model.segment(image, tensors.to(self._model.device), once=not close_ups)
        self.timing_s["segment"] += time.perf_counter() - start
        return features

    def look(
        self, prompts: Sequence[Prompt], first_id: int = 0
    ) -> tuple[RegionFeatures, list[Region]]:
        """Segment only: what the texts are written from, and the regions without them.

        Args:
            prompts: In pixels of the image, which they fit.
            first_id: Id of the first region.
        """
        features = self._segment(prompts)
        masks, scores = masks_and_scores(
            features, self.size_wh, prompts, self._model.config.min_mask_part
        )
        boxes = [mask_to_box_xyxy(mask) or (0, 0, 0, 0) for mask in masks]
        found = zip(prompts, masks, boxes, scores, strict=True)
        regions = [Region(first_id + i, *values) for i, values in enumerate(found)]
        share = self._model.config.look_closer_below
        return features, look_closer(self.array, regions, share, self._ask_closer)

    @torch.inference_mode()
    def _ask_closer(
        self, crops: list[np.ndarray], prompts: list[Prompt]
    ) -> tuple[list[BoolMask], list[float]]:
        """Masks and scores of one prompt for each crop."""
        start = time.perf_counter()
        pixels = self._processor.pixel_values(crops).to(self._model.device, self._model.dtype)
        sizes = [(crop.shape[1], crop.shape[0]) for crop in crops]
        tensors = self._processor.prompt_tensors(prompts, sizes, range(len(crops)))
        encoded = replace(self._model.encode_image(pixels), pixels=None)  # no texts, no close-ups
        features = self._model.segment(encoded, tensors.to(self._model.device))
        masks, scores = [], []
        for row, size in enumerate(sizes):
            mask, score = masks_and_scores(
                features.rows([row]), size, [prompts[row]], self._model.config.min_mask_part
            )
            masks.append(mask[0])
            scores.append(score[0])
        self.timing_s["segment"] += time.perf_counter() - start
        return masks, scores

    @torch.inference_mode()
    def _perceive(self, writing: Writing, prompts: Sequence[Prompt], first_id: int) -> list[Region]:
        features, regions = self.look(prompts, first_id)
        if not writing.texts:
            return regions
        start = time.perf_counter()
        rows = self._model.visual_rows(features)
        texts = write_texts(self._model, self._processor, rows, writing)
        self.timing_s["text"] += time.perf_counter() - start
        return [replace(region, **said) for region, said in zip(regions, texts, strict=True)]

    def _stream(
        self, writing: Writing, prompts: Sequence[Prompt], first_id: int
    ) -> Iterator[TextChunk]:
        if not writing.texts:
            return
        with torch.inference_mode():
            rows = self._model.visual_rows(self._segment(prompts))
        for chunk in iter_texts(self._model, self._processor, rows, writing.texts, writing):
            yield replace(chunk, region=first_id + chunk.region)
