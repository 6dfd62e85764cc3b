"""`Perceiver`: the object users hold; finds a model, owns device and precision, opens images."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers.utils import logging

from perceive_anything.assets import NANO
from perceive_anything.errors import ModelError, OptionError
from perceive_anything.media import check_shape, load_image
from perceive_anything.modeling import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor
from perceive_anything.sessions.image import ImageSession

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

HUB_TIMEOUT_S = 5.0
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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
        cls, model: str | Path = "nano", *, device: str | None = None, dtype: str | None = None
    ) -> Perceiver:
        """Load a model.

        Args:
            model: "nano" (embedded, offline), a folder written by `save_pretrained`, or a hub id.
            device: "cpu", "cuda", "mps"; by default the fastest there is, the CPU for nano.
            dtype: "float32", "float16" or "bfloat16"; by default float32 on a CPU, else bfloat16.

        Raises:
            ModelError: There is no such model, or its files are damaged.
            OptionError: An unknown device or dtype.

        Example:
            >>> pam = Perceiver.from_pretrained()  # doctest: +SKIP
        """
        start = time.perf_counter()
        name = str(model)
        place = choose_device(device, prefer_cpu=name == "nano")
        precision = choose_dtype(dtype, place)
        loaded, processor = _load(name, precision)
        perceiver = cls(loaded.to(place), processor, name)
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
    """The wanted precision, or float32 on a CPU and bfloat16 elsewhere.

    Raises:
        OptionError: An unknown name.
    """
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if dtype not in DTYPES:
        raise OptionError(
            f'unknown dtype "{dtype}".\n  Expected one of {", ".join(DTYPES)}.',
            code="unknown_dtype",
        )
    return DTYPES[dtype]


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Transformers draws bars on stderr for half a second of loading; users want answers."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _load(name: str, dtype: torch.dtype) -> tuple[PamForConditionalGeneration, PamProcessor]:
    folder = _folder_of(name)
    try:
        with _no_progress_bars():
            processor = PamProcessor.from_pretrained(folder)
            return PamForConditionalGeneration.from_pretrained(folder, dtype=dtype), processor
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            f'model "{name}" cannot be loaded: {_first_line(error)}\n'
            "  Expected a folder with config.json, model.safetensors and tokenizer files; "
            "`perceive models` lists the models.",
            code="bad_model",
        ) from error


def _folder_of(name: str) -> Path:
    """The folder of a model; a hub id is downloaded unless it is in the local cache."""
    folder = NANO if name == "nano" else Path(name)
    if folder.exists():
        return folder
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise ModelError(
            f'there is no model "{name}".\n'
            '  Expected "nano", a folder with config.json, or a hub id such as '
            "Perceive-Anything/PAM-3B; `perceive models` lists them.",
            code="unknown_model",
        )
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        host = urlsplit(constants.ENDPOINT).hostname
        socket.create_connection((host, 443), timeout=HUB_TIMEOUT_S).close()
        return Path(snapshot_download(name))
    except (OSError, HfHubHTTPError) as error:
        raise ModelError(
            f'model "{name}" is neither a folder nor in the local cache, and the hub cannot give '
            f"it: {_first_line(error)}\n"
            "  Check the name and the network, or copy the model here and give its folder.",
            code="unknown_model",
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), repr(error))
