"""The command line in this process, with a stand-in for the model."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import fake_pipeline
from fake_pipeline import Ran, Run
from pack_fixtures import make_packs
from perceive_anything.cli.app import COMMANDS
from perceive_anything.cli.output import overlay_paths
from perceive_anything.cli.prompts import read_point, read_points
from perceive_anything.types import Box

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "docs" / "result.schema.json").read_text(encoding="utf-8")
)
BOX = ("--box", "10,5,40,30")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image of 60x40."""
    return save_photo(tmp_path / "photo.png", (60, 40))


def save_photo(path: Path, size_wh: tuple[int, int]) -> Path:
    """A grey image."""
    Image.new("RGB", size_wh, (90, 90, 90)).save(path)
    return path


def save_mask(path: Path, size_wh: tuple[int, int], *, empty: bool = False) -> Path:
    """A mask whose left half is the thing."""
    array = np.zeros(size_wh[::-1], np.uint8)
    array[:, : 0 if empty else max(1, size_wh[0] // 2)] = 255
    Image.fromarray(array).save(path)
    return path


def check_refusal(ran: Ran, *words: str) -> None:
    """A user's error: exit 2, nothing on stdout, one or two lines that say what to do."""
    assert ran.code == 2, ran
    assert ran.stdout == ""
    assert 1 <= len(ran.stderr.strip().splitlines()) <= 2, ran.stderr
    assert "Traceback" not in ran.stderr
    for word in words:
        assert word in ran.stderr


def test_help_lists_every_command(run: Run) -> None:
    for arguments in ((), ("--help",)):
        ran = run(*arguments)
        assert ran.code == 0
        assert all(name in ran.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert f"perceive {command}" in ran.stdout


def test_version(run: Run) -> None:
    from perceive_anything import __version__

    assert run("--version").stdout == f"perceive-anything {__version__}\n"


def test_plain_lines_name_everything(run: Run, photo: Path) -> None:
    ran = run("image", photo, *BOX)
    assert ran.code == 0
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        f"{photo}  60x40  nano  0.2 s",
        "region 0: box 10,5,40,30 score 0.50",
        "  label: recognize [en]",
        "  explanation: explain [en]",
        "  caption: caption [en]",
        "  description: describe [en]",
    ]


def test_a_terminal_gets_a_table(run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    ran = run("image", photo, *BOX, "--task", "caption")
    assert "caption [en]" in ran.stdout
    assert "10,5,40,30" in ran.stdout
    assert "explanation" not in ran.stdout


def test_quiet_prints_nothing(run: Run, photo: Path) -> None:
    assert run("image", photo, *BOX, "--quiet") == Ran(0, "", "")


def test_json_of_one_image_is_the_object_of_the_schema(run: Run, photo: Path) -> None:
    ran = run("image", photo, *BOX, "--point", "3,4", "--lang", "zh", "--json", "-")
    assert ran.code == 0
    found = json.loads(ran.stdout)
    jsonschema.validate(found, SCHEMA)
    assert found["schema"] == "perceive.result/1"
    assert found["language"] == "zh"
    assert found["timing_s"] == {"load": 0.5, "encode": 0.25}
    for region in found["regions"]:
        assert coco_mask.decode(region["mask"]).shape == (40, 60)


def test_regions_keep_the_order_of_the_command_line(run: Run, photo: Path, tmp_path: Path) -> None:
    mask = save_mask(tmp_path / "mask.png", (60, 40))
    ran = run(
        *("image", "--point", "3,4", "--mask", mask, photo, *BOX),
        *("--points", "10,10,50,30;20,20;30,5,0", "--point=5,6,0", "--json", "-"),
    )
    prompts = [region["prompt"] for region in json.loads(ran.stdout)["regions"]]
    assert [prompt["type"] for prompt in prompts] == ["points", "mask", "box", "points", "points"]
    assert prompts[0]["points"] == [[3, 4]]
    assert prompts[3] == {
        "type": "points",
        "points": [[20, 20], [30, 5]],
        "labels": [1, 0],
        "box": [10, 10, 50, 30],
    }
    assert prompts[4]["labels"] == [0]


def test_tasks_choose_the_texts(run: Run, photo: Path) -> None:
    ran = run("image", photo, *BOX, "--task", "caption", "--task", "recognize", "--json", "-")
    (region,) = json.loads(ran.stdout)["regions"]
    assert set(region) == {"id", "prompt", "box", "mask", "score", "label", "caption"}


def test_several_images_give_one_list_and_failures_stand_in_it(
    run: Run, photo: Path, tmp_path: Path
) -> None:
    other = save_photo(tmp_path / "other.png", (50, 50))
    ran = run("image", photo, tmp_path / "no.png", other, *BOX, "--json", "-")
    assert ran.code == 2
    assert "no.png" in ran.stderr
    found = json.loads(ran.stdout)
    jsonschema.validate(found, SCHEMA)
    assert [entry["source"] for entry in found["results"]] == [
        str(photo),
        str(tmp_path / "no.png"),
        str(other),
    ]
    assert found["results"][1]["error"]["code"] == "file_missing"
    assert fake_pipeline.FakePerceiver.loaded == 1


def test_jsonl_is_one_object_a_line(run: Run, photo: Path, tmp_path: Path) -> None:
    lines_file, json_file = tmp_path / "new" / "a.jsonl", tmp_path / "a.json"
    ran = run(
        *("image", photo, tmp_path / "no.png", *BOX),
        *("--jsonl", lines_file, "--json", json_file),
    )
    assert ran.code == 2
    assert "recognize [en]" in ran.stdout
    entries = [json.loads(line) for line in lines_file.read_text(encoding="utf-8").splitlines()]
    for entry in entries:
        jsonschema.validate(entry, SCHEMA)
    assert json.loads(json_file.read_text(encoding="utf-8"))["results"] == entries


def test_jsonl_on_stdout_is_only_json(run: Run, photo: Path) -> None:
    ran = run("image", photo, photo, *BOX, "--jsonl", "-")
    assert [json.loads(line)["schema"] for line in ran.stdout.splitlines()] == [
        "perceive.result/1"
    ] * 2


def test_save_writes_the_overlay_and_says_where(run: Run, photo: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "overlay.png"
    ran = run("image", photo, *BOX, "--save", target)
    assert ran.stdout.splitlines()[-1] == f"overlay: {target}"
    with Image.open(target) as overlay, Image.open(photo) as original:
        assert overlay.size == original.size
        assert np.asarray(overlay).tolist() != np.asarray(original).tolist()


def test_overlays_of_several_images_carry_their_stems(tmp_path: Path) -> None:
    paths = ["a/cat.jpg", "b/cat.jpg", "dog.png"]
    file_names = overlay_paths(paths, str(tmp_path / "out.jpg")).values()
    assert [path.name for path in file_names] == ["out_cat.jpg", "out_cat-2.jpg", "out_dog.jpg"]
    in_folder = overlay_paths(paths, str(tmp_path)).values()
    assert [path.name for path in in_folder] == ["cat.png", "cat-2.png", "dog.png"]
    assert overlay_paths(["cat.jpg"], "new/") == {"cat.jpg": Path("new/cat.png")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("--box", "for example")),
        (("--box", "1,2,3"), ("--box", "4")),
        (("--box", "a,b,c,d"), ("numbers", "--box 10,20,200,220")),
        (("--box", "40,5,10,30"), ("box_inverted",)),
        (("--box", "10,5,4000,30"), ("box_outside_image", "photo.png")),
        (("--point", "nan,3"), ("bad_number",)),
        (("--point", "3,4,7"), ("label 7",)),
        (("--point", "300,4"), ("point_outside_image",)),
        (("--points", ";"), ("no point",)),
        (("--points", "1,1,5,5;2,2,6,6;3,3"), ("2 boxes",)),
        ((*BOX, "--task", "captoin"), ("unknown_task", "caption")),
        ((*BOX, "--lang", "fr"), ("unknown_language", "zh")),
        ((*BOX, "--model", "nan"), ("unknown_model", "nano")),
        ((*BOX, "--json", "-", "--jsonl", "-"), ("standard output",)),
        ((*BOX, "--save", "overlay.txt"), ("overlay.txt", ".png")),
        ((*BOX, "--bocks", "1"), ("--bocks", "--help")),
        (("--box",), ("--box", "--help")),
    ],
)
def test_bad_options_are_refused(
    run: Run, photo: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    check_refusal(run("image", photo, *arguments), *words)


def test_options_are_checked_before_a_model_is_loaded(run: Run, photo: Path) -> None:
    run("image", photo, *BOX, "--task", "nonsense")
    run("image", photo, "--box", "0,0,4000,1")
    assert fake_pipeline.FakePerceiver.loaded == 0


def bad_file(folder: Path, kind: str) -> Path:
    """A file that is no image."""
    path = folder / f"{kind}.jpg"
    if kind == "text":
        path.write_text("hello, I am a text", encoding="utf-8")
    if kind == "truncated":
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:900])
    if kind == "empty":
        path.touch()
    if kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "empty", "folder"])
