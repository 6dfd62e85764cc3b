"""Datasets of pictures, each as a miniature in its own form, with the rows that go wrong."""

import base64
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from reader_fixtures import (
    OTHER,
    POLYGON,
    SIZE_WH,
    SQUARE,
    packed,
    picture,
    read,
    runs,
    write,
)

BOX_XYXY = (5, 4, 15, 10)
XYWH = [5, 4, 10, 6]
IMAGE = {"id": 7, "file_name": "a.jpg", "width": 30, "height": 20}


def annotation(number=1, **more):
    return {"id": number, "image_id": 7, "category_id": 1, "bbox": XYWH, "area": 60, **more}


def coco(annotations, categories=None, images=None, **more):
    categories = categories or [{"id": 1, "name": "traffic light", "supercategory": "outdoor"}]
    return {
        "images": images or [IMAGE],
        "annotations": annotations,
        "categories": categories,
        **more,
    }


def test_coco_by_its_own_layout(tmp_path):
    rows = [
        annotation(1, segmentation=POLYGON, iscrowd=0),
        annotation(2, segmentation=runs(SQUARE), iscrowd=1),  # a crowd
        annotation(3, segmentation=[[5, 4, 15, 4]]),  # a polygon of two points
        annotation(4, bbox=[29.5, 4, 10, 6]),  # outside
        annotation(5, category_id=99),
        annotation(6, segmentation=[]),  # no outline at all
    ]
    write(tmp_path / "annotations" / "instances_val2017.json", coco(rows))
    write(tmp_path / "annotations" / "captions_val2017.json", {})
    picture(tmp_path / "val2017" / "a.jpg")
    (record,), told = read("coco", tmp_path, "val")
    assert [region.box_xyxy for region in record.regions] == [BOX_XYXY] * 2
    assert np.array_equal(record.regions[0].mask(), SQUARE)
    assert record.regions[1].mask() is None
    assert (record.split, record.size_wh) == ("val", SIZE_WH)
    assert record.load().shape == (20, 30, 3)
    reasons = {line.split("annotations[")[-1].split("]")[0]: line for line in told}
    assert set(reasons) == {"2", "3", "4"}
    assert "not x and y of 3 points" in reasons["2"]
    assert "99 is missing or unknown" in reasons["4"]


def test_lvis(tmp_path):
    categories = [{"id": 1, "name": "bow_(weapon)", "synset": "bow.n.04", "def": "a weapon"}]
    image = {"id": 7, "coco_url": "http://x/train2017/a.jpg", "width": 30, "height": 20}
    write(tmp_path / "lvis_v1_train.json", coco([annotation()], categories, [image]))
    picture(tmp_path / "train2017" / "a.jpg")
    (record,), told = read("lvis", tmp_path)
    assert (record.regions[0].label, told) == ("bow", [])
    assert record.regions[0].extra == {"explanation": "bow: a weapon"}


def test_objects365(tmp_path):
    image = {**IMAGE, "file_name": "images/v1/patch8/a.jpg"}
    rows = [annotation(isfake=0, isreflected=0), annotation(2, bbox=[5.5, 4.25, 10, 6])]
    write(tmp_path / "zhiyuan_objv2_train.json", coco(rows, images=[image, {**IMAGE, "id": 8}]))
    picture(tmp_path / "train" / "patch8" / "a.jpg")
    (record,), _ = read("objects365", tmp_path)
    assert [region.box_xyxy for region in record.regions] == [BOX_XYXY, (5.5, 4.25, 15.5, 10.25)]


