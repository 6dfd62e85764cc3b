"""Datasets by name: what is unknown or missing is told with what to do, bad rows are counted."""

import json
import pickle
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from perceive_anything.data.readers import json_rows
from perceive_anything.data.readers.json_rows import RowIndex, json_entries, json_items, line_items
from perceive_anything.data.readers.registry import DATASETS, read_dataset
from perceive_anything.data.sources import DataSource, read_source
from perceive_anything.errors import DataError, OptionError
from reader_fixtures import picture, read, write

NAMES = {
    "a2d", "bensmot", "coco", "coco_text", "davis17", "elysium", "grefcoco", "hc_stvg", "icdar",
    "lv_vis", "lvis", "mdvp", "mevis", "objects365", "openimages", "osprey", "paco", "pam",
    "refcoco", "refcoco+", "refcocog", "refexp", "reftext", "rexverse", "sa_v", "sa_v_auto",
    "sa_v_val", "textocr", "total_text", "v3det", "vidstg", "visual_genome", "youtube_vos",
}  # fmt: skip


def coco(folder, count=1, missing=0):
    """A folder with one COCO file, of which the last pictures are missing."""
    images = [{"id": n, "file_name": f"{n}.png", "width": 30, "height": 20} for n in range(count)]
    rows = [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 9, 9]} for n in range(count)]
    for image in images[: count - missing]:
        picture(folder / image["file_name"])
    content = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cat"}]}
    return write(folder / "coco.json", content).parent


def test_every_dataset_has_a_name_a_summary_and_an_address():
    assert set(DATASETS) == NAMES
    for dataset in DATASETS.values():
        assert 0 < len(dataset.summary) < 100
        assert dataset.home.startswith("https://")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_empty_folder_says_what_was_expected(tmp_path, name):
    split = (DATASETS[name].splits or ("train",))[0]
    with pytest.raises(DataError) as caught:
        list(read_dataset(name, tmp_path, split))
    if name not in ("coco", "pam"):  # they take any file, and say so in their own words
        assert DATASETS[name].home in str(caught.value)
        assert "Expected" in str(caught.value)
    assert caught.value.exit_code == 2


def test_unknown_names_and_splits_list_what_there_is(tmp_path):
    with pytest.raises(OptionError, match=r'Did you mean "davis17"') as caught:
        read_dataset("davis", tmp_path)
    assert "visual_genome" in str(caught.value)
    assert caught.value.code == "unknown_option"
    with pytest.raises(OptionError, match="train, val, testA, testB"):
        read_dataset("refcoco", tmp_path, "test")
    with pytest.raises(DataError, match="Give the folder of lvis"):
        read_dataset("lvis", tmp_path / "gone")


def test_a_recipe_names_a_dataset_as_its_format(tmp_path):
    coco(tmp_path / "set", 3)
    source = DataSource(path="set", format="coco", split="val")
    assert [record.split for record in read_source(source, tmp_path)] == ["val"] * 3
    with pytest.raises(OptionError, match="has no split"):
        read_source(DataSource(path="set", format="lvis", split="nonsense"), tmp_path)
    with pytest.raises(ValidationError, match="Besides them there are packs and shards"):
        DataSource(path="set", format="nonsense")


def test_bad_rows_are_told_and_too_many_end_the_reading(tmp_path):
    folder, told = coco(tmp_path, 5, missing=3), []
    records = list(read_dataset("coco", folder, max_bad=3, report=told.append))
    assert len(records) == 2
    assert told[-1] == "coco: 2 records, 3 rows left out"
    assert all("there is no file" in line for line in told[:-1])
    with pytest.raises(DataError, match="that makes 3 and 2 may be left out"):
        list(read_dataset("coco", folder, max_bad=2, report=told.append))


def test_records_are_plain_values(tmp_path):
    records, _ = read("coco", coco(tmp_path))
    assert pickle.loads(pickle.dumps(records)) == records


