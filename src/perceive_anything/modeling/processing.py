"""Pictures, prompts and words <-> the tensors of `PamForConditionalGeneration`.

Knows PIL/numpy pictures and prompts of `types`; no files, no models. Coordinates stay float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoProcessor, BatchFeature, ProcessorMixin
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling

from perceive_anything.modeling.configuration import PamConfig
from perceive_anything.modeling.prompts import chat_pieces, chat_tail, question
from perceive_anything.modeling.segmenter import BOX_LABELS, PAD_LABEL, PADDING_ROW, PromptTensors
from perceive_anything.types import Box, Mask, Points, Prompt

CLIP_FRAMES = 16


class PamImageProcessor(PilBackend):
    """RGB -> square float tensor, bicubic, aspect ratio not kept, normalised."""

    size = {"height": 1024, "width": 1024}  # noqa: RUF012 - the shape that transformers reads
    resample = PILImageResampling.BICUBIC
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    do_resize = do_rescale = do_normalize = do_convert_rgb = True
    model_input_names = ["pixel_values"]  # noqa: RUF012


class PamProcessor(ProcessorMixin):
    """What stands between a user's pictures, prompts and tasks and the model.

    Args:
        image_processor: A `PamImageProcessor`.
        tokenizer: The language model's tokenizer.
        image_rows: Visual rows of one region of an image (`PamConfig.image_rows`).
        image_token_id: Placeholder of a visual row (`PamConfig.image_token_id`).
    """

    def __init__(
        self,
        image_processor: PamImageProcessor,
        tokenizer: Any,
        image_rows: int = 1042,
        image_token_id: int = -200,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_processor, tokenizer, **kwargs)
        self.image_rows, self.image_token_id = image_rows, image_token_id

    @property
    def side(self) -> int:
        """Side of the square model input in pixels."""
        return int(self.image_processor.size["height"])

    def pixel_values(self, images: Sequence[np.ndarray | Image.Image]) -> Tensor:
        """uint8 pictures (H, W, 3) -> float (B, 3, S, S)."""
        pictures = [Image.fromarray(i) if isinstance(i, np.ndarray) else i for i in images]
        return self.image_processor(pictures, return_tensors="pt")["pixel_values"]

    def prompt_tensors(
        self,
        prompts: Sequence[Prompt],
        sizes_wh: Sequence[tuple[int, int]],
        image_index: Sequence[int] | None = None,
    ) -> PromptTensors:
        """Prompts in pixels of their pictures -> tensors in pixels of the model input.

        Args:
            prompts: One prompt a region.
            sizes_wh: Width and height of each picture.
            image_index: Picture of each prompt; all of the first by default.
        """
        index = list(image_index) if image_index is not None else [0] * len(prompts)
        rows = [
            _clicks(prompt, self.side / sizes_wh[i][0], self.side / sizes_wh[i][1])
            for prompt, i in zip(prompts, index, strict=True)
        ]
        longest = max(len(row) for row in rows)
        table = torch.tensor(
            [[*row, *[(0.0, 0.0, PADDING_ROW)] * (longest - len(row))] for row in rows],
            dtype=torch.float32,
        )
        masks = None
        if any(isinstance(prompt, Mask) for prompt in prompts):
            masks = torch.stack([_mask_input(prompt, self.side) for prompt in prompts])
        return PromptTensors(table[..., :2], table[..., 2].long(), torch.tensor(index), masks)

    def head_ids(self) -> list[int]:
        """Token ids in front of the visual rows; the same for every task."""
        return self.tokenizer(chat_pieces("recognize", "en")[0], add_special_tokens=False).input_ids

    def task_ids(self, task: str, language: str, previous: str | None = None) -> list[int]:
        """Token ids behind the visual rows, up to where the answer begins."""
        return self.question_ids(question(task, language, previous))

    def question_ids(self, text: str) -> list[int]:
        """Token ids behind the visual rows for a question in words of its own."""
        return self.tokenizer(chat_tail(text), add_special_tokens=False).input_ids

    def input_ids(self, task: str, language: str) -> list[int]:
        """Header, placeholders of the visual rows, task: what the model reads for one answer."""
        visual = [self.image_token_id] * self.image_rows
        return [*self.head_ids(), *visual, *self.task_ids(task, language)]

    def __call__(
        self,
        images: Sequence[np.ndarray | Image.Image],
        prompts: Sequence[Prompt],
        task: str = "describe",
        language: str = "en",
        image_index: Sequence[int] | None = None,
    ) -> BatchFeature:
        """Everything that `PamForConditionalGeneration.generate` takes, for one task.

        Args:
            images: Pictures, uint8 (H, W, 3) or PIL.
            prompts: One prompt a region, in pixels of its picture.
            task: One of the four text tasks.
            language: "en" or "zh".
            image_index: Picture of each prompt; all of the first by default.
        """
        sizes = [i.size if isinstance(i, Image.Image) else i.shape[1::-1] for i in images]
        tensors = self.prompt_tensors(prompts, sizes, image_index)
        ids = torch.tensor([self.input_ids(task, language)] * len(prompts))
        data = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "pixel_values": self.pixel_values(images),
            "points": tensors.points,
            "point_labels": tensors.labels,
            "image_index": tensors.image_index,
        }
        return BatchFeature(data if tensors.masks is None else data | {"masks": tensors.masks})

    def decode_answer(self, token_ids: Sequence[int] | Tensor) -> str:
        """New token ids -> text without special tokens."""
        return self.tokenizer.decode(token_ids, skip_special_tokens=True).strip()


def clip_frames(num_frames: int) -> list[int]:
    """The frames of a clip that the language model reads: the first and 15 spread over the rest.

    Args:
        num_frames: Frames of the clip; all of them are read where there are no more than 16.
    """
    if num_frames <= CLIP_FRAMES:
        return list(range(num_frames))
    return [0, *np.linspace(1, num_frames - 1, CLIP_FRAMES - 1).astype(int).tolist()]


def restore_masks(mask_logits: Tensor, size_wh: tuple[int, int]) -> np.ndarray:
    """Low-resolution logits (R, h, h) -> bool masks (R, H, W) of the picture.

    Bilinear in float32 straight to the picture's size, threshold 0, as released.
    """
    width, height = size_wh
    full = F.interpolate(
        mask_logits.float()[:, None], size=(height, width), mode="bilinear", align_corners=False
    )
    return (full[:, 0] > 0).cpu().numpy()


def _clicks(prompt: Prompt, scale_x: float, scale_y: float) -> list[tuple[float, float, int]]:
    """Rows (x, y, label) of a prompt in the model's frame; box corners come first."""
    if isinstance(prompt, Mask):
        return [(0.0, 0.0, PAD_LABEL)]
    box = prompt if isinstance(prompt, Box) else prompt.box
    rows = []
    if box is not None:
        rows += [(box.x1, box.y1, BOX_LABELS[0]), (box.x2, box.y2, BOX_LABELS[1])]
    if isinstance(prompt, Points):
        rows += [(x, y, label) for (x, y), label in zip(prompt.xy, prompt.labels, strict=True)]
    return [(x * scale_x, y * scale_y, label) for x, y, label in rows]


def _mask_input(prompt: Prompt, side: int) -> Tensor:
    """(1, side, side) float mask, zeros for other prompts."""
    if not isinstance(prompt, Mask):
        return torch.zeros(1, side, side)
    mask = torch.from_numpy(prompt.array.astype(np.float32))[None, None]
    return F.interpolate(mask, size=(side, side), mode="bilinear", antialias=True)[0]


AutoImageProcessor.register(PamConfig, image_processor_classes={"pil": PamImageProcessor})
AutoProcessor.register(PamConfig, PamProcessor)
