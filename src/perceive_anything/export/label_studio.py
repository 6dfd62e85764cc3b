"""Label Studio: tasks with predictions (brush, rectangle, texts) and the labelling configuration.

Coordinates there are percent of the image. A rectangle is the child of its brush, so that both read
back as one region.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from perceive_anything.export.answers import TEXT_FIELDS
from perceive_anything.export.cvat import xml_text
from perceive_anything.export.files import write_json_file, write_text_file
from perceive_anything.export.records import ExportedImage, ExportedRegion, category_ids
from perceive_anything.export.rle_pack import pack_mask

LOCAL_FILES = "/data/local-files/?d="
SPOKEN = tuple(name for name in TEXT_FIELDS if name != "label")


def write_label_studio(images: Sequence[ExportedImage], folder: Path) -> list[Path]:
    """Write `tasks.json` to import and `config.xml`, the labelling configuration it needs.

    Images are named as files of a local storage whose root is the folder of the images.

    Args:
        images: One task each.
        folder: Where to.

    Returns:
        The files.
    """
    tasks = [label_studio_task(image) for image in images]
    return [
        write_json_file(tasks, folder / "tasks.json"),
        write_text_file(label_studio_config(category_ids(images)), folder / "config.xml"),
    ]


def label_studio_task(image: ExportedImage) -> dict[str, Any]:
    """One image as a task with one prediction."""
    scores = [region.score for region in image.regions]
    prediction = {
        "model_version": f"perceive-anything/{image.entry['model']}",
        "score": round(sum(scores) / len(scores), 4) if scores else 0.0,
        "result": [row for region in image.regions for row in _rows(region, image.size_wh)],
    }
    return {"data": {"image": LOCAL_FILES + quote(image.name)}, "predictions": [prediction]}


def _rows(region: ExportedRegion, size_wh: tuple[int, int]) -> Iterable[dict[str, Any]]:
    (width, height), name = size_wh, f"region{region.id}"
    whole = {
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    }
    scored = {**whole, "score": region.score}
    brush = {"format": "rle", "rle": pack_mask(region.mask), "brushlabels": [region.category]}
    yield {"id": name, "type": "brushlabels", "from_name": "mask", **scored, "value": brush}
    if not region.is_empty:
        box = percent_of(region.box_xyxy, size_wh)
        rectangle = {**box, "rotation": 0, "rectanglelabels": [region.category]}
        yield {
            "id": f"{name}-box",
            "parentID": name,
            "type": "rectanglelabels",
            "from_name": "box",
            **scored,
            "value": rectangle,
        }
    for field in SPOKEN:
        if text := region.texts.get(field):
            said = {"text": [text]}
            yield {"id": name, "type": "textarea", "from_name": field, **whole, "value": said}


def percent_of(box_xyxy: tuple[int, int, int, int], size_wh: tuple[int, int]) -> dict[str, float]:
    """A pixel box as "x", "y", "width", "height" in percent.

    Example:
        >>> percent_of((10, 5, 30, 20), (40, 20))
        {'x': 25.0, 'y': 25.0, 'width': 50.0, 'height': 75.0}
    """
    (x1, y1, x2, y2), (width, height) = box_xyxy, size_wh
    return {
        "x": x1 / width * 100,
        "y": y1 / height * 100,
        "width": (x2 - x1) / width * 100,
        "height": (y2 - y1) / height * 100,
    }


def label_studio_config(labels: Iterable[str]) -> str:
    """The labelling configuration that such tasks need."""
    choices = "".join(f"    <Label value={quoteattr(xml_text(label))}/>\n" for label in labels)
    texts = "".join(
        f'  <TextArea name="{field}" toName="image" perRegion="true" editable="true"/>\n'
        for field in SPOKEN
    )
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="mask" toName="image">\n{choices}  </BrushLabels>\n'
        f'  <RectangleLabels name="box" toName="image">\n{choices}  </RectangleLabels>\n'
        f"{texts}</View>\n"
    )
