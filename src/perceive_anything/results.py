"""What a perceived image gives back: Region, ImageResult.

Plain values with thin methods over `export` and `draw`; makes no masks and no text itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perceive_anything import export
from perceive_anything.errors import OptionError
from perceive_anything.export.files import unwritable, write_json_file
from perceive_anything.types import Prompt

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import supervision

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One prompted region: its mask and the texts that were asked for.

    Args:
        id: Position of the prompt in its call, from 0.
        prompt: The prompt that made this region.
        mask: Boolean (H, W) of the original image.
        box_xyxy: Box of the mask in pixels, x2 and y2 exclusive; zeros if the mask is empty.
        score: How sure the model is of the mask, 0..1.
        label: What it is; None if not asked for, like the texts below.
        explanation: What such a thing is, and its part in this image.
        caption: One concise sentence.
        description: A detailed caption.
        label_confidence: How likely the label is right, 0..1; None without a label.
        uncertain: The label is more likely wrong than right; False for models whose confidence was
            never fitted.
        log_probabilities: By field name of each text that was written: mean of the logarithms of
            the probabilities of its tokens, its end among them.
    """

    id: int
    prompt: Prompt
    mask: npt.NDArray[np.bool_]
    box_xyxy: tuple[int, int, int, int]
    score: float
    label: str | None = None
    explanation: str | None = None
    caption: str | None = None
    description: str | None = None
    label_confidence: float | None = None
    uncertain: bool = False
    log_probabilities: Mapping[str, float] = field(default_factory=dict)

    @property
    def texts(self) -> dict[str, str | None]:
        """The four texts by field name."""
        return {name: getattr(self, name) for name in export.TEXT_FIELDS}

    @property
    def title(self) -> str:
        """What is written beside it in pictures: "cat", "cat?" if uncertain, or its number."""
        return title(self.id, self.label, uncertain=self.uncertain)

    def __repr__(self) -> str:
        """Short: the mask is named by its shape."""
        height, width = self.mask.shape
        return (
            f"Region(id={self.id}, box_xyxy={self.box_xyxy}, score={self.score:.2f}, "
            f"label={self.label!r}, mask={width}x{height})"
        )

    def to_json(self) -> dict[str, Any]:
        """This region as one entry of "regions" in the result JSON."""
        return export.region_to_json(
            region_id=self.id,
            prompt=self.prompt,
            mask=self.mask,
            box_xyxy=self.box_xyxy,
            score=self.score,
            texts=self.texts,
            label_confidence=self.label_confidence,
            uncertain=self.uncertain,
            log_probabilities=self.log_probabilities,
        )

    def to_coco(self, image_id: int = 1, category_id: int = 1) -> dict[str, Any]:
        """This region as a COCO annotation with RLE.

        Args:
            image_id: COCO id of the image.
            category_id: COCO id of the category.

        Returns:
            A dict that pycocotools reads.
        """
        return export.region_to_coco(
            region_id=self.id,
            mask=self.mask,
            box_xyxy=self.box_xyxy,
            score=self.score,
            texts=self.texts,
            label_confidence=self.label_confidence,
            uncertain=self.uncertain,
            image_id=image_id,
            category_id=category_id,
        )

    def to_supervision(self) -> supervision.Detections:
        """This region as `supervision.Detections` of length one."""
        return _detections((self,))

    def plot(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A copy of the image with this region drawn on it.

        Args:
            image: The perceived image, uint8 RGB (H, W, 3).

        Returns:
            uint8 RGB (H, W, 3).
        """
        return _plot((self,), image)

    def save(self, path: str | Path, image: npt.NDArray[np.uint8] | None = None) -> Path:
        """Write the region: `.json`, or a picture.

        Args:
            path: Ends in .json, .png, .jpg or .webp; folders are made.
            image: The perceived image; without it a picture shows the mask, white on black.

        Returns:
            The path written.

        Raises:
            OptionError: The ending is none of these, or the path cannot be written.
        """
        target = check_target(path, (".json", *IMAGE_SUFFIXES))
        if target.suffix.lower() == ".json":
            return write_json_file(self.to_json(), target)
        return _save_picture(self.plot(image) if image is not None else _white(self.mask), target)


@dataclass(frozen=True, slots=True, eq=False)
class ImageResult:
    """All regions of one image with what is needed to read them later.

    Args:
        source: Where the image came from.
        size_wh: Width and height in pixels.
        model: Name of the model that answered.
        language: "en" or "zh".
        regions: In the order of the prompts.
        timing_s: Seconds by stage.
    """

    source: str
    size_wh: tuple[int, int]
    model: str
    language: str
    regions: tuple[Region, ...]
    timing_s: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The object of `--json`; docs/result.schema.json describes it."""
        return export.result_to_json(
            source=self.source,
            size_wh=self.size_wh,
            model=self.model,
            language=self.language,
            regions=[region.to_json() for region in self.regions],
            timing_s=self.timing_s,
        )

    def to_coco(self, image_id: int = 1) -> dict[str, Any]:
        """A COCO data set of this image; the labels are the categories.

        Args:
            image_id: COCO id of the image.

        Returns:
            A dict with "images", "annotations" and "categories".
        """
        annotations = [region.to_coco(image_id=image_id) for region in self.regions]
        return export.coco_dataset(
            source=self.source, size_wh=self.size_wh, annotations=annotations, image_id=image_id
        )

    def to_supervision(self) -> supervision.Detections:
        """All regions as `supervision.Detections`."""
        return _detections(self.regions)

    def export(self, name: str, folder: str | Path) -> list[Path]:
        """Write the result in another format; docs/exports.md says what each keeps.

        Args:
            name: "json", "jsonl", "coco", "yolo", "labelstudio", "cvat", "fiftyone" or "masks".
            folder: Where to; it is made. Files of the same names are replaced.

        Returns:
            The files.

        Raises:
            OptionError: There is no such format, or a file cannot be written.

        Example:
            >>> result.export("coco", "out")  # doctest: +SKIP
            [PosixPath('out/instances.json'), PosixPath('out/captions.json')]
        """
        return export.write_export(name, [export.ExportedImage.of(self.to_json())], folder)

    def plot(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A copy of the image with every region drawn on it.

        Args:
            image: The perceived image, uint8 RGB (H, W, 3).

        Returns:
            uint8 RGB (H, W, 3).
        """
        return _plot(self.regions, image)

    def save(self, path: str | Path, image: npt.NDArray[np.uint8] | None = None) -> Path:
        """Write the result: `.json`, or the overlay, which needs the image.

        Args:
            path: Ends in .json, .png, .jpg or .webp; folders are made.
            image: The perceived image, uint8 RGB (H, W, 3).

        Returns:
            The path written.

        Raises:
            OptionError: The ending is none of these, the image is missing, or the path cannot
                be written.
        """
        target = check_target(path, (".json", *IMAGE_SUFFIXES))
        if target.suffix.lower() == ".json":
            return write_json_file(self.to_json(), target)
        if image is None:
            raise OptionError(
                f'cannot draw "{target}" without the image the regions belong to.\n'
                "  Pass it: result.save(path, image=array), or save as .json.",
                code="out_unwritable",
            )
        return _save_picture(self.plot(image), target)


def title(region_id: int, label: str | None, *, uncertain: bool) -> str:
    """The name of a region where there is little room.

    Args:
        region_id: Of the region or track.
        label: Its label, if it has one.
        uncertain: Whether the label is in doubt.

    Example:
        >>> title(0, "cat", uncertain=True)
        'cat?'
    """
    return label + "?" * uncertain if label else f"region {region_id}"


def check_target(path: str | Path, suffixes: tuple[str, ...]) -> Path:
    """Refuse a path whose ending names no format we write.

    Args:
        path: Where to write.
        suffixes: Allowed endings, lower case, with the dot.

    Returns:
        The path.

    Raises:
        OptionError: Another ending, or the path is a folder.
    """
    target = Path(path)
    if target.is_dir() or target.suffix.lower() not in suffixes:
        what = "is a folder" if target.is_dir() else f'ends in "{target.suffix}"'
        raise OptionError(
            f'cannot write "{target}": it {what}.\n  Give a file ending in {", ".join(suffixes)}.',
            code="out_unwritable",
        )
    return target


def _detections(regions: tuple[Region, ...]) -> supervision.Detections:
    return export.to_detections(
        masks=[region.mask for region in regions],
        boxes_xyxy=[region.box_xyxy for region in regions],
        scores=[region.score for region in regions],
        texts=[region.texts for region in regions],
        label_confidences=[region.label_confidence for region in regions],
        uncertain=[region.uncertain for region in regions],
    )


def _plot(regions: tuple[Region, ...], image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    from perceive_anything.draw import draw_regions

    return draw_regions(
        image,
        masks=[region.mask for region in regions],
        boxes_xyxy=[region.box_xyxy for region in regions],
        labels=[region.title for region in regions],
        prompts=[export.prompt_to_json(region.prompt) for region in regions],
    )


def _white(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    import numpy as np

    return np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255


def _save_picture(array: npt.NDArray[np.uint8], path: Path) -> Path:
    from perceive_anything.media import save_image

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(array, path)
    except OSError as error:
        raise unwritable(path, error) from error
    return path
