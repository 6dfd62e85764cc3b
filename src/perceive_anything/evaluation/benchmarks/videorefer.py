"""VideoRefer-Bench-D (arXiv 2501.00599): descriptions of one object in each of 400 short videos.

`VideoRefer-Bench-D.json`, a list of: id, video, caption, frame_idx, and annotation, a list with the
object's masks by frame ({"36": {"segmentation": RLE}}); the videos in `Panda-70M-part`. Format as
in the benchmark's own description. The object is pointed at by its mask on frame `frame_idx`
("single-frame mode").
"""

from __future__ import annotations

from collections.abc import Iterator

from perceive_anything.evaluation.benchmarks.source import UNUSABLE, Source
from perceive_anything.evaluation.samples import Media, Sample, Truth
from perceive_anything.masks import decode_rle, segmentation_to_rle
from perceive_anything.types import Mask

__all__ = ["load"]


def load(source: Source) -> Iterator[Sample]:
    """One sample a row."""
    for place, row in source.rows(source.file("VideoRefer-Bench-D.json", "*/*-Bench-D.json")):
        try:
            frame, text = int(row["frame_idx"]), str(row["caption"]).strip()
            outline = row["annotation"][0][str(row["frame_idx"])]["segmentation"]
            mask = decode_rle(segmentation_to_rle(outline, tuple(outline["size"])))
            if not mask.any() or not text:
                raise ValueError("its mask or its caption is empty")
            media = Media(video=str(source.picture(row["video"])))
            yield Sample(str(row["id"]), media, Mask(mask), Truth(texts=(text,)), frame=frame)
        except UNUSABLE as error:
            source.bad.leave_out(place, error)