def test_paco_has_parts_and_attributes(tmp_path):
    categories = [{"id": 1, "name": "mug", "supercategory": "OBJECT", "synset": "mug.n.04"},
                  {"id": 2, "name": "car_(automobile):wheel", "supercategory": "PART"}]  # fmt: skip
    attributes = [{"id": 3, "name": "light_blue"}, {"id": 4, "name": "other(material)"}]
    rows = [
        annotation(1, obj_ann_id=1, attribute_ids=[3, 4], dom_color_ids=[3]),
        annotation(2, obj_ann_id=1, attribute_ids=[], category_id=2, segmentation=packed(SQUARE)),
    ]
    content = coco(rows, categories, attributes=attributes)
    write(tmp_path / "annotations" / "paco_lvis_v1_val.json", content)
    picture(tmp_path / "val2017" / "a.jpg")
    (record,), told = read("paco", tmp_path, "val")
    mug, wheel = record.regions
    assert (mug.label, mug.kind) == ("mug", "instance")
    assert mug.extra == {"attributes": ("light blue",), "annotation_id": 1}
    assert (wheel.label, wheel.kind) == ("car wheel", "part")
    assert wheel.extra == {"whole": "car", "part": "wheel", "annotation_id": 2, "part_of": 1}
    assert told == []


def test_v3det_has_chinese_names_and_definitions(tmp_path):
    categories = [
        {"id": 1, "name": "tabby_cat", "name_zh": "虎斑猫", "cat_info": ["a striped cat"]}
    ]
    image = {**IMAGE, "file_name": "images/n07745046/a.jpg"}
    write(
        tmp_path / "annotations" / "v3det_2023_v1_train.json",
        coco([annotation()], categories, [image]),
    )
    picture(tmp_path / "images" / "n07745046" / "a.jpg")
    (record,), _ = read("v3det", tmp_path)
    region = record.regions[0]
    assert (region.label, region.label_zh) == ("tabby cat", "虎斑猫")
    assert region.extra == {"explanation": "a striped cat"}


BOXES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
    "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
)
OUTLINES = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks\n"


def test_openimages(tmp_path):
    rows = [
        "aa,xclick,/m/01,1,0.166667,0.5,0.2,0.5,1,0,0,0,0",  # 5 to 15, 4 to 10
        "bb,xclick,/m/01,1,0,1,0,1,0,0,0,0,0",  # its picture is missing
        "aa,xclick,/m/02,1,0,0.9,0,0.9,0,0,1,0,0",  # a group
        "aa,xclick,/m/03,1,0,0.9,0,0.9,0,0,0,0,0",  # a class without a name
        "aa,xclick,/m/02,1,half,0.9,0,0.9,0,0,0,0,0",
        "aa,xclick",
        "aa,xclick,/m/02,1,0,0.9,0,0.9,0,0,0,1,0",
    ]
    write(tmp_path / "train-annotations-bbox.csv", BOXES + "\r\n".join(rows) + "\n")
    write(tmp_path / "class-descriptions-boxable.csv", '/m/01,"Cat"\n/m/02,"Dog, wild"\n')
    mask = (
        "m.png,aa,/m/01,b1,0.16667,0.50000,0.20000,0.49999,0.8,\ngone.png,aa,/m/02,b2,0,.9,0,.9,,\n"
    )
    write(tmp_path / "train-annotations-object-segmentation.csv", OUTLINES + mask)
    picture(tmp_path / "train" / "aa.jpg")
    (tmp_path / "train-masks").mkdir()
    large = Image.fromarray(SQUARE).resize((60, 40), Image.Resampling.NEAREST)
    large.save(tmp_path / "train-masks" / "m.png")
    (record,), told = read("openimages", tmp_path)
    cat, dog = record.regions
    assert (cat.label, dog.label, record.id) == ("cat", "dog, wild", "aa")
    assert np.allclose(cat.box_xyxy, BOX_XYXY, atol=1e-4)
    assert np.array_equal(cat.mask(), SQUARE)
    assert dog.mask() is None
    assert (cat.extra, dog.extra) == ({"occluded": True}, {"depiction": True})
    assert len(told) == 5
    for reason in (
        "no file bb.jpg",
        "no file gone.png",
        "/m/03",
        "'half'",
        "'XMin' is missing",
    ):
        assert any(reason in line for line in told), reason


