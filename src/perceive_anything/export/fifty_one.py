"""FiftyOne: a folder that its importer reads, or samples when it is installed.

A mask there is cut to its box, and boxes are relative x, y, width, height. FiftyOne brings a
database, so nothing here needs it.
"""

from __future__ import annotations

import base64
import io
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perceive_anything.errors import MissingExtraError
from perceive_anything.export.files import write_json_file
from perceive_anything.export.records import ExportedImage, ExportedRegion
from perceive_anything.masks import BoolMask

FIELD = "perceive"


def write_fiftyone(images: Sequence[ExportedImage], folder: Path) -> list[Path]:
    """Write `samples.json` and `metadata.json`, FiftyOne's serialized JSON.

    Args:
        images: One sample each; files are named relative to the folder.
        folder: Where to; `fiftyone.Dataset.from_dir(folder, fiftyone.types.FiftyOneDataset)`.

    Returns:
        The files.
    """
    samples = [
        fiftyone_sample(image, Path(os.path.relpath(image.path, folder)).as_posix())
        for image in images
    ]
    return [
        write_json_file({"samples": samples}, folder / "samples.json"),
        write_json_file({"media_type": "image"}, folder / "metadata.json"),
    ]


def to_fiftyone(images: Sequence[ExportedImage]) -> list[Any]:
    """The images as `fiftyone.Sample`s, ready for `Dataset.add_samples`.

    Raises:
        MissingExtraError: FiftyOne is not installed.
    """
    try:
        import fiftyone
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            'samples of FiftyOne need the package "fiftyone", which is not installed.\n'
            '  Install it with: pip install fiftyone; or write the files: export("fiftyone", ...)',
            code="missing_extra",
        ) from error
    return [
        fiftyone.Sample.from_dict(fiftyone_sample(image, str(image.path.absolute())))
        for image in images
    ]


def fiftyone_sample(image: ExportedImage, filepath: str) -> dict[str, Any]:
    """One image as a serialized sample, its regions as detections in the field "perceive"."""
    found = [_detection(region, image.size_wh) for region in image.regions if not region.is_empty]
    width, height = image.size_wh
    return {
        "filepath": filepath,
        "tags": [],
        "metadata": {"_cls": "ImageMetadata", "width": width, "height": height},
        FIELD: {"_cls": "Detections", "detections": found},
    }


def _detection(region: ExportedRegion, size_wh: tuple[int, int]) -> dict[str, Any]:
    (x1, y1, x2, y2), (width, height) = region.box_xyxy, size_wh
    detection: dict[str, Any] = {
        "_cls": "Detection",
        "tags": ["uncertain"] if region.uncertain else [],
        "label": region.category,
        "bounding_box": [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height],
        "mask": pack_array(region.mask[y1:y2, x1:x2]),
        "confidence": region.score,
    }
    if region.label_confidence is not None:
        detection["label_confidence"] = region.label_confidence
    spoken = {name: text for name, text in region.texts.items() if name != "label"}
    return detection | spoken


def pack_array(mask: BoolMask) -> str:
    """A mask as FiftyOne stores arrays: NumPy's file, compressed, in base64."""
    with io.BytesIO() as file:
        np.save(file, mask, allow_pickle=False)
        return base64.b64encode(zlib.compress(file.getvalue())).decode("ascii")
