"""A model's folder, in our layout or the release's -> model and processor, whole or not at all.

Knows folders; which folder a name means is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import GenerationConfig
from transformers.utils import logging

from perceive_anything.errors import ModelError, OptionError
from perceive_anything.modeling.convert import (
    is_original,
    load_original,
    open_original,
    original_processor,
)
from perceive_anything.modeling.convert.files import placed_tensors, tensors_of_folder
from perceive_anything.modeling.model import PamForConditionalGeneration
from perceive_anything.modeling.processing import PamProcessor

WEIGHTS = "model.safetensors"
Loaded = tuple[PamForConditionalGeneration, PamProcessor]


def load_folder(
    folder: Path,
    dtype: torch.dtype,
    sam2: str | Path | None,
    fetch: Callable[[str], Path],
) -> Loaded:
    """Load a PAM of either layout.

    Args:
        folder: With config.json, safetensors and tokenizer.
        dtype: Precision in memory.
        sam2: Where a released folder's SAM 2.1 comes from; see `convert.sam2.find_sam2`.
        fetch: Hub id -> local folder.

    Raises:
        ModelError: A file or tensor is missing, damaged or does not fit.
        OptionError: `sam2` is given for a model that has its own.
    """
    with _quiet():
        if is_original(folder):
            checkpoint = open_original(folder, sam2, fetch)
            processor = original_processor(folder, checkpoint.config)
            return load_original(checkpoint, dtype), processor
        if sam2 is not None:
            raise OptionError(
                f"sam2 was given, but {folder} has a SAM 2 of its own.\n"
                "  Leave it out; it is for checkpoints in the layout of the release.",
                code="unknown_option",
            )
        return _load_ours(folder, dtype)


def _load_ours(folder: Path, dtype: torch.dtype) -> Loaded:
    try:
        processor = PamProcessor.from_pretrained(folder)
        model, report = PamForConditionalGeneration.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        tensors_of_folder(folder)  # says more of a damaged file
        raise ModelError(
            f"model {folder} cannot be loaded: {_first_line(error)}\n"
            "  Expected a folder with config.json, model.safetensors and tokenizer files; "
            "`perceive models` lists the models.",
            code="bad_model",
        ) from error
    _check_report(folder, report)
    if (folder / "generation_config.json").is_file():
        model.language_model.generation_config = GenerationConfig.from_pretrained(folder)
    return model, processor


def _check_report(folder: Path, report: Mapping[str, Iterable[Any]]) -> None:
    """Transformers fills what is missing with random numbers; here that is an error."""
    found = {
        "missing": sorted(report["missing_keys"]),
        "unexpected": sorted(report["unexpected_keys"]),
        "of the wrong shape": sorted(name for name, *_ in report["mismatched_keys"]),
    }
    placed = placed_tensors(folder)
    complaints = [
        f"{len(names)} {what}, such as {names[0]} in {placed.get(names[0], WEIGHTS)}"
        for what, names in found.items()
        if names
    ]
    if complaints:
        raise ModelError(
            f"the weights of {folder} do not fit: {'; '.join(complaints)}.\n"
            "  config.json and weights must be of one model; copy or convert it again.",
            code="bad_model",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Transformers draws bars and tables of keys on stderr; our errors say what a user needs."""
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), repr(error))