REFS = [
    {"ref_id": 1, "ann_id": 1, "image_id": 7, "category_id": 1, "split": "train",
     "file_name": "COCO_train2014_7.jpg", "sent_ids": [0, 1],
     "sentences": [{"raw": "the left light", "sent": "left light", "tokens": ["left"]},
                   {"raw": " le café rouge ", "sent": "cafe"}]},
    {"ref_id": 2, "ann_id": 99, "image_id": 7, "split": "train", "sentences": [{"raw": "gone"}]},
    {"ref_id": 3, "ann_id": 1, "image_id": 8, "split": "train", "sentences": [{"raw": "no image"}]},
    {"ref_id": 4, "ann_id": 2, "image_id": 7, "split": "val", "sentences": [{"raw": "for val"}]},
    {"ref_id": 5, "image_id": 7, "split": "train", "sentences": []},
]  # fmt: skip


def refer(folder, refs, name="refs(unc).json", images=None):
    """A folder as the `refer` API has it, with the pictures of train2014 beside it."""
    rows = [annotation(1, segmentation=POLYGON), annotation(2, bbox=[20, 12, 8, 6],
            segmentation=[[20, 12, 28, 12, 28, 18, 20, 18]])]  # fmt: skip
    write(folder / "instances.json", coco(rows, images=images))
    if name.endswith(".json"):
        write(folder / name, refs)
    else:
        (folder / name).write_bytes(pickle.dumps(refs, 2))
    picture(folder / "train2014" / "a.jpg")
    return folder


@pytest.mark.parametrize("kind", ["json", "p"])
@pytest.mark.parametrize(
    ("name", "by"), [("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")]
)
def test_refcoco(tmp_path, kind, name, by):
    refer(tmp_path / name, REFS, f"refs({by}).{kind}")
    picture(tmp_path / "train2014" / "a.jpg")
    for root in (tmp_path, tmp_path / name):
        (record,), told = read(name, root) if root != tmp_path else read(name, tmp_path / name)
        (region,) = record.regions
        assert region.label == "traffic light"
        assert region.phrases == ("the left light", "le café rouge")
        assert np.array_equal(region.mask(), SQUARE)
        assert len(told) == 3
        for reason in ("no annotation 99", "'8' is missing", "'ann_id' is missing"):
            assert any(reason in line for line in told), reason
    (record,), _ = read(name, tmp_path / name, "val")
    assert record.regions[0].phrases == ("for val",)


def test_grefcoco_points_at_one_several_or_nothing(tmp_path):
    def ref(ids, text):
        return {"ann_id": ids, "image_id": 7, "split": "train", "sentences": [{"sent": text}]}

    refs = [ref([1], "the light"), ref([1, 2], "both"), ref([2, 1], "them"), ref([1], "it"),
            ref([-1], "the dog")]  # fmt: skip
    (record,), told = read("grefcoco", refer(tmp_path, refs, "grefs(unc).json"))
    one, both, them, nothing = record.regions
    assert one.phrases == ("the light", "it")
    assert (both.kind, both.label, both.phrases) == ("group", "traffic light", ("both",))
    assert np.array_equal(both.mask(), SQUARE | OTHER)
    assert both.box_xyxy == (5, 4, 28, 18)
    assert them.phrases == ("them",)
    assert (nothing.kind, nothing.label, nothing.phrases) == ("whole-image", "", ())
    assert nothing.extra["absent_phrases"] == ("the dog",)
    assert told == []


@pytest.mark.parametrize("aligned", [True, False])
def test_google_refexp(tmp_path, aligned):
    refexps = {"5": {"refexp_id": 5, "raw": "A red light.", "tokens": []},
               "6": {"refexp_id": 6, "raw": "The light", "tokens": []}}  # fmt: skip
    short = {"annotation_id": 1, "image_id": 7, "refexp_ids": [5, 6], "region_candidates": []}
    rows = [short, {**short, "annotation_id": 3, "refexp_ids": [77]}]
    images = {"7": {"image_id": 7, "region_candidates": []}}
    if aligned:
        rows = [{**row, **annotation(row["annotation_id"]), "iscrowd": 0} for row in rows]
        images = {"7": {**IMAGE, "image_id": 7}}
        content = {"annotations": {str(row["annotation_id"]): row for row in rows},
                   "refexps": refexps, "images": images,
                   "categories": {"1": {"id": 1, "name": "Light"}}}  # fmt: skip
        write(tmp_path / "google_refexp_train_201511_coco_aligned.json", content)
    else:
        content = {"annotations": rows, "refexps": list(refexps.values()), "images": images}
        write(tmp_path / "google_refexp_train_201511.json", content)
        write(tmp_path / "annotations" / "instances_train2014.json", coco([annotation()]))
    picture(tmp_path / "train2014" / "a.jpg")
    (record,), told = read("refexp", tmp_path)
    (region,) = record.regions
    assert region.phrases == ("A red light.", "The light")
    assert (region.label, region.box_xyxy) == ("light" if aligned else "traffic light", BOX_XYXY)
    assert len(told) == 1
    assert "'77' is missing" in told[0]


