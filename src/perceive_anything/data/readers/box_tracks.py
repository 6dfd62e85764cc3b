"""Clips whose objects have boxes, one a frame: HC-STVG, VidSTG, BenSMOT and ElysiumTrack.

Knows their files; a clip is a video or a folder of its frames, somewhere below the set's folder.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perceive_anything.data.bad_rows import MALFORMED
from perceive_anything.data.readers.job import Dataset, Job
from perceive_anything.data.readers.json_rows import json_entries, json_of, json_rows, line_items
from perceive_anything.data.readers.pictures import (
    UNREADABLE,
    Film,
    Films,
    Finder,
    film_of_folder,
    picture_size_wh,
)
from perceive_anything.data.readers.regions import clip, plain_name, said, track, xywh_of_corners
from perceive_anything.data.schema import ByteRange, ClipRecord, TrackRecord

__all__ = ["DATASETS"]

Xywh = Sequence[float]
_BAD = (*MALFORMED, *UNREADABLE)


def _read_hc_stvg(job: Job) -> Iterator[ClipRecord]:
    path = job.file(
        "{split}_v2.json", "{split}_v1.json", "{split}.json", "annos/{split}_v2.json",
        "annos/hcstvg_v2/{split}.json", "annos/hcstvg_v1/{split}.json", "annos/{split}.json",
    )  # fmt: skip
    films = Films(job.folder)
    for item in json_entries(path):
        try:
            yield _person(job, str(item.name), item.value, films)
        except _BAD as error:
            job.bad.leave_out(f"{path}: {item.name}", error)


def _person(job: Job, name: str, row: Mapping[str, Any], films: Films) -> ClipRecord:
    """The one person a sentence is about; the first box is on frame `st_frame`, from 1."""
    film, start = films.open(name), int(row["st_frame"]) - 1
    boxes = {start + number: box for number, box in enumerate(row["bbox"]) if any(box[2:])}
    sentence = row.get("English") or row.get("caption")
    extra = {
        "phrases": said([sentence]),
        "caption": str(sentence or "").strip(),
        "caption_zh": str(row.get("Chinese") or "").strip(),
        "annotated_frames": tuple(range(start, start + len(row["bbox"]))),
    }
    person = track(0, "person", film.size_wh, xywh=boxes, extra=extra)
    return clip(name, job.dataset.name, job.split, film.size_wh, film.frames, (person,))


def _read_vidstg(job: Job) -> Iterator[ClipRecord]:
    path = job.file("{split}_annotations.json", "annotations/{split}_annotations.json",
                    "sent_annos/{split}_annotations.json")  # fmt: skip
    films = Films(job.folder)
    boxes = {file.stem: file for file in job.folder.rglob("*.json") if file.stem.isdecimal()}
    for number, (place, row) in enumerate(json_rows(path)):
        try:
            vid = str(row["vid"])
            if vid not in boxes:
                raise ValueError(f"there is no {vid}.json of VidOR")
            tracks = _spoken_of(row, json_of(boxes[vid])["trajectories"])
            film = films.open(vid)
            yield clip(
                f"{vid}#{number}", job.dataset.name, job.split, film.size_wh, film.frames, tracks
            )
        except _BAD as error:
            job.bad.leave_out(place, error)


def _spoken_of(row: Mapping[str, Any], trajectories: Sequence[Any]) -> list[TrackRecord]:
    """The objects that sentences are about, while they are true; the end is exclusive."""
    names = {each["tid"]: plain_name(each["category"]) for each in row["subject/objects"]}
    start, end = row["temporal_gt"]["begin_fid"], row["temporal_gt"]["end_fid"]
    sentences: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for key, name in (("captions", "phrases"), ("questions", "questions")):
        for each in row.get(key) or ():
            sentences[each["target_id"]][name].append(each["description"])
    tracks: list[TrackRecord] = []
    for tid, texts in sentences.items():
        boxes = {
            frame: _of_vidor(each["bbox"])
            for frame in range(start, min(end, len(trajectories)))
            for each in trajectories[frame]
            if each["tid"] == tid
        }
        extra = {"object": str(tid), "annotated_frames": tuple(range(start, end))}
        spoken = {name: said(of_name) for name, of_name in texts.items()}
        size_wh = (int(row["width"]), int(row["height"]))
        tracks.append(track(len(tracks), names[tid], size_wh, xywh=boxes, extra=extra | spoken))
    if not tracks:
        raise ValueError("it has no sentence")
    return tracks


def _of_vidor(corners: Mapping[str, float]) -> Xywh:
    return xywh_of_corners([corners[key] for key in ("xmin", "ymin", "xmax", "ymax")])


def _read_elysium(job: Job) -> Iterator[ClipRecord]:
    path = job.file("ElysiumTrack-1M.jsonl", "ElysiumTrack-1M.json", "ElysiumTrack-val500.json",
                    "annotations/ElysiumTrack-val500.json")  # fmt: skip
    finder = Finder([job.folder, job.folder.parent])
    for item in line_items(path):  # JSON lines, whatever the file is called
        try:
            row = json.loads(item.value)
            files = [finder.find(str(name)) for name in row["frames"]]
            size_wh = picture_size_wh(files[0])
            if len(row["box"]) != len(files):
                raise ValueError(f"it has {len(row['box'])} boxes for {len(files)} frames")
            boxes = {
                frame: _scaled(corners, size_wh)
                for frame, corners in enumerate(row["box"])
                if corners and any(corners)
            }
            sentence = str(row.get("object_description") or "").strip()
            extra = {"phrases": said([sentence]), "caption": sentence}
            label = plain_name(row.get("object_class") or "")
            found = track(0, label, size_wh, xywh=boxes, extra=extra)
            frames = [ByteRange(str(file)) for file in files]
            name = f"{row['vid']}#{row['id']}"
            yield clip(name, job.dataset.name, job.split, size_wh, frames, (found,))
        except _BAD as error:
            job.bad.leave_out(f"{path}:{item.name}", error)


def _scaled(corners: Sequence[float], size_wh: tuple[int, int]) -> Xywh:
    """Shares of the sides as pixels."""
    if max(corners) > 1:
        raise ValueError(f"its box {list(corners)} is not of shares from 0 to 1")
    return xywh_of_corners([share * size_wh[axis % 2] for axis, share in enumerate(corners)])


def _read_bensmot(job: Job) -> Iterator[ClipRecord]:
    folder = job.place("{split}", ".")
    places = sorted(path.parent.parent for path in folder.rglob("gt/gt.txt"))
    if not places:
        raise job.missing(f"{job.split}/ACTION/CLIP/gt/gt.txt")
    for place in places:
        try:
            yield _crowd(job, place, film_of_folder(place / "imgs"), place.relative_to(folder))
        except _BAD as error:
            job.bad.leave_out(str(place), error)


def _crowd(job: Job, place: Path, film: Film, name: Path) -> ClipRecord:
    """People in the order of their numbers, which is that of the captions."""
    boxes: dict[int, dict[int, Xywh]] = defaultdict(dict)
    numbers = {int(frame): place for place, frame in enumerate(film.names)}
    with (place / "gt" / "gt.txt").open(newline="") as stream:
        for line, cells in enumerate(csv.reader(stream), start=1):
            try:
                frame, person, *xywh = (float(cell) for cell in cells[:6])
                boxes[int(person)][numbers[int(frame)]] = xywh
            except MALFORMED as error:
                job.bad.leave_out(f"{place / 'gt' / 'gt.txt'}:{line}", error)
    captions = dict(enumerate(_captions(place / "instance_captions.txt"), start=1))
    tracks: list[TrackRecord] = []
    for person in sorted(boxes):
        who, sentence = captions.get(person, ("person", ""))
        extra = {"object": str(person), "phrases": said([sentence]), "caption": sentence}
        label = who.rstrip("0123456789") or "person"
        tracks.append(track(len(tracks), label, film.size_wh, xywh=boxes[person], extra=extra))
    summary = place / "video_caption.txt"
    told = said([summary.read_text(encoding="utf-8-sig")]) if summary.is_file() else ()
    return clip(
        name.as_posix(), job.dataset.name, job.split, film.size_wh, film.frames, tracks, told
    )


def _captions(path: Path) -> list[tuple[str, str]]:
    """Who and what, as "woman0: A woman ...", a line each."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    parts = [line.partition(":") for line in lines if line.strip()]
    return [(who.strip(), sentence.strip()) for who, _, sentence in parts]


