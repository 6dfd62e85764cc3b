"""`Perceiver`: the object users hold; finds a model, owns device and precision, opens images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from perceive_anything.errors import OptionError
from perceive_anything.hub import find_folder
from perceive_anything.media import check_shape, load_image
from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.few_rows import use_few_rows
from perceive_anything.modeling.loading import load_folder
from perceive_anything.modeling.processing import PamProcessor
from perceive_anything.modeling.quantize import check_int8, quantize_int8
from perceive_anything.sessions.image import ImageSession
from perceive_anything.sessions.stream import StreamSession
from perceive_anything.sessions.video import VideoSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    from perceive_anything.types import Frame

    Pixels = npt.NDArray[np.uint8]
    VideoSource = str | Path | Iterable[Pixels | Image.Image]
    StreamSource = str | Path | int | Iterable[Pixels | Frame] | AsyncIterator[Pixels | Frame]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
QUANTIZERS = ("int8",)


class Perceiver:
    """Answers "what is this?" about regions of images.

    Attributes:
        model: The `PamForConditionalGeneration` behind it.
        processor: Its `PamProcessor`.
        model_name: What it was loaded from: "nano", a folder or a hub id.
        load_s: Seconds that loading took.
    """

    def __init__(
        self,
        model: PamForConditionalGeneration,
        processor: PamProcessor,
        model_name: str = "custom",
    ) -> None:
        self.model, self.processor, self.model_name = model.eval(), processor, model_name
        self.load_s = 0.0

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "nano",
        *,
        sam2: str | Path | None = None,
        device: str | None = None,
        dtype: str | None = None,
        quantize: str | None = None,
        compile: bool = False,
    ) -> Perceiver:
        """Load a model.

        Args:
            model: "nano" (embedded, offline), a folder, or a hub id such as
                "Perceive-Anything/PAM-3B"; a folder in our layout (`save_pretrained`,
                `perceive convert`) or in that of the released checkpoints.
            sam2: Where the SAM 2.1 of a released checkpoint comes from if it has none or you want
                another: SAM 2's own file, a SAM 2.1 folder of transformers, a hub id, or a size
                ("tiny", "small", "base-plus", "large").
            device: "cpu", "cuda", "mps"; by default the fastest there is, the CPU for nano.
            dtype: "float32", "float16" or "bfloat16"; by default float32 on a CPU, bfloat16 on an
                NVIDIA GPU that computes in it, else float16.
            quantize: "int8" gives the language model and the image encoder 8-bit weights, on a CPU
                in float32: a quarter of the memory of these layers; large ones get faster too.
            compile: Compile these two parts with torch.compile, on an NVIDIA GPU; the first answers
                wait for it.

        Raises:
            ModelError: There is no such model, or its files are missing, damaged or do not fit.
            OptionError: An unknown device, dtype or quantize, one that does not suit the others, or
                `sam2` for a model that has its own.

        Example:
            >>> pam = Perceiver.from_pretrained()  # doctest: +SKIP
        """
        start = time.perf_counter()
        name = str(model)
        place = choose_device(device, prefer_cpu=name == "nano")
        precision = choose_dtype(dtype, place)
        check_acceleration(quantize, compile, place, precision)
        loaded, processor = load_folder(find_folder(name), precision, sam2, find_folder)
        perceiver = cls(accelerate(loaded.to(place), quantize, compile), processor, name)
        perceiver.load_s = time.perf_counter() - start
        return perceiver

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return torch.device(self.model.device)

    def image(self, source: str | Path | bytes | Image.Image | np.ndarray) -> ImageSession:
        """Open and encode an image, once for all prompts.

        Args:
            source: Path, encoded bytes, PIL image or uint8 array (H, W, 3). EXIF rotation is
                applied.

        Raises:
            MediaError: The source is missing, damaged, no image, or too small or elongated.
        """
        name = str(source) if isinstance(source, (str, Path)) else "image"
        array = load_image(source)
        check_shape(array, name)
        return ImageSession(self.model, self.processor, array, name)

    def video(self, source: VideoSource, *, fps: float = 25.0) -> VideoSession:
        """Open a video, to point at regions on any of its frames.

        Args:
            source: Path, or frames (uint8 arrays (H, W, 3) or PIL images), held in memory.
            fps: Frames a second of given frames; a file has its own.

        Raises:
            MediaError: The source is missing, damaged or no video.
        """
        from perceive_anything.video import open_video

        name = str(source) if isinstance(source, (str, Path)) else "video"
        return VideoSession(self.model, self.processor, open_video(source, fps=fps), name)

    def stream(
        self,
        source: StreamSource | None = None,
        *,
        caption_every: float | str | Sequence[float] | None = "auto",
        language: str = "en",
    ) -> StreamSession:
        """Follow regions in frames as they arrive.

        Args:
            source: File, camera index, rtsp or http url, iterator or async iterator of frames; None
                if you push frames yourself. It is opened when iteration begins.
            caption_every: Seconds between captions, "auto" (when a region changes for good), the
                rising seconds at which events end, or None for no captions.
            language: "en" or "zh".

        Raises:
            OptionError: An unknown language or interval.
        """
        from perceive_anything.live import is_live, open_stream

        return StreamSession(
            self.model,
            self.processor,
            None if source is None else lambda: open_stream(source),
            live=source is not None and is_live(source),
            caption_every=caption_every,
            language=language,
            name=str(source) if isinstance(source, (str, Path, int)) else "stream",
        )


def choose_device(device: str | None, *, prefer_cpu: bool = False) -> torch.device:
    """The wanted device, or the fastest there is.

    Raises:
        OptionError: The device does not exist here.
    """
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device is None:
        fast = [name for name in ("cuda", "mps") if present[name] and not prefer_cpu]
        return torch.device((fast or ["cpu"])[0])
    kind = device.split(":")[0]
    if not present.get(kind):
        here = ", ".join(name for name, there in present.items() if there)
        raise OptionError(
            f'device "{device}" is not available.\n'
            f"  Available here: {here}. Leave --device out to take the fastest.",
            code="unknown_device",
        )
    return torch.device(device)


def choose_dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    """The wanted precision, or the one that suits the device.

    That is float32 on a CPU, bfloat16 on an NVIDIA GPU that computes in it, float16 elsewhere.

    Raises:
        OptionError: An unknown name.
    """
    if dtype is not None:
        return named_dtype(dtype)
    if device.type == "cpu":
        return torch.float32
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bfloat16 else torch.float16


def named_dtype(dtype: str) -> torch.dtype:
    """A precision by its name.

    Raises:
        OptionError: An unknown name.
    """
    if dtype not in DTYPES:
        raise OptionError(
            f'unknown dtype "{dtype}".\n  Expected one of {", ".join(DTYPES)}.',
            code="unknown_dtype",
        )
    return DTYPES[dtype]


def check_acceleration(
    quantize: str | None, compile: bool, device: torch.device, dtype: torch.dtype
) -> None:
    """See that what shall make a model smaller or faster works there, before it is loaded.

    Raises:
        OptionError: An unknown way, or one that does not suit the device and precision.
    """
    if quantize is not None and quantize not in QUANTIZERS:
        raise OptionError(
            f'unknown quantize "{quantize}".\n'
            f"  Expected {' or '.join(QUANTIZERS)}, or leave it out for the weights as they are.",
            code="unknown_option",
        )
    if quantize is not None:
        check_int8(device, dtype)
    if compile and device.type != "cuda":
        raise OptionError(
            f"compile needs CUDA, the model is on {device.type}.\n"
            '  Leave compile out, or take device="cuda" on a machine with an NVIDIA GPU.',
            code="unknown_option",
        )


def accelerate(
    model: PamForConditionalGeneration, quantize: str | None, compile: bool
) -> PamForConditionalGeneration:
    """The model, in place, with what makes it faster where it is; see `check_acceleration`."""
    if quantize is not None:
        quantize_int8(model)
    elif model.device.type == "cpu" and model.dtype == torch.float32:
        use_few_rows(model.language_model)
    if compile:
        model.sam.vision_encoder.compile()
        model.language_model.compile()
    return model