@pytest.mark.parametrize("kind", ["json", "pth"])
def test_reftext(tmp_path, kind):
    rows = [["a.jpg", "s1", XYWH, "the sign that says café", []],
            ["a.jpg", "s2", XYWH, "the red sign", []],
            ["a.jpg", "s3", [40, 4, 5, 5], "outside", []],
            ["b.jpg", "s4", XYWH, "no picture", []], ["c.jpg"]]  # fmt: skip
    if kind == "json":
        write(tmp_path / "reftext_train.json", rows)
    else:
        torch.save(rows, tmp_path / "reftext_train.pth", _use_new_zipfile_serialization=False)
    picture(tmp_path / "images" / "reftext" / "a.jpg")
    (record,), told = read("reftext", tmp_path)
    assert record.regions[0].phrases == ("the sign that says café", "the red sign")
    assert record.regions[0].box_xyxy == BOX_XYXY
    assert len(told) == 3


def test_visual_genome(tmp_path):
    image = {"image_id": 7, "width": 30, "height": 20, "url": "http://x/VG_100K_2/7.jpg"}
    write(tmp_path / "image_data.json", [image, {**image, "image_id": 8}])
    phrases = [
        {
            "region_id": 1,
            "image_id": 7,
            "x": 5,
            "y": 4,
            "width": 10,
            "height": 6,
            "phrase": " A cup. ",
        },
        {
            "region_id": 2,
            "image_id": 7,
            "x": 40,
            "y": 4,
            "width": 10,
            "height": 6,
            "phrase": "gone",
        },
        {"region_id": 3, "image_id": 7, "x": 5, "y": 4, "width": 10, "height": 6, "phrase": " "},
    ]
    write(tmp_path / "region_descriptions.json", [{"id": 7, "regions": phrases}])
    cup = {
        "object_id": 9,
        "x": 5,
        "y": 4,
        "w": 10,
        "h": 6,
        "names": ["Cup", "mug"],
        "synsets": ["cup.n.01"],
    }
    write(tmp_path / "objects.json", [{"image_id": 7, "objects": [cup]}])
    told_of = {**cup, "attributes": ["white ", "white"]}
    write(tmp_path / "attributes.json", [{"image_id": 7, "attributes": [told_of]}])
    picture(tmp_path / "VG_100K_2" / "7.jpg")
    (record,), told = read("visual_genome", tmp_path)
    described, named = record.regions
    assert (described.phrases, described.extra["caption"]) == (("A cup.",), "A cup.")
    assert (named.label, named.box_xyxy) == ("cup", BOX_XYXY)
    assert named.extra["attributes"] == ("white",)
    assert named.extra["synonyms"] == ("mug",)
    assert len(told) == 3  # outside, empty, and the picture that is missing
    (tmp_path / "attributes.json").unlink()
    (record,), _ = read("visual_genome", tmp_path)
    assert "attributes" not in record.regions[1].extra