def test_a_file_in_a_row_of_nonsense_is_no_dataset(tmp_path):
    write(tmp_path / "coco.json", '{"images": [1, 2], "annotations": [3], "categories": ["x"]}')
    with pytest.raises(DataError, match="no row of"):
        list(read_dataset("coco", tmp_path, report=[].append))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(
    content=st.lists(JSON, max_size=5) | st.dictionaries(st.text(), JSON, max_size=5),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_json_item_by_item_is_json_as_a_whole(tmp_path_factory, content, chunk, indent, ascii_only):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(
        "\ufeff" * (chunk % 2) + json.dumps(content, indent=indent, ensure_ascii=ascii_only),
        encoding="utf-8",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "CHUNK", chunk)
        items = list(json_items(path))
        entries = list(json_entries(path)) if isinstance(content, dict) else []
    raw = path.read_bytes()
    for item in [*items, *entries]:
        assert json.loads(raw[item.offset : item.offset + item.num_bytes]) == item.value
    if isinstance(content, list):
        assert [item.value for item in items] == content
        return
    assert {entry.name: entry.value for entry in entries} == content
    for section, value in content.items():
        inside = [item for item in items if item.section == section]
        if isinstance(value, list):
            assert [item.value for item in inside] == value
        elif isinstance(value, dict):
            assert {item.name: item.value for item in inside} == value
        else:
            assert inside == []


@pytest.mark.parametrize("text", ["", "7", '{"a": [1, 2', '{"a" [1]}', "[1] 2", '{"a": nonsense}',
                                  '[{"a": "\udcff"}]'])  # fmt: skip
def test_broken_json_is_an_error_that_names_the_file(tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match="broken.json") as caught:
        list(json_items(path))
    assert caught.value.code == "bad_record"


def test_rows_are_found_by_their_key(tmp_path):
    path = write(
        tmp_path / "rows.jsonl", "".join(f'{{"of": {n % 3}, "n": {n}}}\n' for n in range(7))
    )
    index = RowIndex(path)
    for item in line_items(path):
        index.add(int(item.name - 1) % 3, item)
    assert [row["n"] for row in index.rows("1")] == [1, 4]
    assert index.numbered(2) == [(2, {"of": 2, "n": 2}), (5, {"of": 2, "n": 5})]
    assert index.rows(9) == []
    assert [[row["n"] for row in group] for group in index.groups()] == [[0, 3, 6], [1, 4], [2, 5]]


def test_a_large_file_takes_little_memory(tmp_path):
    """2,000 pictures with 5 annotations each, 3 MB of JSON: places are held, not rows."""
    filler = "x" * 200
    rows = [
        f'{{"id": {n}, "image_id": {n % 2_000}, "category_id": 1, "bbox": [1, 1, 9, 9],'
        f' "note": "{filler}"}}'
        for n in range(10_000)
    ]
    images = [
        f'{{"id": {n}, "file_name": "a.png", "width": 30, "height": 20}}' for n in range(2_000)
    ]
    picture(tmp_path / "a.png")
    text = f'{{"annotations": [{",".join(rows)}], "images": [{",".join(images)}],'
    path = write(tmp_path / "big.json", text + ' "categories": [{"id": 1, "name": "cat"}]}')
    assert path.stat().st_size > 2.5e6
    del rows, images, text
    tracemalloc.start()
    count = sum(len(record.regions) for record in read_dataset("coco", tmp_path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 10_000
    assert peak < 5e6  # two chunks of the file, and 28 bytes a row


def test_the_page_of_datasets_says_what_the_registry_says():
    page = (Path(__file__).parent.parent / "docs" / "datasets.md").read_text("utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| [`")}
    assert rows.keys() == NAMES
    for name, row in rows.items():
        told = row.replace("\\", "")
        dataset = DATASETS[name]
        for part in (dataset.summary, dataset.layout, dataset.checked, dataset.home):
            assert part in told
