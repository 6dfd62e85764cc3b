"""Hand-made packs for the tests of `data`: two tiny pictures and a lexicon of a few words."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from perceive_anything.masks import encode_rle

ROOM_FILE = "images/room.png"
CAT_CHAIN = ["feline", "carnivore", "placental", "mammal", "animal"]


def _word(label: str, label_zh: str | None, gloss: str, chain: list[str], **more: object) -> dict:
    return {"label": label, "label_zh": label_zh, "gloss": gloss, "hypernyms": chain, **more}


def _text() -> dict[str, Any]:
    """A lexicon with one or two words of every kind."""
    house_cat, apple = ["domestic cat", "cat", *CAT_CHAIN], {"gloss_for": "apple"}
    apple |= {"wnid": "n07739125", "coarse_label": "apple", "coarse_label_zh": "苹果"}
    fur = "feline mammal usually having thick soft fur: domestic cats; wildcats"
    striped = "A cat with a striped coat, an M on its forehead. It is common."
    tabby = {"synonyms": ["tabby", "tabby cat"], "description": striped}
    return {
        "coco": [
            _word("cat", "猫", fur, CAT_CHAIN, wnid="n02121620"),
            _word("chair", "椅子", "a seat for one person", ["seat", "furniture"]),
            _word("person", "人", "a human being", ["organism"]),
            _word("skis", "滑雪板", "narrow runners used in pairs", ["runner"], gloss_for="ski"),
            _word("mouse", "鼠标", "a device", ["device"]),
        ],
        "ccp": [
            _word("jeans", "牛仔裤", "trousers of denim", ["trouser", "garment", "clothing"]),
            _word("hair", "头发", "a growth", ["body covering"]),
        ],
        "imagenet": [
            _word(
                "tabby cat", "虎斑猫；花猫（家猫）", "a cat with a grey coat", house_cat, **tabby
            ),
            _word("persian cat", "波斯猫", "a long-haired breed of cat", house_cat),
        ],
        "grocery": [
            _word("royal gala apple", "嘎啦苹果", "fruit with red skin", ["edible fruit"], **apple),
            _word("pink lady apple", None, "fruit with red skin", ["edible fruit"], **apple),
        ],
        "stuff": [_word("grass", "草地", "herbage", ["plant"])],
        "coco_captions": {"coco-1": ["A cat sits on  a chair."], "coco-2": ["Two cats."]},
    }


def write_tar(path: Path, rows: list[dict[str, Any]], files: dict[str, bytes]) -> None:
    """A pack with these annotation lines and files."""
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    with tarfile.open(path, "w") as tar:
        for name, content in {"annotations.jsonl": lines.encode(), **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    """The array as a picture file."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


def room_image() -> np.ndarray:
    """120x90: a brown cat on the left, a blue chair on the right, white elsewhere."""
    image = np.full((90, 120, 3), 255, dtype=np.uint8)
    image[30:70, 10:50] = (120, 70, 30)
    image[20:80, 55:95] = (20, 40, 220)
    return image


def _region(index: int, label: str, label_zh: str, box: list[int], kind: str = "instance") -> dict:
    x1, y1, x2, y2 = box
    mask = np.zeros((90, 120), dtype=bool)
    mask[y1:y2, x1:x2] = True
    rle = encode_rle(mask)
    return {
        "id": index,
        "label": label,
        "label_zh": label_zh,
        "box": box,
        "mask": rle,
        "kind": kind,
    }


def make_packs(folder: Path) -> Path:
    """Write `room.tar`, `fluent_emoji.tar` and `text.json.gz` into the folder."""
    cat = _region(0, "cat", "猫", [10, 30, 50, 70])
    chair = _region(1, "chair", "椅子", [55, 20, 95, 80])
    photo = {"license": "CC0", "width": 120, "height": 90, "split": "train", "file": ROOM_FILE}
    room = {**photo, "id": "room-1", "source": "COCO val2017", "regions": [cat, chair]}
    room["captions"] = ["A brown cat next to a chair.", "An empty room."]
    person = _region(0, "person", "人", [10, 10, 60, 80])
    jeans = _region(1, "jeans", "牛仔裤", [20, 40, 50, 70], "part")
    outfit = {**photo, "id": "outfit-1", "source": "Clothing Co-Parsing", "split": "val"}
    outfit["regions"] = [person, jeans]
    whole = {"id": 0, "label": "pink lady apple", "box": [2, 2, 118, 88], "mask": None}
    whole |= {"kind": "whole-image", "coarse_label": "apple"}
    apple = {**photo, "id": "apple-1", "source": "GroceryStoreDataset", "regions": [whole]}
    write_tar(folder / "room.tar", [room, outfit, apple], {ROOM_FILE: encoded(room_image())})
    write_tar(folder / "fluent_emoji.tar", *_emoji())
    with gzip.open(folder / "text.json.gz", "wt", encoding="utf-8") as stream:
        json.dump(_text(), stream, ensure_ascii=False)
    return folder


def _emoji() -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    rgba = np.zeros((96, 96, 4), dtype=np.uint8)
    rgba[20:70, 20:70] = (255, 0, 0, 255)
    names = {"flag: estonia": "旗: 爱沙尼亚", "mouse": "老鼠", "cat": "猫", "thumbs up": "拇指向上"}
    rows = []
    for index, (label, label_zh) in enumerate(names.items()):
        region = {"id": 0, "label": label, "label_zh": label_zh, "box": [20, 20, 70, 70]}
        region |= {"mask": None, "kind": "whole-image"}
        row = {"id": f"emoji-{index}", "source": "Fluent Emoji 3D", "license": "MIT"}
        row |= {"width": 96, "height": 96, "split": "train", "file": "images/e.webp"}
        rows.append({**row, "regions": [region]})
    return rows, {"images/e.webp": encoded(rgba, "WEBP")}