def test_rexverse_has_pictures_in_a_table(tmp_path):
    encoded = base64.b64encode(picture(tmp_path / "a.jpg").read_bytes())
    lines = [b"k1\t" + encoded + b"\n", b"k2\tb'" + encoded + b"'\n", b"k3\t!!\n"]
    (tmp_path / "0_500000_image.tsv").write_bytes(b"".join(lines))
    starts = np.cumsum([0, *map(len, lines)])
    boxes = {"boxes": [{"bbox": [5, 4, 15, 10], "phrase": "a café"}]}
    rows = [f"{start}\t{json.dumps(boxes)}\n" for start in starts[:3]]
    rows += ["0\t{}\n", "x\t{}\n", '0\t{"boxes": [{"bbox": [5, 4, 5, 10]}]}\n']
    write(tmp_path / "0_500000_one_sentence.annotation.tsv", "".join(rows))
    records, told = read("rexverse", tmp_path)
    assert [record.id for record in records] == [f"0_500000_one_sentence:{n}" for n in (1, 2)]
    for record in records:
        assert record.load().shape == (20, 30, 3)
        assert record.regions[0].box_xyxy == BOX_XYXY
        assert record.regions[0].extra == {"phrases": ("a café",), "caption": "a café"}
    assert len(told) == 4


def human(question, *answers):
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answers[0]}]


def test_osprey(tmp_path):
    one = {"bbox": XYWH, "segmentation": POLYGON}
    two = {"bbox": [20, 12, 8, 6], "segmentation": packed(OTHER)}
    rows = [
        {"id": 1, "file_name": "COCO_train2014_a.jpg", "height": 20, "width": 30,
         "annotation": [one], "conversations": human("What is <region1>?", "<region1>: A lamp.")},
        {"file_name": "a.jpg", "annotation": [one, two],
         "conversations": human("How do <region1> and <region2> differ?", "In size.")},
        {"file_name": "a.jpg", "annotation": [one, two],
         "description": ["<region1>: A red lamp.", "<region2>: A café."]},
        {"file_name": "a.jpg", "annotation": [one], "conversations": []},
        {"file_name": "a.jpg", "annotation": [], "conversations": human("?", "!")},
        {"file_name": "gone.jpg", "annotation": [one], "conversations": human("?", "!")},
    ]  # fmt: skip
    write(tmp_path / "osprey_conversation.json", rows)
    picture(tmp_path / "train2017" / "a.jpg")
    (single, joint, detailed), told = read("osprey", tmp_path)
    (region,) = single.regions
    assert region.extra["turns"] == (("What is the marked region?", "A lamp."),)
    assert np.array_equal(region.mask(), SQUARE)
    assert joint.regions[0].extra == {
        "joint": (("How do <region1> and <region2> differ?", "In size."),)
    }
    assert joint.regions[1].extra == {}
    assert [region.extra["turns"][0][1] for region in detailed.regions] == [
        "A red lamp.",
        "A café.",
    ]
    assert len(told) == 3


def test_mdvp_data_and_bench(tmp_path):
    both = "<Region 1>: A lamp.\n<Region 2>: Two: a dog."
    rows = [
        {"image": "a.jpg", "bbox": [XYWH, [20, 12, 8, 6]],
         "conversations": human("<image>\nDescribe each marked region.", both)},
        {"image": "a.jpg", "points": [[7, 8]],
         "conversations": human("What is <Mark 1>?", "A dog")},
        {"image": "a.jpg", "conversations": human("?", "!")},
    ]  # fmt: skip
    write(tmp_path / "data" / "gpt4v_x_bbox.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    bench = {"image_name": "b.jpg", "question": "Why?", "answer": "<Region 1>: So.", "bbox": [XYWH]}
    write(tmp_path / "bench" / "natural_QA_box.json", [bench])
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "bench" / "images" / "b.jpg")
    (bench, two, point), told = read("mdvp", tmp_path)
    assert bench.regions[0].extra["turns"] == (("Why?", "So."),)
    asked = "Describe each marked region."
    assert [region.extra["turns"] for region in two.regions] == [
        ((asked, "A lamp."),), ((asked, "Two: a dog."),)
    ]  # fmt: skip
    assert point.regions[0].extra == {
        "turns": (("What is the marked region?", "A dog"),), "points": ((7, 8, 1),),
        "points_only": True,
    }  # fmt: skip
    assert len(told) == 1
    assert "marks no region" in told[0]
