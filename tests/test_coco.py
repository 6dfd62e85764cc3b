"""COCO folders: every kind of outline, texts, layouts; bad rows are told and left out."""

import json

import numpy as np
import pytest
from PIL import Image

from perceive_anything.data.readers.coco import read_coco
from perceive_anything.errors import DataError
from perceive_anything.masks import encode_rle

SQUARE = np.zeros((20, 30), bool)
SQUARE[4:10, 5:15] = True


def uncompressed(mask):
    """COCO's RLE as a list: lengths of runs down the columns, beginning with zeros."""
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    return {"size": list(mask.shape), "counts": np.diff([0, *ends, flat.size]).tolist()}


def write(folder, annotations, *, images=None, categories=None, name="annotations.json"):
    """A folder with one picture, `a.png`, and these rows."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), (9, 8, 7)).save(folder / "images" / "a.png")
    content = {
        "images": images or [{"id": 7, "file_name": "a.png", "width": 30, "height": 20}],
        "annotations": annotations,
        "categories": categories or [{"id": 1, "name": "Traffic_Light", "name_zh": "红绿灯"}],
    }
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def row(**more):
    """A valid annotation."""
    return {"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 4, 10, 6], **more}


@pytest.mark.parametrize(
    "outline",
    [[[5, 4, 15, 4, 15, 10, 5, 10]], encode_rle(SQUARE), uncompressed(SQUARE)],
    ids=["polygons", "packed", "list"],
)
def test_every_kind_of_outline(tmp_path, outline):
    (record,) = read_coco(write(tmp_path, [row(segmentation=outline)]))
    (region,) = record.regions
    assert np.array_equal(region.mask(), SQUARE)
    assert region.label == "traffic light"
    assert region.label_zh == "红绿灯"
    assert region.box_xyxy == (5, 4, 15, 10)
    assert record.load().shape == (20, 30, 3)


def test_texts_of_annotations_and_categories(tmp_path):
    names = [{"id": 1, "name": "lamp", "explanation": "a light", "caption": "a lamp"}]
    folder = write(tmp_path, [row(caption=" a red lamp ", caption_zh="红灯")], categories=names)
    (record,) = read_coco(folder)
    assert record.regions[0].mask() is None
    assert record.regions[0].extra == {
        "caption": "a red lamp", "caption_zh": "红灯", "explanation": "a light"
    }  # fmt: skip


def test_lvis_names_files_by_address_and_lies_in_a_folder_of_its_own(tmp_path):
    images = [{"id": 7, "coco_url": "http://nowhere/val2017/a.png", "width": 30, "height": 20}]
    folder = write(tmp_path, [row()], images=images, name="annotations/lvis.json")
    assert len(read_coco(folder)) == 1


def test_a_file_of_lvis(tmp_path):
    address = "http://images.cocodataset.org/train2017/000000391895.jpg"
    image = {
        "date_captured": "2013-11-14 11:18:45", "neg_category_ids": [12], "id": 391895,
        "license": 3, "height": 20, "width": 30, "flickr_url": "http://farm9.staticflickr.com/x.jpg",
        "coco_url": address, "not_exhaustive_category_ids": [173],
    }  # fmt: skip
    outline = [[5.0, 4.0, 15.0, 4.0, 15.0, 10.0, 5.0, 10.0]]
    annotations = [
        {"area": 60.0, "id": number, "segmentation": outline, "image_id": 391895,
         "bbox": [5.0, 4.0, 10.0, 6.0], "category_id": category}
        for number, category in ((1, 173), (2, 12))
    ]  # fmt: skip
    bus = {
        "image_count": 9, "synonyms": ["bus_(vehicle)", "autobus"], "id": 173, "frequency": "f",
        "def": "a vehicle carrying many passengers; used for public transport",
        "synset": "bus.n.01", "name": "bus_(vehicle)", "instance_count": 20,
    }  # fmt: skip
    plain = {"id": 12, "name": "aerosol_can", "synset": "aerosol.n.02"}
    folder = write(
        tmp_path, annotations, images=[image], categories=[bus, plain],
        name="annotations/lvis_v1_train.json",
    )  # fmt: skip
    (folder / "train2017").mkdir()
    Image.new("RGB", (30, 20)).save(folder / "train2017" / "000000391895.jpg")
    (folder / "annotations" / "lvis_v1_val.json").write_text("{}")
    (record,) = read_coco(folder / "annotations" / "lvis_v1_train.json")
    first, second = record.regions
    assert (record.id, record.load().shape) == ("391895", (20, 30, 3))
    assert (first.label, second.label) == ("bus", "aerosol can")
    assert first.extra == {
        "explanation": "bus: a vehicle carrying many passengers; used for public transport"
    }
    assert second.extra == {}
    assert np.array_equal(first.mask(), SQUARE)


def test_bad_rows_are_told_and_left_out(tmp_path):
    small = encode_rle(SQUARE[:9])
    rows = [
        row(), row(category_id=5), row(bbox=[40, 4, 10, 6]), row(image_id=8), row(iscrowd=1),
        row(segmentation=small), row(bbox=[1, 2, 3]), row(bbox=[-3, -3, 10, 10]),
    ]  # fmt: skip
    images = [
        {"id": 7, "file_name": "a.png", "width": 30, "height": 20},
        {"id": 9, "file_name": "gone.png", "width": 30, "height": 20},
    ]
    folder, told = write(tmp_path, [*rows, row(image_id=9)], images=images), []
    (record,) = read_coco(folder, report=told.append)
    assert [region.box_xyxy for region in record.regions] == [(5, 4, 15, 10), (0, 0, 7, 7)]
    assert [region.id for region in record.regions] == [0, 1]
    places = [line.split(": ")[1].split(" is")[0] for line in told]
    assert sorted(places) == [f"annotations[{n}]" for n in (1, 2, 3, 5, 6)] + ["images[1]"]
    assert any("5 is missing or unknown" in line for line in told)
    with pytest.raises(DataError, match="that makes 3") as caught:
        read_coco(folder, max_bad=2, report=told.append)
    assert caught.value.code == "bad_record"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "annotations.json").unlink(), "found none"),
        (lambda folder: (folder / "more.json").write_text("{}"), "more.json"),
        (lambda folder: (folder / "annotations.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "annotations.json").write_text("[]"), "no list of images"),
        (lambda folder: write(folder, [row(iscrowd=1)]), "can be used"),
    ],
)
def test_a_folder_that_is_none(tmp_path, spoil, said):
    spoil(write(tmp_path, [row()]))
    with pytest.raises(DataError, match=said):
        read_coco(tmp_path)
