"""YouTube-VIS, which is COCO for videos: an annotation is a track with an entry for each frame.

Takes run lengths, boxes and texts; knows no Track class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from perceive_anything.export.coco import categorised, xywh
from perceive_anything.masks import decode_rle, mask_area


def track_to_ytvis(
    *,
    track_id: int,
    rles: Mapping[int, Mapping[str, Any]],
    boxes_xyxy: Mapping[int, tuple[int, int, int, int]],
    size_wh: tuple[int, int],
    num_frames: int,
    score: float,
    texts: Mapping[str, str | None],
    video_id: int = 1,
) -> dict[str, Any]:
    """One annotation in the form of YouTube-VIS: lists with an entry for each frame of the video.

    Args:
        track_id: Becomes the annotation id, counted from 1 as COCO tools expect.
        rles: COCO RLE by number of the frame, of the frames on which the region is visible.
        boxes_xyxy: Box in pixels, x2 and y2 exclusive, of at least these frames.
        size_wh: Width and height in pixels.
        num_frames: Frames of the video.
        score: 0..1.
        texts: Text by field name.
        video_id: Id of the video.

    Returns:
        A dict whose "segmentations" pycocotools decodes, with exclusive xywh "bboxes".
    """
    segmentations = [dict(rles[i]) if i in rles else None for i in range(num_frames)]
    corners = [boxes_xyxy[i] if i in rles else None for i in range(num_frames)]
    annotation: dict[str, Any] = {
        "id": track_id + 1,
        "video_id": video_id,
        "category_id": 1,
        "width": int(size_wh[0]),
        "height": int(size_wh[1]),
        "length": num_frames,
        "segmentations": segmentations,
        "bboxes": [xywh(box) if box else None for box in corners],
        "areas": [mask_area(decode_rle(rle)) if rle else None for rle in segmentations],
        "iscrowd": 0,
        "score": round(float(score), 4),
    }
    annotation.update({name: text for name, text in texts.items() if text is not None})
    return annotation


def ytvis_dataset(
    *,
    source: str,
    size_wh: tuple[int, int],
    num_frames: int,
    annotations: Sequence[Mapping[str, Any]],
    video_id: int = 1,
) -> dict[str, Any]:
    """A YouTube-VIS data set of one video; its categories are the distinct labels, as in COCO.

    Args:
        source: The video; its frames are named as that data set names extracted ones.
        size_wh: Width and height in pixels.
        num_frames: Frames of the video.
        annotations: Annotations made by `track_to_ytvis`; their category ids are set here.
        video_id: Id of the video.

    Returns:
        A dict with "videos", "annotations" and "categories".
    """
    listed, categories = categorised(annotations)
    stem = PurePath(source).stem
    video = {
        "id": video_id,
        "width": int(size_wh[0]),
        "height": int(size_wh[1]),
        "length": num_frames,
        "file_names": [f"{stem}/{index:05d}.jpg" for index in range(num_frames)],
    }
    return {"videos": [video], "annotations": listed, "categories": categories}
