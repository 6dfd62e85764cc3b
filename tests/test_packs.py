"""Packs are read in place, records are plain values, and broken packs say what is wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from pack_fixtures import make_packs, room_image, write_tar
from perceive_anything.data.packs import list_packs, read_pack, read_packs
from perceive_anything.errors import DataError


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return make_packs(tmp_path)


def test_records_carry_every_field(packs: Path) -> None:
    record = next(read_packs(packs, ["room"]))
    assert (record.id, record.split, record.size_wh) == ("room-1", "train", (120, 90))
    assert record.captions[0] == "A brown cat next to a chair."
    cat = record.regions[0]
    assert (cat.label, cat.label_zh, cat.box_xyxy) == ("cat", "猫", (10.0, 30.0, 50.0, 70.0))


def test_pixels_and_masks_are_those_of_the_file(packs: Path) -> None:
    record = next(read_packs(packs, ["room"]))
    assert np.array_equal(record.load(), room_image())
    mask = record.regions[0].mask()
    assert mask is not None
    assert mask.dtype == bool
    assert mask.sum() == 40 * 40


def test_a_region_without_a_mask_says_none_and_keeps_other_fields(packs: Path) -> None:
    apple = list(read_packs(packs, ["room"]))[2].regions[0]
    assert apple.mask() is None
    assert apple.label_zh is None
    assert apple.extra == {"coarse_label": "apple"}


def test_transparent_pixels_become_white(packs: Path) -> None:
    record = next(read_packs(packs, ["fluent_emoji"]))
    assert record.load()[0, 0].tolist() == [255, 255, 255]
    assert record.load_rgba()[0, 0, 3] == 0
    assert record.load()[45, 45, 0] > 200


def test_split_and_names_select(packs: Path) -> None:
    assert [r.id for r in read_packs(packs, ["room"], split="val")] == ["outfit-1"]
    assert len(list(read_packs(packs))) == 7
    assert [path.stem for path in list_packs(packs)] == ["fluent_emoji", "room"]


def test_a_record_survives_pickling(packs: Path) -> None:
    record = pickle.loads(pickle.dumps(next(read_packs(packs, ["room"]))))
    assert np.array_equal(record.load(), room_image())


def test_a_missing_pack_names_those_that_exist(packs: Path) -> None:
    with pytest.raises(DataError, match="fluent_emoji, room"):
        list(read_packs(packs, ["coco"]))


def test_a_folder_without_packs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data DIR"):
        list(read_packs(tmp_path))
    with pytest.raises(DataError, match="not a folder"):
        list(read_packs(tmp_path / "nowhere"))


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "bad.tar", [{"id": "x"}], {})
    with pytest.raises(DataError, match=r"annotations\.jsonl:1") as caught:
        list(read_packs(tmp_path))
    assert caught.value.code == "bad_record"


def test_malformed_lines_may_be_left_out(tmp_path: Path) -> None:
    good = {"id": "x", "file": "x", "width": 4, "height": 4, "split": "train", "regions": []}
    bad = [{**good, "file": "y"}, {**good, "regions": [[]]}, {**good, "regions": [{"box": [1]}]}]
    write_tar(tmp_path / "a.tar", [good, *bad], {"x": b""})
    write_tar(tmp_path / "b.tar", [bad[0], {**good, "id": "é\u2028"}], {"x": b""})
    told: list[str] = []
    records = list(read_packs(tmp_path, max_bad=4, report=told.append))
    assert [record.id for record in records] == ["x", "é\u2028"]
    places = [line.split(" is left out")[0].rpartition("/")[2] for line in told]
    lines = [f"a.tar:annotations.jsonl:{number}" for number in (2, 3, 4)]
    assert places == [*lines, "b.tar:annotations.jsonl:1"]
    with pytest.raises(DataError, match=r"b\.tar:annotations\.jsonl:1 .* that makes 4"):
        list(read_packs(tmp_path, max_bad=3, report=told.append))
    assert next(read_pack(tmp_path / "a.tar", max_bad=3, report=told.append)).id == "x"


def test_texts_and_clicks_of_a_region_are_tuples(tmp_path: Path) -> None:
    region = {"id": 0, "label": "cat", "box": [1, 1, 3, 3], "points": [[2, 2, 1]]}
    row = {"id": "x", "file": "x", "width": 4, "height": 4, "split": "train"}
    row |= {"regions": [{**region, "turns": [["What?", "A cat."]]}]}
    write_tar(tmp_path / "a.tar", [row], {"x": b""})
    (record,) = read_packs(tmp_path)
    assert record.regions[0].extra == {"points": ((2, 2, 1),), "turns": (("What?", "A cat."),)}


def test_a_file_that_is_no_tar_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_text("no tar")
    with pytest.raises(DataError, match="uncompressed tar"):
        list(read_packs(tmp_path))


def test_an_undecodable_image_is_named(tmp_path: Path) -> None:
    row = {
        "id": "x",
        "file": "images/x.jpg",
        "width": 4,
        "height": 4,
        "split": "train",
        "regions": [],
    }
    write_tar(tmp_path / "bad.tar", [row], {"images/x.jpg": b"nonsense"})
    record = next(read_packs(tmp_path))
    with pytest.raises(DataError, match='"x"'):
        record.load()
