"""Many images into a folder: formats, refusals, and a run that is killed and started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

import fake_pipeline
from export_fixtures import exported, odd_masks
from fake_pipeline import Ran, Run
from perceive_anything import export
from perceive_anything.assets import NANO
from perceive_anything.cli import main
from perceive_anything.cli.folder import FORMATS
from perceive_anything.cli.inputs import common_root, expand, named
from perceive_anything.cli.progress import pace
from test_cli import check_refusal

BOX = ("--box", "2,2,20,15")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three small images, one of them in a folder of its own, and a text."""
    folder = tmp_path / "photos"
    (folder / "night").mkdir(parents=True)
    for number, name in enumerate(("b.png", "a.jpg", "night/a.png")):
        noise = np.random.default_rng(number).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    (folder / "notes.txt").write_text("no image", "utf-8")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_folder_is_exported_in_every_format(run: Run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    formats = [option for name in FORMATS for option in ("--export", name)]
    ran = run("image", photos, *BOX, *formats, "--out", out)
    assert ran.code == 0, ran
    assert ran.stdout.startswith("3 of 3 images as json, jsonl, coco, ")
    names = [entry["source"] for entry in json.loads((out / "results.json").read_text())["results"]]
    assert names == ["a.jpg", "b.png", "night/a.png"]
    coco = COCO(str(out / "coco" / "instances.json"))
    assert [image["file_name"] for image in coco.dataset["images"]] == names
    assert [a["bbox"] for a in coco.dataset["annotations"]] == [[2, 2, 18, 13]] * 3
    assert {path.name for path in (out / "overlays").rglob("*.png")} == {"a.png", "b.png"}
    with Image.open(out / "overlays" / "night" / "a.png") as picture:
        assert picture.size == (30, 20)
    assert len(list((out / "yolo" / "labels").rglob("*.txt"))) == 3
    samples = json.loads((out / "fiftyone" / "samples.json").read_text())["samples"]
    assert [(out / "fiftyone" / s["filepath"]).resolve() for s in samples] == [
        photos / name for name in names
    ]
    assert fake_pipeline.FakePerceiver.loaded == 1


def test_json_is_what_is_written_unless_something_else_is_wanted(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    assert run("image", photos / "b.png", *BOX, "--out", tmp_path / "out", "--quiet") == Ran(
        0, "", ""
    )
    assert set(files_of(tmp_path / "out")) == {
        "results.json",
        ".perceive/request.json",
        ".perceive/answers/b.png.json",
    }


def test_a_second_call_does_nothing_twice(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, asked = tmp_path / "out", []
    plain = fake_pipeline.FakePerceiver.image
    monkeypatch.setattr(
        fake_pipeline.FakePerceiver, "image", lambda self, a: asked.append(1) or plain(self, a)
    )
    call = ("image", photos, *BOX, "--out", out, "--export", "coco")
    run(*call)
    before = files_of(out)
    ran = run(*call)
    assert "3 of 3 images are done" in ran.stderr
    assert files_of(out) == before
    assert len(asked) == 3
    run(*call, "--export", "overlays", "--export", "masks")
    assert len(asked) == 3, "other formats come from what was answered"
    assert len(list((out / "overlays").rglob("*.png"))) == 3
    Image.new("RGB", (30, 20)).save(photos / "b.png")
    Image.new("RGB", (30, 20)).save(photos / "new.png")
    assert run(*call).stdout.startswith("4 of 4 images")
    assert len(asked) == 5, "an image that changed and a new one are answered"


def test_bad_images_are_told_left_out_and_tried_again(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "bad.png").write_text("no image", "utf-8")
    call = ("image", photos, photos / "no.png", *BOX, "--out", tmp_path / "out", "--export", "coco")
    for _ in range(2):
        ran = run(*call)
        assert ran.code == 2
        assert "bad.png" in ran.stderr
        assert "no.png" in ran.stderr
        assert "3 of 5 images" in ran.stdout
    images = json.loads((tmp_path / "out" / "coco" / "instances.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["a.jpg", "b.png", "night/a.png"]
    (photos / "bad.png").unlink()
    assert run(*call[:2], *call[3:]).code == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("--lang", "zh"), 'language "en", now "zh"'),
        (("--box", "1,1,9,9"), "prompts"),
        (("--task", "caption"), "tasks"),
        (("--max-new-tokens", "3"), "max_new_tokens null, now 3"),
    ],
)
def test_another_request_in_the_same_folder_is_refused(
    run: Run, photos: Path, tmp_path: Path, change: tuple[str, ...], told: str
) -> None:
    call = ("image", photos, *BOX, "--out", tmp_path / "out")
    run(*call)
    before = files_of(tmp_path / "out")
    check_refusal(run(*call, *change), "request_changed", told, "--out")
    check_refusal(run(*call[:1], photos / "night", *call[2:]), "request_changed", "images")
    assert files_of(tmp_path / "out") == before


def test_a_terminal_gets_a_bar(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    (photos / "bad.png").write_text("no image", "utf-8")
    ran = run("image", photos, *BOX, "--out", tmp_path / "out")
    assert ran.code == 2
    assert "4 of 4 images" in ran.stderr
    assert "bad.png" in ran.stderr
    assert "3 of 4 images as json" in ran.stdout
    assert (pace(50, 20), pace(2, 13)) == ("2.5 a second", "6.5 s each")


def test_a_state_that_is_damaged_is_named(run: Run, photos: Path, tmp_path: Path) -> None:
    call = ("image", photos, *BOX, "--out", tmp_path / "out")
    run(*call)
    (tmp_path / "out" / ".perceive" / "request.json").write_text("{", "utf-8")
    check_refusal(run(*call), "request.json", "cannot be read")


def test_options_that_do_not_go_together_are_refused(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    out = ("--out", tmp_path / "out")
    check_refusal(run("image", photos, *BOX, "--export", "coco"), "--out DIR")
    check_refusal(run("image", photos, *BOX, *out, "--export", "coca"), 'Did you mean "coco"')
    check_refusal(run("image", photos, *BOX, *out, "--json", "-"), "--export json")
    check_refusal(run("image", photos, *BOX, "--out", photos / "b.png"), "cannot write")
    (photos / "none").mkdir()
    check_refusal(run("image", photos / "none", *BOX, *out), "no images", ".jpg")
    Image.new("RGB", (30, 20)).save(photos / "b.jpg")
    check_refusal(run("image", photos, *BOX, *out, "--export", "yolo"), "b.txt")
    assert not (tmp_path / "out").exists()
    assert fake_pipeline.FakePerceiver.loaded == 0


def test_prompts_come_from_a_file(run: Run, photos: Path, tmp_path: Path) -> None:
    masks = odd_masks()
    first = exported("a.jpg", {"ring": masks["ring"], "line": masks["line"]})
    second = exported("night/a.png", {"parts": masks["parts"]})
    for name in ("coco", "labelstudio", "cvat"):
        file, *_ = export.write_export(name, [first, second], tmp_path / name)
        out = tmp_path / f"out-{name}"
        ran = run("image", photos, "--prompts", file, "--out", out, "--export", "coco")
        assert ran.code == 2
        assert "b.png" in ran.stderr, "it has no prompts"
        found = json.loads((out / "coco" / "instances.json").read_text())
        assert len(found["annotations"]) == 3
    plain = run("image", photos / "night" / "a.png", "--prompts", file, "--json", "-")
    assert [r["prompt"]["type"] for r in json.loads(plain.stdout)["regions"]] == ["mask"]
    check_refusal(run("image", photos, "--prompts", file, *BOX), "Leave one of the two out")
    check_refusal(run("image", photos, "--prompts", photos / "notes.txt"), "prompt_syntax")


def test_folders_and_patterns_are_read_without_out_too(run: Run, photos: Path) -> None:
    lines = run("image", photos, *BOX, "--jsonl", "-").stdout.splitlines()
    assert [Path(json.loads(line)["source"]).name for line in lines] == ["a.jpg", "b.png", "a.png"]
    lines = run("image", photos / "**" / "a.*", *BOX, "--jsonl", "-").stdout.splitlines()
    assert len(lines) == 2


def test_names_are_relative_to_what_is_common(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    assert common_root(["a.jpg", "night"]) == photos
    assert common_root(["night/*.png"]) == photos / "night"
    assert common_root([str(photos / "night")]) == photos / "night"
    found = named(expand(["night", "a.jpg", "a.jpg"]), photos)
    assert [(item.path, item.name) for item in found] == [
        ("night/a.png", "night/a.png"),
        ("a.jpg", "a.jpg"),
    ]
    assert expand([str(photos)], left_out=photos / "night") == [
        str(photos / name) for name in ("a.jpg", "b.png")
    ]
    assert expand(["no.png", "no*.png"]) == ["no.png", "no*.png"]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many as the other process has: with more, sums round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_is_killed_gives_the_same_files(tmp_path: Path) -> None:
    """With nano on a coarse grid, killed with no warning after an answer, then started again."""
    model = tmp_path / "nano"
    shutil.copytree(NANO, model, copy_function=os.symlink)
    (model / "config.json").unlink()
    settings = json.loads((NANO / "config.json").read_text("utf-8"))
    settings["mask_generation"]["points_per_side"] = 3
    (model / "config.json").write_text(json.dumps(settings), "utf-8")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        array = np.full((48, 64, 3), 200, np.uint8)
        array[10:38, 8 + 6 * number : 30 + 6 * number] = (180, 40, 20 * number)
        Image.fromarray(array).save(photos / f"{number}.png")

    def arguments(out: str) -> list[str]:
        formats = ("--export", "coco", "--export", "overlays", "--export", "jsonl")
        options = ("--everything", "--max-regions", "2", "--task", "recognize", "--quiet")
        places = ("--model", str(model), "--out", str(tmp_path / out))
        return ["image", str(photos), *options, *formats, *places]

    assert main(arguments("whole")) == 0
    answers = tmp_path / "cut" / ".perceive" / "answers"
    running = subprocess.Popen(
        [sys.executable, "-m", "perceive_anything.cli", *arguments("cut")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 200
    while not list(answers.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    first = {path: path.stat().st_mtime_ns for path in answers.glob("*.json")}
    assert 1 <= len(first) < 4
    assert not (tmp_path / "cut" / "coco").exists()
    assert main(arguments("cut")) == 0
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    found = json.loads((tmp_path / "cut" / "coco" / "instances.json").read_text())["annotations"]
    assert len(found) >= 4, "something was found in every picture"
    assert len(files_of(tmp_path / "cut")) == 1 + 4 + 4 + 2 + 1
    assert {path: path.stat().st_mtime_ns for path in first} == first, "done twice"
