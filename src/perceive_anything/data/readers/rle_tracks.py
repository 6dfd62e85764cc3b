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
from perceive_anything.data.readers.pictures import UNREADABLE, Finder, film_of_folder
from perceive_anything.data.readers.regions import Outline, clip, plain_name, said, track
from perceive_anything.data.schema import ByteRange, ClipRecord, TrackRecord
from perceive_anything.masks import segmentation_to_rle, union_rle

__all__ = ["DATASETS"]

SA_V_STEP = 4  # videos have 24 frames a second, of which 6 are annotated


def _read_instances(job: Job) -> Iterator[ClipRecord]:
    """The form of YouTube-VIS: videos, annotations with a mask a frame, categories."""
    path = job.file("{split}_instances.json", "annotations/{split}_instances.json",
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
    finder = Finder(job.paths("{split}/JPEGImages", "JPEGImages", "{split}", ""))
    for video in videos:
        place = f"{path}: video {video.get('id')}"
        tracks: list[TrackRecord] = []
        try:
            size_wh = (int(video["width"]), int(video["height"]))
            frames = [ByteRange(str(finder.find(str(name)))) for name in video["file_names"]]
        except MALFORMED as error:
            job.bad.leave_out(place, error)
            continue
        for row in rows.rows(video["id"]):
            try:
                if not row.get("iscrowd"):
                    outlines = _by_frame(row["segmentations"], len(frames))
                    label = names[row["category_id"]]
                    tracks.append(_track(len(tracks), label, size_wh, outlines, len(frames)))
            except MALFORMED as error:
                job.bad.leave_out(f"{path}: annotation {row.get('id')}", error)
        if tracks:
            name = str(video["id"])
            yield clip(name, job.dataset.name, job.split, size_wh, frames, tracks)


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
        tracks: list[TrackRecord] = []
        for ids, phrases in expressions.items():
            try:
                if ids:
                    outlines = _united(index, ids, len(film.frames), film.size_wh)
                    more = {"phrases": said(phrases), "annotation_ids": ids}
                    frames = len(film.frames)
                    tracks.append(_track(len(tracks), "", film.size_wh, outlines, frames, **more))
            except MALFORMED as error:
                job.bad.leave_out(f"{place}: masks {list(ids)}", error)
        if tracks:
            yield clip(name, job.dataset.name, job.split, film.size_wh, film.frames, tracks)


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
    tracks: list[TrackRecord] = []
    for place, name in enumerate(row["masklet_id"]):
        try:
            masks = [frame[place] for frame in row["masklet"]]
            outlines = _by_frame(masks, count, SA_V_STEP)
            frames = tuple(range(0, len(masks) * SA_V_STEP, SA_V_STEP))
            extra = {"object": str(name), "annotated_frames": frames}
            tracks.append(track(len(tracks), "", size_wh, outlines=outlines, extra=extra))
        except MALFORMED as error:
            job.bad.leave_out(f"{path}: masklet {name}", error)
    if not tracks:
        raise ValueError("it has no usable masklet")
    handles = [VideoFrame(str(video), number) for number in range(count)]
    name = str(row["video_id"])
    return clip(name, job.dataset.name, job.split, size_wh, handles, tracks)


# Checked against: the readme of haochenheheda/LVVIS, whose files are in the form of YouTube-VIS;
# README.md of henghuiding/MeViS, and the loaders of its masks; sav_dataset/README.md of
# facebookresearch/sam2. No real file was at hand.
DATASETS = (
    Dataset(
        "lv_vis",
        "LV-VIS: objects of 1,196 categories in clips, with masks on every frame",
        "train_instances.json and train/JPEGImages/CLIP/*.jpg",
        "https://github.com/haochenheheda/LVVIS",
        _read_instances,
        ("train", "val"),
    ),
    Dataset(
        "mevis",
        "MeViS: expressions of motion for one or several objects of a clip, with masks",
        "train/meta_expressions.json, train/mask_dict.json, train/JPEGImages/CLIP/*.jpg",
        "https://github.com/henghuiding/MeViS",
        _read_mevis,
        ("train", "valid_u"),
    ),
    Dataset(
        "sa_v",
        "SA-V train: masks people drew or mended, on every fourth frame of a video",
        "CLIP.mp4 and CLIP_manual.json side by side, at any depth",
        "https://github.com/facebookresearch/sam2/tree/main/sav_dataset",
        partial(_read_sa_v, kind="manual"),
    ),
    Dataset(
        "sa_v_auto",
        "SA-V train: masks a model drew, on every fourth frame of a video",
        "CLIP.mp4 and CLIP_auto.json side by side, at any depth",
        "https://github.com/facebookresearch/sam2/tree/main/sav_dataset",
        partial(_read_sa_v, kind="auto"),
    ),
)