def test_a_bad_file_stops_no_other_image(run: Run, photo: Path, tmp_path: Path, kind: str) -> None:
    path = bad_file(tmp_path, kind)
    check_refusal(run("image", path, "--box", "1,1,5,5"), path.name)
    ran = run("image", path, photo, "--box", "1,1,5,5")
    assert ran.code == 2
    assert "recognize [en]" in ran.stdout


@pytest.mark.parametrize("size_wh", [(1, 1), (12000, 200)])
def test_extreme_sizes_are_refused_and_stop_no_other_image(
    run: Run, photo: Path, tmp_path: Path, size_wh: tuple[int, int]
) -> None:
    path = save_photo(tmp_path / "extreme.png", size_wh)
    check_refusal(run("image", path, "--point", "0,0"), "image_size", "extreme.png")
    ran = run("image", path, photo, "--point", "0,0")
    assert ran.code == 2
    assert "recognize [en]" in ran.stdout


def test_a_mask_of_another_size_or_an_empty_one_is_refused(
    run: Run, photo: Path, tmp_path: Path
) -> None:
    other = save_mask(tmp_path / "other.png", (30, 20))
    empty = save_mask(tmp_path / "empty.png", (60, 40), empty=True)
    check_refusal(run("image", photo, "--mask", other), "mask_size")
    check_refusal(run("image", photo, "--mask", empty), "mask_empty", "empty.png")
    check_refusal(run("image", photo, "--mask", tmp_path / "no.png"), "no.png")