DATASETS = (
    Dataset(
        "hc_stvg",
        "HC-STVG: a sentence about one person of a clip, boxes while it is true",
        "train_v2.json, train_v1.json or train.json (or in annos/), and CLIP.mp4 at any depth",
        "https://github.com/tzhhhh123/HC-STVG",
        "the readme there, for 1.0; 2.0 as other loaders read it; no real file was at hand",
        _read_hc_stvg,
        ("train", "val", "test"),
    ),
    Dataset(
        "vidstg",
        "VidSTG: sentences and questions about objects of VidOR's videos, boxes while true",
        "train_annotations.json, and VidOR's GROUP/CLIP.json and GROUP/CLIP.mp4 at any depth",
        "https://github.com/Guaranteer/VidSTG-Dataset",
        "the readme there; VidOR's boxes as other loaders read them; no real file was at hand",
        _read_vidstg,
        ("train", "val", "test"),
    ),
    Dataset(
        "bensmot",
        "BenSMOT: people of clips with boxes and a caption each, and one of the clip",
        "train/ACTION/CLIP/ with gt/gt.txt, imgs/*.jpg, instance_captions.txt, video_caption.txt",
        "https://github.com/Nathan-Li123/SMOTer/blob/main/BenSMOT.md",
        "BenSMOT.md and tools/convert_bensmot2coco.py there; no real file was at hand",
        _read_bensmot,
        ("train", "test"),
    ),
    Dataset(
        "elysium",
        "ElysiumTrack-1M: an object of a clip with boxes and a description",
        "ElysiumTrack-1M.jsonl and frames/CLIP/*.jpg",
        "https://github.com/Hon-Wong/Elysium",
        "the readme there; no real file was at hand",
        _read_elysium,
    ),
)
