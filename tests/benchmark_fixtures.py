"""Miniatures of every benchmark in its true file format, each with a row that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from perceive_anything.masks import encode_rle
from perceive_anything.video_writer import VideoWriter

SIZE_WH = (96, 72)
Y, X = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]]
DISC, SQUARE = np.hypot(X - 28, Y - 36) < 18, (np.abs(X - 70) < 14) & (np.abs(Y - 36) < 14)
DISC_XYWH, SQUARE_XYWH = [10, 18, 36, 36], [57, 23, 27, 27]
POLYGON = [[57, 23, 84, 23, 84, 50, 57, 50]]


def scene(shift: int = 0) -> np.ndarray:
    """A red disc and a blue square on grey; the disc moves to the right."""
    image = np.full((*DISC.shape, 3), 180, np.uint8)
    image[SQUARE] = (30, 40, 220)
    image[np.roll(DISC, shift, axis=1)] = (220, 40, 30)
    return image


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene()).save(path)


def film(path: Path, num_frames: int = 4, fps: float = 8.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps, SIZE_WH) as writer:
        for number in range(num_frames):
            writer.write(scene(2 * number))


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")


def lines(path: Path, rows: list[Any]) -> None:
    write(path, "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def make_osprey(folder: Path, name: str, category: str) -> None:
    """One image whose second region has an impossible box, and one that is not there."""
    picture(folder / "val2017" / "a.jpg")
    image = {"file_name": "a.jpg", "height": 72, "width": 96}
    good = {"bbox": SQUARE_XYWH, "segmentation": POLYGON}
    rows = [
        image
        | {
            "categories": [category, "cat"],
            "annotations": [good, {"bbox": [500, 500, 4, 4], "segmentation": POLYGON}],
        },
        image | {"file_name": "gone.jpg", "categories": ["cat"], "annotations": [good]},
    ]
    write(folder / name, rows)


def make_lvis(folder: Path) -> None:
    make_osprey(folder, "lvis_val_1k_category.json", "traffic_light")


def make_paco(folder: Path) -> None:
    make_osprey(folder, "paco_val_1k_category.json", "dog:ear")


def make_coco_text(folder: Path) -> None:
    picture(folder / "train2014" / "COCO_train2014_000000000001.jpg")
    word = {"image_id": 1, "class": "machine printed", "language": "english"}
    legible = word | {"legibility": "legible", "bbox": SQUARE_XYWH, "utf8_string": "STOP"}
    anns = {
        "10": legible | {"id": 10, "mask": POLYGON[0]},
        "11": word | {"id": 11, "legibility": "illegible", "bbox": DISC_XYWH, "mask": []},
        "12": legible | {"id": 12, "bbox": [200, 0, 5, 5], "mask": []},
    }
    name = "COCO_train2014_000000000001.jpg"
    image = {"id": 1, "file_name": name, "width": 96, "height": 72, "set": "val"}
    content = {"imgs": {"1": image}, "anns": anns, "imgToAnns": {"1": [10, 11, 12]}}
    write(folder / "cocotext.v2.json", content)


def make_total_text(folder: Path) -> None:
    picture(folder / "Images" / "Test" / "img1.jpg")
    good = "x: [[57 84 84 57]], y: [[23 23 50 50]], ornt: [u'c'], transcriptions: [u'STOP']\n"
    odd = "x: [[1 2]], y: [[1]], ornt: [u'c'], transcriptions: [u'NO']\n"
    write(folder / "Groundtruth" / "Test" / "poly_gt_img1.txt", good + odd)


def make_vg(folder: Path) -> None:
    picture(folder / "VG_100K" / "1.jpg")
    image = {"image_id": 1, "width": 96, "height": 72, "url": "https://example.org/1.jpg"}
    x, y, width, height = SQUARE_XYWH
    region = {"region_id": 5, "image_id": 1, "x": x, "y": y, "width": width, "height": height}
    regions = [region | {"phrase": "a blue square"}, region | {"phrase": "lost", "x": 999}]
    write(folder / "image_data.json", [image])
    write(folder / "region_descriptions.json", [{"id": 1, "regions": regions}])


def make_refcocog(folder: Path) -> None:
    name = "COCO_train2014_000000000001.jpg"
    picture(folder / "train2014" / name)
    said = [{"sent": "the blue square", "raw": "The blue square"}, {"sent": "square on the right"}]
    ref = {"split": "val", "image_id": 1, "file_name": name, "sentences": said, "category_id": 1}
    write(folder / "refs(umd).json", [
        ref | {"ref_id": 1, "ann_id": 7}, ref | {"ref_id": 2, "ann_id": 99},
    ])  # fmt: skip
    write(folder / "instances.json", coco([{"id": 7, "bbox": SQUARE_XYWH}], name))


def coco(annotations: list[dict], name: str = "a.png") -> dict:
    filled = [
        {"image_id": 1, "category_id": 1, "segmentation": POLYGON, "iscrowd": 0, **row}
        for row in annotations
    ]
    image = {"id": 1, "file_name": name, "width": 96, "height": 72}
    return {
        "images": [image],
        "annotations": filled,
        "categories": [{"id": 1, "name": "square"}],
    }


def make_ref_l4(folder: Path) -> None:
    picture(folder / "images" / "o365_1.jpg")
    row = {
        "bbox": SQUARE_XYWH, "bbox_area": 729, "bbox_id": "o365_9", "ori_category_id": "o365_3",
        "image_id": "o365_1", "height": 72, "width": 96, "file_name": "o365_1.jpg",
        "is_rewrite": False, "split": "val",
    }  # fmt: skip
    rows = [
        row | {"id": 1, "caption": "The blue square on the right."},
        row | {"id": 2, "caption": "A square, blue, beside a red disc."},
        row | {"id": 3, "caption": " "},
    ]
    lines(folder / "ref-l4-val.jsonl", rows)


def make_ferret(folder: Path) -> None:
    picture(folder / "val2017" / "a.jpg")
    row = {"question_id": 0, "image": "a.jpg", "category": "refer_desc"}
    asked = row | {"text": "What is the region [0.594, 0.319, 0.875, 0.694] and what is near it?"}
    part = folder / "refer_caption"
    lines(part / "question.jsonl", [asked, row | {"question_id": 1, "text": "Which region?"}])
    answers = [row | {"text": "A blue square beside a red disc."}]
    lines(part / "answer.jsonl", answers)
    lines(
        part / "context.jsonl", [row | {"text": "Object 0 : square at [0.59, 0.32, 0.88, 0.69]."}]
    )


def make_mdvp(folder: Path) -> None:
    domain = folder / "natural_QA"
    picture(domain / "a.jpg")
    row = {"image_name": "a.jpg", "question": "What is in each marked region?"}
    write(domain / "natural_QA_box.json", [
        row | {"question_id": 1, "bbox": [DISC_XYWH, SQUARE_XYWH],
               "answer": "<Region 1>: A red disc.\n<Region 2>: A blue square.\n"},
        row | {"question_id": 2, "bbox": [DISC_XYWH, SQUARE_XYWH], "answer": "Two things."},
    ])  # fmt: skip
    write(domain / "natural_QA_point.json", [
        row | {"question_id": 3, "points": [[28, 36]], "gt_answers": "A red disc."},
    ])  # fmt: skip


def make_dlc(folder: Path) -> None:
    picture(folder / "images" / "a.png")
    write(folder / "annotations.json", coco([
        {"id": 7, "bbox": SQUARE_XYWH}, {"id": 8, "bbox": SQUARE_XYWH},
    ]))  # fmt: skip
    positive = {"question": "What colour is it?", "type": "positive"}
    negative = {"question": "Does it have wheels?", "type": "negative"}
    quiz = [
        positive | {"choices": [["Blue", 1.0], ["Red", -1.0], ["Not mentioned", 0.0]]},
        negative | {"choices": [["Yes, it has wheels", -1.0], ["No, or not mentioned", 1.0]]},
    ]
    write(folder / "qa.json", {"7": quiz})
    write(folder / "class_names.json", {"7": "square", "8": "square"})


def make_elysium(folder: Path) -> None:
    files = [f"frames/clip/{number}.jpg" for number in range(3)]
    for file in files:
        picture(folder / file)
    box = [0.594, 0.319, 0.875, 0.694]
    row = {
        "id": 1, "vid": "clip", "size": [96, 72], "frames": files, "box": [box, box, box],
        "object_class": "square", "object_description": "a blue square that stands still",
    }  # fmt: skip
    lines(folder / "ElysiumTrack-val500.json", [row, row | {"id": 2, "box": [box]}])


def make_bensmot(folder: Path) -> None:
    clip = folder / "test" / "walk" / "clip1"
    for number in (1, 2, 3):
        picture(clip / "imgs" / f"{number:06d}.jpg")
    rows = [f"{number},1,57,23,27,27,1,1,1" for number in (1, 2, 3)]
    write(clip / "gt" / "gt.txt", "\n".join([*rows, "1,2,no,box"]) + "\n")
    write(clip / "instance_captions.txt", "man0: A blue man stands still.\n")
    write(clip / "video_caption.txt", "A man and a disc.")


def make_hc_stvg(folder: Path) -> None:
    film(folder / "videos" / "1_abc.mp4")
    row = {"st_frame": 2, "ed_frame": 3, "bbox": [SQUARE_XYWH] * 2, "st_time": 0, "ed_time": 1}
    text = {"English": "The blue man stands still.", "Chinese": "蓝衣人站着不动。"}
    write(folder / "val_v2.json", {"1_abc.mp4": row | text, "2_gone.mp4": row | text})


def make_videorefer(folder: Path) -> None:
    film(folder / "Panda-70M-part" / "clip.mp4")
    seen = {"1": {"segmentation": encode_rle(SQUARE)}, "3": {"segmentation": encode_rle(SQUARE)}}
    row = {"video": "clip.mp4", "caption": "A blue square stands still.", "annotation": [seen]}
    rows = [row | {"id": 0, "frame_idx": "1"}, row | {"id": 1, "frame_idx": "2"}]
    write(folder / "VideoRefer-Bench-D.json", rows)


def make_activitynet(folder: Path) -> None:
    film(folder / "videos" / "v_a.mp4", num_frames=16)
    events = [[0.0, 0.9], [0.8, 1.6]]
    said = ["A square stands still.", "The square is still there."]
    video = {"duration": 2.0, "timestamps": events, "sentences": said}
    write(folder / "val_1.json", {"v_a": video, "v_b": video})
    write(folder / "regions.json", {"v_a": [57, 23, 84, 50], "v_b": [57, 23, 84, 50]})


def make_davis(folder: Path) -> None:
    """Two clips of five frames; in the second the square is gone from frame 3 on."""
    for clip, away in (("one", 5), ("two", 3)):
        for number in range(5):
            frame = folder / "JPEGImages" / "480p" / clip / f"{number:05d}.jpg"
            frame.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(scene(3 * number)).save(frame)
            _numbers(folder / "Annotations" / "480p" / clip, number, _objects(number, 3, away))
    write(folder / "ImageSets" / "2017" / "val.txt", "one\ntwo\nnowhere\n")


def davis_answers() -> dict[str, list[np.ndarray]]:
    """Object numbers by clip and frame, not quite those of `make_davis`."""
    return {
        clip: [np.roll(_objects(number, 2, away), number, axis=0) for number in range(5)]
        for clip, away in (("one", 5), ("two", 4))
    }


def _objects(number: int, speed: int, away: int) -> np.ndarray:
    found = np.zeros(DISC.shape, np.uint8)
    if number < away:
        found[SQUARE] = 2
    found[np.roll(DISC, speed * number, axis=1)] = 1
    return found


def _numbers(folder: Path, number: int, objects: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(objects, "P")
    image.putpalette([value for n in range(256) for value in (n, 255 - n, n // 2)])
    image.save(folder / f"{number:05d}.png")


def make_own(folder: Path) -> None:
    """COCO format with captions; one annotation names a category that is not there."""
    picture(folder / "images" / "a.png")
    write(folder / "own.json", coco([
        {"id": 1, "bbox": SQUARE_XYWH, "caption": "a blue square"},
        {"id": 2, "bbox": DISC_XYWH, "segmentation": encode_rle(DISC), "caption": "a red disc"},
        {"id": 3, "bbox": DISC_XYWH, "category_id": 5},
    ]))  # fmt: skip


def make_own_lines(folder: Path) -> Path:
    """The same as JSON lines, one of them no JSON."""
    picture(folder / "a.png")
    rows = [
        {"image": "a.png", "box": [57, 23, 84, 50], "mask": POLYGON, "label": "Square",
         "captions": ["a blue square", "square"]},
        {"image": "a.png", "mask": encode_rle(DISC), "label": "square", "caption": "a red disc"},
        "not json",
    ]  # fmt: skip
    lines(folder / "own.jsonl", rows)
    return folder / "own.jsonl"


@dataclass(frozen=True)
class Miniature:
    """How a benchmark's miniature is made; samples that can be asked about and rows that cannot."""

    make: Callable[[Path], object]
    samples: int
    left_out: int


MINIATURES = {
    "lvis": Miniature(make_lvis, 1, 2),
    "paco": Miniature(make_paco, 1, 2),
    "coco-text": Miniature(make_coco_text, 1, 1),
    "total-text": Miniature(make_total_text, 1, 1),
    "vg": Miniature(make_vg, 1, 1),
    "refcocog": Miniature(make_refcocog, 1, 1),
    "ref-l4": Miniature(make_ref_l4, 1, 1),
    "ferret-bench": Miniature(make_ferret, 1, 1),
    "mdvp-bench": Miniature(make_mdvp, 3, 1),
    "dlc-bench": Miniature(make_dlc, 1, 1),
    "elysium": Miniature(make_elysium, 1, 1),
    "bensmot": Miniature(make_bensmot, 1, 1),
    "hc-stvg": Miniature(make_hc_stvg, 1, 1),
    "videorefer-d": Miniature(make_videorefer, 1, 1),
    "activitynet": Miniature(make_activitynet, 1, 1),
    "davis": Miniature(make_davis, 4, 1),
    "segmentation": Miniature(make_own, 2, 1),
    "recognition": Miniature(make_own, 2, 1),
    "captions": Miniature(make_own, 2, 1),
}