def test_targets_that_cannot_be_written_are_refused_first(
    run: Run, photo: Path, tmp_path: Path
) -> None:
    check_refusal(run("image", photo, *BOX, "--json", tmp_path), "folder")
    check_refusal(run("image", photo, *BOX, "--jsonl", photo / "a.jsonl"), "cannot write")
    assert fake_pipeline.FakePerceiver.loaded == 0


def test_a_bug_is_one_line_and_debug_shows_the_traceback(run: Run, photo: Path) -> None:
    ran = run("image", photo, *BOX, "--model", "faulty")
    assert ran.code == 1
    assert len(ran.stderr.strip().splitlines()) == 1
    assert "--debug" in ran.stderr
    ran = run("image", photo, *BOX, "--model", "faulty", "--debug")
    assert ran.code == 1
    assert "Traceback" in ran.stderr


def test_a_bug_keeps_what_was_answered(
    run: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def image(_: object, array: np.ndarray) -> fake_pipeline.FakeSession:
        if array.shape[0] == 9:
            raise RuntimeError("unforeseen")
        return fake_pipeline.FakeSession(array)

    monkeypatch.setattr(fake_pipeline.FakePerceiver, "image", image)
    other = save_photo(tmp_path / "other.png", (60, 9))
    ran = run("image", photo, other, "--point", "1,1", "--json", "-")
    assert ran.code == 1
    assert [entry["source"] for entry in json.loads(ran.stdout)["results"]] == [str(photo)]


def test_settings_of_model_and_text_are_handed_on(run: Run, photo: Path) -> None:
    options = "--sam2 large --dtype float32 --device cpu --quantize int8"
    writing = "--temperature 0.1 --max-new-tokens 7"
    assert run("image", photo, *BOX, *options.split(), *writing.split()).code == 0
    assert fake_pipeline.FakePerceiver.settings == {
        "sam2": "large",
        "dtype": "float32",
        "device": "cpu",
        "quantize": "int8",
        "temperature": 0.1,
        "max_new_tokens": 7,
    }
    check_refusal(run("image", photo, *BOX, "--temperature", "-1"), "temperature is -1")


@pytest.mark.parametrize("command", ["image", "video", "stream"])
def test_int8_is_handed_on_by_every_command_that_loads(run: Run, photo: Path, command: str) -> None:
    ran = run(command, photo, *BOX, "--model", "nan", "--quantize", "int8")
    check_refusal(ran, "unknown_model")
    assert fake_pipeline.FakePerceiver.settings["quantize"] == "int8"


@pytest.mark.parametrize(("name", "code"), [("nano", 0), ("nan", 2)])
def test_no_garbage_is_looked_for_while_a_model_loads(
    run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    plain, seen = fake_pipeline.FakePerceiver.from_pretrained, []

    def watched(*arguments: object, **settings: object) -> object:
        seen.append(gc.isenabled())
        return plain(*arguments, **settings)

    monkeypatch.setattr(fake_pipeline.FakePerceiver, "from_pretrained", watched)
    assert run("image", photo, *BOX, "--model", name).code == code
    assert seen == [False]
    assert gc.isenabled()


def test_int8_can_be_measured(run: Run, tmp_path: Path) -> None:
    packs = ("--data", make_packs(tmp_path))
    ran = run("eval", "packs", *packs, "--model", "nan", "--quantize", "int8", "--device", "cpu")
    check_refusal(ran, "unknown_model")
    assert fake_pipeline.FakePerceiver.settings["quantize"] == "int8"
    assert fake_pipeline.FakePerceiver.settings["device"] == "cpu"


def test_unknown_commands_name_the_near_one(run: Run) -> None:
    check_refusal(run("imge"), "image")


def test_models_lists_nano_and_the_published_ones(run: Run) -> None:
    ran = run("models")
    assert ran.code == 0
    for name in ("nano", "Perceive-Anything/PAM-1.5B", "Perceive-Anything/PAM-3B"):
        assert name in ran.stdout


def test_points_syntax() -> None:
    assert read_point("40,60").labels == (1,)
    assert read_point("40,60,0").labels == (0,)
    points = read_points(" 40,60 ; 50,70,0; 10,10,90,90 ")
    assert points.xy == ((40, 60), (50, 70))
    assert points.labels == (1, 0)
    assert points.box == Box(10, 10, 90, 90)
