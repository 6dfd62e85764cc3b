"""COCO: instances with run lengths and our texts, captions in a file of their own.

Takes arrays, boxes and texts, or exported images; boxes become exclusive xywh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perceive_anything.export.files import write_json_file
from perceive_anything.export.records import UNNAMED_CATEGORY, ExportedImage, category_ids
from perceive_anything.masks import encode_rle, mask_area

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def region_to_coco(
    *,
    region_id: int,
    mask: npt.NDArray[np.bool_],
    box_xyxy: tuple[int, int, int, int],
    score: float,
    texts: Mapping[str, str | None],
    label_confidence: float | None = None,
    uncertain: bool = False,
    image_id: int = 1,
    category_id: int = 1,
) -> dict[str, Any]:
    """One COCO annotation: exclusive xywh box, RLE segmentation, our texts beside them.

    Args:
        region_id: Becomes the annotation id, counted from 1 as COCO tools expect.
        mask: Boolean (H, W).
        box_xyxy: Box of the mask in pixels, x2 and y2 exclusive.
        score: 0..1.
        texts: Text by field name.
        label_confidence: 0..1, None without a label.
        uncertain: Whether the label is in doubt; not said without a confidence.
        image_id: COCO id of the image.
        category_id: COCO id of the category.

    Returns:
        A dict that pycocotools reads.
    """
    annotation: dict[str, Any] = {
        "id": region_id + 1,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": xywh(box_xyxy),
        "area": int(mask_area(mask)),
        "segmentation": encode_rle(mask),
        "iscrowd": 0,
        "score": round(float(score), 4),
    }
    annotation.update({name: text for name, text in texts.items() if text is not None})
    if label_confidence is not None:
        annotation["label_confidence"] = round(float(label_confidence), 4)
        annotation["uncertain"] = bool(uncertain)
    return annotation


def coco_dataset(
    *,
    source: str,
    size_wh: tuple[int, int],
    annotations: Sequence[Mapping[str, Any]],
    image_id: int = 1,
) -> dict[str, Any]:
    """A COCO data set of one image; categories are the distinct labels in order of appearance.

    Args:
        source: File name of the image.
        size_wh: Width and height in pixels.
        annotations: Annotations made by `region_to_coco`; their category ids are set here.
        image_id: COCO id of the image.

    Returns:
        A dict with "images", "annotations" and "categories".
    """
    listed, categories = categorised(annotations)
    width, height = size_wh
    return {
        "images": [{"id": image_id, "file_name": source, "width": width, "height": height}],
        "annotations": listed,
        "categories": categories,
    }


def write_coco(images: Sequence[ExportedImage], folder: Path) -> list[Path]:
    """Write `instances.json` and `captions.json`.

    Args:
        images: In the order of their ids, from 1.
        folder: Where to.

    Returns:
        The files.
    """
    instances, captions = coco_files(images)
    return [
        write_json_file(instances, folder / "instances.json"),
        write_json_file(captions, folder / "captions.json"),
    ]


def coco_files(images: Sequence[ExportedImage]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Many images as a COCO data set of instances and one of captions.

    Args:
        images: In the order of their ids, from 1.

    Returns:
        Instances: as `coco_dataset`, with ids of their own for every region. Captions: one for each
        region that has one, which "instance_id" names.
    """
    ids = category_ids(images)
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, start=1):
        for region in image.regions:
            annotation = region_to_coco(
                region_id=len(annotations),
                mask=region.mask,
                box_xyxy=region.box_xyxy,
                score=region.score,
                texts=region.texts,
                label_confidence=region.label_confidence,
                uncertain=region.uncertain,
                image_id=image_id,
                category_id=ids[region.category],
            )
            annotations.append(annotation)
    pages = [image_to_coco(image, image_id) for image_id, image in enumerate(images, start=1)]
    captions = [
        {"id": a["id"], "image_id": a["image_id"], "caption": a["caption"], "instance_id": a["id"]}
        for a in annotations
        if "caption" in a
    ]
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    instances = {"images": pages, "annotations": annotations, "categories": categories}
    return instances, {"images": pages, "annotations": captions}


def image_to_coco(image: ExportedImage, image_id: int) -> dict[str, Any]:
    """An entry of "images"."""
    width, height = image.size_wh
    return {"id": image_id, "file_name": image.name, "width": width, "height": height}


def categorised(
    annotations: Sequence[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The annotations with category ids, and the categories."""
    names: dict[str, int] = {}
    listed = []
    for annotation in annotations:
        name = annotation.get("label") or UNNAMED_CATEGORY
        category_id = names.setdefault(name, len(names) + 1)
        listed.append({**annotation, "category_id": category_id})
    return listed, [{"id": number, "name": name} for name, number in names.items()]


def xywh(box_xyxy: tuple[int, int, int, int]) -> list[int]:
    """Corner and size, as COCO writes boxes."""
    x1, y1, x2, y2 = (int(value) for value in box_xyxy)
    return [x1, y1, x2 - x1, y2 - y1]
