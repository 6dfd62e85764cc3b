"""Clips whose masks are RLE in JSON, one a frame: LV-VIS, MeViS, and SA-V's training set.

Knows their files; large ones are read track by track.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from perceive_anything.data.bad_rows import MALFORMED
from perceive_anything.data.handles import VideoFrame
from perceive_anything.data.readers.job import Dataset, Job
from perceive_anything.data.readers.json_rows import RowIndex, json_entries, json_items, json_of
from perceive_anything.data.readers.pictures import UNREADABLE, Film, Finder, film_of_folder
from perceive_anything.data.readers.regions import Outline, clip, plain_name, said, track
from perceive_anything.data.schema import ByteRange, ClipRecord, TrackRecord
from perceive_anything.masks import segmentation_to_rle, union_rle

__all__ = ["DATASETS"]

SA_V_STEP = 4  # videos have 24 frames a second, of which 6 are annotated


def _read_instances(job: Job) -> Iterator[ClipRecord]:
    """The form of YouTube-VIS: videos, annotations with a mask a frame, categories."""
    path = job.file("{split}_instances.json", "annotations/{split}_instances.json",
                    "Annotations/{split}_instances.json",
                    "{split}/instances.json")  # fmt: skip
    rows, videos, names = RowIndex(path), RowIndex(path), {}
    for item in json_items(path):
        row = item.value if isinstance(item.value, dict) else {}
        if item.section == "annotations":
            rows.add(row.get("video_id"), item)
        elif item.section == "videos":
            videos.add(row.get("id"), item)
        elif item.section == "categories":
            names[row.get("id")] = plain_name(row.get("name", ""))
    finder = Finder(
        job.paths("JPEGImages/{split}", "{split}/JPEGImages", "JPEGImages", "{split}", "")
    )
    for video in videos:
        place = f"{path}: video {video.get('id')}"
        try:
            size_wh = (int(video["width"]), int(video["height"]))
            frames = [ByteRange(str(finder.find(str(name)))) for name in video["file_names"]]
        except MALFORMED as error:
            job.bad.leave_out(place, error)
            continue
        own = [
            (f"{path}: annotation {row.get('id')}", row)
            for row in rows.rows(video["id"])
            if not row.get("iscrowd")
        ]
        make = partial(_instance, names=names, size_wh=size_wh, num_frames=len(frames))
        tracks = job.bad.usable(own, make)
        if tracks:
            name = str(video["id"])
            yield clip(name, job.dataset.name, job.split, size_wh, frames, tracks)


def _instance(
    number: int,
    row: Mapping[str, Any],
    names: Mapping[object, str],
    size_wh: tuple[int, int],
    num_frames: int,
) -> TrackRecord:
    outlines = _by_frame(row["segmentations"], num_frames)
    return _track(number, names[row["category_id"]], size_wh, outlines, num_frames)


def _track(
    number: int,
    label: str,
    size_wh: tuple[int, int],
    outlines: Mapping[int, Outline],
    num_frames: int,
    **extra: object,
) -> TrackRecord:
    looked_at = {"annotated_frames": tuple(range(num_frames))}
    return track(number, label, size_wh, outlines=outlines, extra={**looked_at, **extra})


def _by_frame(rles: Sequence[Outline | None], num_frames: int, step: int = 1) -> dict[int, Outline]:
    if (len(rles) - 1) * step >= num_frames:
        raise ValueError(f"it has {len(rles)} masks for {num_frames} frames")
    return {number * step: rle for number, rle in enumerate(rles) if rle}


def _read_mevis(job: Job) -> Iterator[ClipRecord]:
    folder = job.place("{split}", ".")
    path, masks = folder / "meta_expressions.json", folder / "mask_dict.json"
    if not path.is_file() or not masks.is_file():
        raise job.missing(f"{job.split}/meta_expressions.json with mask_dict.json")
    index = RowIndex(masks)
    for item in json_entries(masks):
        index.add(item.name, item)
    for name, video in json_of(path)["videos"].items():
        place = f"{path}: {name}"
        try:
            film = film_of_folder(folder / "JPEGImages" / name, video["frames"])
            expressions = _expressions(video["expressions"])
        except (*MALFORMED, *UNREADABLE) as error:
            job.bad.leave_out(place, error)
            continue
        rows = [(f"{place}: masks {list(ids)}", ids) for ids in expressions if ids]
        tracks = job.bad.usable(
            rows, partial(_expressed, index=index, said_of=expressions, film=film)
        )
        if tracks:
            yield clip(name, job.dataset.name, job.split, film.size_wh, film.frames, tracks)


def _expressed(
    number: int,
    ids: tuple[object, ...],
    index: RowIndex,
    said_of: Mapping[tuple[object, ...], Sequence[str]],
    film: Film,
) -> TrackRecord:
    outlines = _united(index, ids, len(film.frames), film.size_wh)
    more = {"phrases": said(said_of[ids]), "annotation_ids": ids}
    return _track(number, "", film.size_wh, outlines, len(film.frames), **more)


def _expressions(rows: Mapping[str, Mapping[str, Any]]) -> dict[tuple[object, ...], list[str]]:
    """What is said, by the masks it is said of; of none where nothing fits."""
    found: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for row in rows.values():
        found[tuple(row["anno_id"])].append(row["exp"])
    return found


def _united(
    index: RowIndex, ids: Sequence[object], num_frames: int, size_wh: tuple[int, int]
) -> dict[int, Outline]:
    """The masks of several objects as one, by frame."""
    rles: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for each in ids:
        (masks,) = index.rows(each) or [None]
        if masks is None:
            raise ValueError(f"there is no mask {each}")
        for frame, rle in _by_frame(masks, num_frames).items():
            rles[frame].append(segmentation_to_rle(rle, size_wh[::-1]))
    return {frame: union_rle(parts) for frame, parts in rles.items()}


def _read_sa_v(job: Job, kind: str) -> Iterator[ClipRecord]:
    files = [job.root] if job.root.is_file() else sorted(job.root.rglob(f"*_{kind}.json"))
    if not files:
        raise job.missing(f"*_{kind}.json")
    for path in files:
        try:
            row = json_of(path)
            yield _of_sa_v(job, path, row)
        except (*MALFORMED, *UNREADABLE) as error:
            job.bad.leave_out(str(path), error)


def _of_sa_v(job: Job, path: Path, row: Mapping[str, Any]) -> ClipRecord:
    size_wh = (int(row["video_width"]), int(row["video_height"]))
    video = path.with_name(f"{row['video_id']}.mp4")
    if not video.is_file():
        raise ValueError(f"there is no file {video}")
    count = int(row["video_frame_count"])
    names = [
        (f"{path}: masklet {name}", (place, name)) for place, name in enumerate(row["masklet_id"])
    ]
    make = partial(_masklet, masks=row["masklet"], size_wh=size_wh, num_frames=count)
    tracks = job.bad.usable(names, make)
    if not tracks:
        raise ValueError("it has no usable masklet")
    handles = [VideoFrame(str(video), number) for number in range(count)]
    name = str(row["video_id"])
    return clip(name, job.dataset.name, job.split, size_wh, handles, tracks)


def _masklet(
    number: int,
    named: tuple[int, object],
    masks: Sequence[Sequence[Outline | None]],
    size_wh: tuple[int, int],
    num_frames: int,
) -> TrackRecord:
    place, name = named
    outlines = _by_frame([frame[place] for frame in masks], num_frames, SA_V_STEP)
    looked_at = tuple(range(0, len(masks) * SA_V_STEP, SA_V_STEP))
    extra = {"object": str(name), "annotated_frames": looked_at}
    return track(number, "", size_wh, outlines=outlines, extra=extra)


DATASETS = (
    Dataset(
        "lv_vis",
        "LV-VIS: objects of 1,196 categories in clips, with masks on every frame",
        "train_instances.json (or in annotations/) and JPEGImages/train/CLIP/*.jpg",
        "https://github.com/haochenheheda/LVVIS",
        "the readme there, which names the form of YouTube-VIS; no real file was at hand",
        _read_instances,
        ("train", "val"),
    ),
    Dataset(
        "mevis",
        "MeViS: expressions of motion for one or several objects of a clip, with masks",
        "train/meta_expressions.json, train/mask_dict.json, train/JPEGImages/CLIP/*.jpg",
        "https://github.com/henghuiding/MeViS",
        "the readme there; the masks as other loaders read them; no real file was at hand",
        _read_mevis,
        ("train", "valid_u"),
    ),
    Dataset(
        "sa_v",
        "SA-V train: masks people drew or mended, on every fourth frame of a video",
        "CLIP.mp4 and CLIP_manual.json side by side, at any depth",
        "https://github.com/facebookresearch/sam2/tree/main/sav_dataset",
        "the readme there; no real file was at hand",
        partial(_read_sa_v, kind="manual"),
    ),
    Dataset(
        "sa_v_auto",
        "SA-V train: masks a model drew, on every fourth frame of a video",
        "CLIP.mp4 and CLIP_auto.json side by side, at any depth",
        "https://github.com/facebookresearch/sam2/tree/main/sav_dataset",
        "the readme there; no real file was at hand",
        partial(_read_sa_v, kind="auto"),
    ),
)
