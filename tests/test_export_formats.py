"""Each format read back by its library, or compared with what that library wrote once."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
import supervision as sv
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools.coco import COCO

from export_fixtures import HEIGHT, RECORDED, WIDTH, exported, make_result, odd_masks
from perceive_anything import export
from perceive_anything.errors import MissingExtraError, OptionError
from perceive_anything.export.cvat import cvat_document, decode_runs, encode_runs
from perceive_anything.export.fifty_one import fiftyone_sample
from perceive_anything.export.label_studio import label_studio_task
from perceive_anything.export.mask_files import index_regions
from perceive_anything.export.rle_pack import pack_mask, unpack_mask
from perceive_anything.export.yolo import joined
from perceive_anything.masks import mask_iou, mask_to_box_xyxy

SCHEMA = json.loads((RECORDED.parents[2] / "docs" / "result.schema.json").read_text("utf-8"))
MASKS = json.loads((RECORDED / "masks.json").read_text("utf-8"))
SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))
ANY_MASK = SHAPES.flatmap(lambda shape: arrays(bool, shape))


def two_images(folder: Path = Path()) -> list[export.ExportedImage]:
    """One with odd masks, one in a folder with a single region."""
    some = odd_masks()
    return [
        exported("a.png", some, folder),
        exported("night/b.jpg", {"full": some["full"]}, folder),
    ]


def test_json_and_lines_are_what_the_schema_says(tmp_path: Path) -> None:
    (whole,) = export.write_export("json", two_images(), tmp_path)
    (lines,) = export.write_export("jsonl", two_images(), tmp_path)
    found = json.loads(whole.read_text("utf-8"))
    jsonschema.validate(found, SCHEMA)
    assert [json.loads(line) for line in lines.read_text("utf-8").splitlines()] == found["results"]


def test_coco_is_read_by_pycocotools(tmp_path: Path) -> None:
    instances, captions = export.write_export("coco", two_images(), tmp_path)
    coco = COCO(str(instances))
    assert [coco.imgs[i]["file_name"] for i in (1, 2)] == ["a.png", "night/b.jpg"]
    assert len(coco.getAnnIds()) == 7
    for number, (name, mask) in enumerate(odd_masks().items(), start=1):
        annotation = coco.anns[number]
        np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), mask)
        x1, y1, x2, y2 = mask_to_box_xyxy(mask) or (0, 0, 0, 0)
        assert annotation["bbox"] == [x1, y1, x2 - x1, y2 - y1]  # exclusive xywh
        assert coco.cats[annotation["category_id"]]["name"] == name
        assert (annotation["label_confidence"], annotation["uncertain"]) == (0.25, True)
    assert coco.anns[7]["category_id"] == coco.anns[2]["category_id"]
    told = COCO(str(captions))
    assert told.anns[2]["caption"] == "一只猫"
    assert told.anns[2]["instance_id"] == 2
    assert len(told.getAnnIds(imgIds=[2])) == 1


def test_coco_is_read_by_supervision(tmp_path: Path) -> None:
    for name in ("a.png", "night/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / name)
    instances, _ = export.write_export("coco", two_images(), tmp_path / "coco")
    data = sv.DetectionDataset.from_coco(str(tmp_path), str(instances), force_masks=True)
    found = {Path(path).name: detections for path, _, detections in data}
    for mask, read in zip(odd_masks().values(), found["a.png"].mask, strict=True):
        np.testing.assert_array_equal(read, mask)


def test_yolo_is_read_by_supervision(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(images / "a.png")
    export.write_export("yolo", two_images()[:1], tmp_path)
    data = sv.DetectionDataset.from_yolo(
        str(images), str(tmp_path / "labels"), str(tmp_path / "data.yaml"), force_masks=True
    )
    ((_, _, found),) = data
    named = dict(zip((data.classes[i] for i in found.class_id), found.mask, strict=True))
    given_masks = odd_masks()
    assert set(named) == set(given_masks) - {"empty"}
    assert mask_iou(named["full"], given_masks["full"]) > 0.9
    assert mask_iou(named["parts"], given_masks["parts"]) > 0.8
    assert not named["ring"][9, 14], "the hole is a part of the path"
    assert mask_iou(named["ring"], given_masks["ring"]) > 0.8
    assert named["line"][3].sum() > WIDTH - 2
    assert named["pixel"].any()


def test_yolo_files_lie_as_ultralytics_expects_them(tmp_path: Path) -> None:
    written = export.write_export("yolo", two_images(), tmp_path)
    found = [str(path.relative_to(tmp_path)) for path in written]
    assert found == ["data.yaml", "labels/a.txt", "labels/night/b.txt"]
    names = yaml.safe_load((tmp_path / "data.yaml").read_text("utf-8"))["names"]
    assert names == dict(enumerate(odd_masks()))
    line = (tmp_path / "labels/night/b.txt").read_text("utf-8").split()
    assert names[int(line[0])] == "full"
    assert all(0 <= float(value) <= 1 for value in line[1:])
    with pytest.raises(OptionError, match=r"a\.txt"):
        export.write_export("yolo", [exported("a.png", {}), exported("a.jpg", {})], tmp_path)


def test_parts_are_joined_at_their_nearest_corners() -> None:
    left = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
    right = left + np.array([10, 0])
    path = joined([left, right])
    assert path.tolist() == [
        [0, 0], [4, 0], [10, 0], [14, 0], [14, 4], [10, 4], [10, 0], [4, 0], [4, 4], [0, 4],
    ]  # fmt: skip


@pytest.mark.parametrize("name", MASKS)
def test_a_brush_is_byte_for_byte_label_studios(name: str) -> None:
    recorded = MASKS[name]
    mask = unpack_mask(recorded["brush"], tuple(recorded["shape_hw"]))
    assert pack_mask(mask) == recorded["brush"]
    if name in odd_masks():
        np.testing.assert_array_equal(mask, odd_masks()[name])
    assert mask.any() == (name != "empty")


@given(ANY_MASK)
@settings(max_examples=60, deadline=None)
def test_a_brush_comes_back(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(unpack_mask(pack_mask(mask), mask.shape), mask)


def test_a_brush_of_single_values_is_read_too() -> None:
    """As editors write what does not repeat: 8 values, here one transparent and one red pixel."""
    bits = f"{8:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += "000" + f"{7:03b}" + "".join(f"{value:08b}" for value in (0, 0, 0, 0, 255, 0, 0, 200))
    bits += "0" * (-len(bits) % 8)
    packed = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert unpack_mask(packed, (1, 2)).tolist() == [[False, True]]
    with pytest.raises(ValueError, match="too early"):
        unpack_mask(packed[:-4], (1, 2))
    with pytest.raises(ValueError, match="8 values"):
        unpack_mask(packed, (2, 2))


def test_label_studio_gets_percent_brush_and_texts(tmp_path: Path) -> None:
    image = exported("night/two cats.jpg", {"parts": odd_masks()["parts"]})
    task = label_studio_task(image)
    assert task["data"]["image"] == "/data/local-files/?d=night/two%20cats.jpg"
    brush, rectangle, *texts = task["predictions"][0]["result"]
    np.testing.assert_array_equal(
        unpack_mask(brush["value"]["rle"], (HEIGHT, WIDTH)), odd_masks()["parts"]
    )
    assert (brush["original_width"], brush["original_height"]) == (WIDTH, HEIGHT)
    assert rectangle["parentID"] == brush["id"]
    value = {key: rectangle["value"][key] for key in ("x", "y", "width", "height")}
    assert value == pytest.approx({"x": 10, "y": 10, "width": 25 / 30 * 100, "height": 80})
    assert [row["from_name"] for row in texts] == ["explanation", "caption"]
    assert all(row["id"] == brush["id"] for row in texts)
    export.write_export("labelstudio", two_images(), tmp_path)
    config = ElementTree.parse(tmp_path / "config.xml").getroot()
    tags = {tag.get("name") for tag in config.iter() if tag.get("toName") == "image"}
    used = {r["from_name"] for r in task["predictions"][0]["result"]}
    assert used <= tags
    assert [label.get("value") for label in config.findall("BrushLabels/Label")] == [*odd_masks()]


@pytest.mark.parametrize("name", [name for name in MASKS if "cvat_points" in MASKS[name]])
def test_cvat_runs_are_those_of_its_sdk(name: str) -> None:
    recorded = MASKS[name]
    *runs, left, top, right, bottom = recorded["cvat_points"]
    mask = unpack_mask(recorded["brush"], tuple(recorded["shape_hw"]))
    assert mask_to_box_xyxy(mask) == (left, top, right + 1, bottom + 1)  # theirs are inclusive
    crop = mask[top : bottom + 1, left : right + 1]
    assert encode_runs(crop) == runs
    np.testing.assert_array_equal(decode_runs(runs, crop.shape), crop)


@given(ANY_MASK)
@settings(max_examples=60, deadline=None)
def test_cvat_runs_come_back(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_runs(encode_runs(mask), mask.shape), mask)


def test_a_cvat_mask_says_its_box_and_all_texts() -> None:
    image = exported("a\x07.png", {"ring": odd_masks()["ring"], "empty": odd_masks()["empty"]})
    root = ElementTree.fromstring(ElementTree.tostring(cvat_document([image])))
    (mask,) = root.iter("mask")  # an empty one cannot be said
    place = {name: mask.get(name) for name in ("left", "top", "width", "height")}
    assert place == {"left": "7", "top": "2", "width": "15", "height": "15"}
    said = {tag.get("name"): tag.text for tag in mask}
    assert said["explanation"] == 'It says "<meow>" & purrs.'
    assert said["uncertain"] == "true"
    assert root.find("image").get("name") == "a.png"


def test_fiftyone_gets_masks_cut_to_relative_boxes(tmp_path: Path) -> None:
    image = exported("a.png", {"parts": odd_masks()["parts"]}, tmp_path)
    sample = fiftyone_sample(image, "a.png")
    (found,) = sample["perceive"]["detections"]
    assert found["bounding_box"] == [3 / 30, 2 / 20, 25 / 30, 16 / 20]
    crop = np.load(io.BytesIO(zlib.decompress(base64.b64decode(found["mask"]))))
    np.testing.assert_array_equal(crop, odd_masks()["parts"][2:18, 3:28])
    assert (found["label"], found["tags"], found["confidence"]) == ("parts", ["uncertain"], 0.75)
    samples, _ = export.write_export("fiftyone", two_images(tmp_path / "in"), tmp_path / "out")
    listed = json.loads(samples.read_text("utf-8"))["samples"]
    assert [one["filepath"] for one in listed] == ["../in/a.png", "../in/night/b.jpg"]
    with pytest.raises(MissingExtraError, match="pip install fiftyone"):
        export.to_fiftyone([image])


def test_an_indexed_png_holds_numbers_and_colours(tmp_path: Path) -> None:
    masks = odd_masks()
    export.write_export("masks", two_images(), tmp_path)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        index = np.asarray(picture)
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert index[19, 29] == 3, "the pixel lies over the full mask"
    np.testing.assert_array_equal(index > 0, masks["full"])
    np.testing.assert_array_equal(index == 6, masks["parts"] & ~masks["line"] & ~masks["ring"])
    assert len(np.unique(colours, axis=0)) == len(np.unique(index)) == 5
    assert (tmp_path / "night" / "b.png").exists()


def test_more_regions_than_an_index_holds_warn() -> None:
    pixels = {str(i): np.zeros((HEIGHT, WIDTH), bool) for i in range(257)}
    for number, mask in enumerate(pixels.values()):
        mask.flat[number] = True
    with pytest.warns(UserWarning, match="257 regions"):
        index = index_regions(exported("a.png", pixels))
    assert index.max() == 255


def test_detections_carry_confidence() -> None:
    found = make_result("a.png", odd_masks()).to_supervision()
    assert found.data["label_confidence"].tolist() == [0.25] * 6
    assert found.data["uncertain"].all()
    np.testing.assert_array_equal(found.mask, np.stack(list(odd_masks().values())))


@pytest.mark.parametrize("name", export.WRITERS)
def test_every_format_is_written_from_a_result_and_takes_no_regions(
    tmp_path: Path, name: str
) -> None:
    for folder, masks in (("some", odd_masks()), ("none", {})):
        files = make_result("photos/a.png", masks).export(name, tmp_path / folder)
        assert all(path.stat().st_size > 0 for path in files if path.suffix != ".txt")
        assert not list((tmp_path / folder).rglob("*.new"))


def test_formats_that_do_not_exist_name_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match='Did you mean "coco"'):
        make_result("a.png", {}).export("cocoo", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="cannot write"):
        make_result("a.png", {}).export("coco", tmp_path / "file")
