"""Tensors in files, looked up without being read: safetensors, and SAM 2's `.pt`.

Knows files and names; not what the names mean. The only place that reads a pickle, and only one
that holds nothing but tensors.
"""

from __future__ import annotations

import json
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from perceive_anything.errors import ModelError

INDEX = "model.safetensors.index.json"
PICKLES = (".pt", ".pth", ".bin")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        file: Where it lies.
        shape: Its shape.
        num_bytes: Its size on disk.
        read: Reads it; nothing is kept in memory before or after.
    """

    file: Path
    shape: tuple[int, ...]
    num_bytes: int
    read: Callable[[], Tensor]


def tensors_of_file(path: Path) -> dict[str, StoredTensor]:
    """All tensors of a weights file by name.

    Args:
        path: `.safetensors`, or `.pt`/`.pth`/`.bin` with a state dict (SAM 2's lies under `model`).

    Raises:
        ModelError: The file is missing, damaged, or a pickle that holds more than tensors.
    """
    if not path.is_file():
        raise ModelError(
            f"weights file {path} is missing.\n  Download it again, or copy it there.",
            code="bad_model",
        )
    if path.suffix in PICKLES:
        return dict(_pickled(path))
    return dict(_safetensors(path))


def tensors_of_folder(folder: Path) -> dict[str, StoredTensor]:
    """All tensors of the safetensors files of a folder, those of its index if it has one.

    Raises:
        ModelError: There is none, or one is missing or damaged.
    """
    found: dict[str, StoredTensor] = {}
    for path in weight_files(folder):
        found |= tensors_of_file(path)
    return found


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model's folder.

    Raises:
        ModelError: There is none, or the index cannot be read.
    """
    placed = placed_tensors(folder)
    names = sorted(set(placed.values())) or sorted(p.name for p in folder.glob("*.safetensors"))
    if names:
        return [folder / name for name in names]
    others = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    raise ModelError(
        f"{folder} holds no safetensors weights{f', only {others[0]}' if others else ''}.\n"
        f"  Expected model.safetensors or shards with {INDEX}; download the folder again.",
        code="bad_model",
    )


def placed_tensors(folder: Path) -> dict[str, str]:
    """Name -> file by the index of a sharded checkpoint; empty where there is no index."""
    index = folder / INDEX
    return dict(read_json(index).get("weight_map", {})) if index.is_file() else {}


def read_json(path: Path) -> dict:
    """A JSON object.

    Raises:
        ModelError: The file is missing or no JSON object.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelError(
            f"{path} cannot be read: {why}\n  Download it again, or check the folder's name.",
            code="bad_model",
        ) from error
    if not isinstance(value, dict):
        raise ModelError(
            f"{path} holds a {type(value).__name__}, expected a JSON object.\n  Download it again.",
            code="bad_model",
        )
    return value


def _safetensors(path: Path) -> Iterator[tuple[str, StoredTensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                tensor = file.get_slice(name)
                shape = tuple(tensor.get_shape())
                match = re.search(r"\d+", tensor.get_dtype())  # "BF16", "F8_E4M3"; "BOOL" is a byte
                bits = int(match[0]) if match else 8
                read = partial(_read_safetensor, path, name)
                yield name, StoredTensor(path, shape, math.prod(shape) * bits // 8, read)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"weights file {path} is damaged: {_damage(path) or error}\n  Download it again.",
            code="bad_model",
        ) from error


def _read_safetensor(path: Path, name: str) -> Tensor:
    """Opened anew each time: a file that stays mapped counts as memory once it is read."""
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


def _damage(path: Path) -> str | None:
    """Where a safetensors file ends too early, if its header is whole.

    The format: eight bytes of header length, a JSON header with byte ranges, the bytes.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        header = file.read(min(length, 100_000_000))
    size = path.stat().st_size
    try:
        entries = json.loads(header)
        ends = sorted(
            (8 + length + entry["data_offsets"][1], name)
            for name, entry in entries.items()
            if name != "__metadata__"
        )
    except (ValueError, AttributeError, KeyError, TypeError):
        return f"it has {size} bytes and no whole header."
    cut = [name for end, name in ends if end > size]
    if not cut:
        return None
    return (
        f"it ends after {size} of {ends[-1][0]} bytes, inside {cut[0]} "
        f"({len(cut)} of {len(ends)} tensors are cut off)."
    )


def _pickled(path: Path) -> Iterator[tuple[str, StoredTensor]]:
    mapped = zipfile.is_zipfile(path)  # files of old PyTorch cannot be
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ModelError(
            f"weights file {path} was not read: it is damaged, or a pickle that holds more than "
            "tensors and could run code.\n"
            "  Expected SAM 2's own checkpoint; download it again, or give a .safetensors file.",
            code="bad_model",
        ) from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(
            f"weights file {path} holds no state dict, expected names and tensors.\n"
            "  Give SAM 2's own checkpoint, such as sam2.1_hiera_large.pt.",
            code="bad_model",
        )
    for name, tensor in content.items():
        yield (
            str(name),
            StoredTensor(path, tuple(tensor.shape), tensor.nbytes, partial(_same, tensor)),
        )


def _same(tensor: Tensor) -> Tensor:
    return tensor
