"""The demo in a real browser: what a visitor does, from the first click to the downloaded video."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from demo_browser import Page
from perceive_anything.cli import main
from perceive_anything.demo.examples import drawn_scene
from perceive_anything.video import VideoFile
from perceive_anything.video_writer import VideoWriter

DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    DRIVER is None and not os.environ.get("CI"),
    reason="chromedriver is not installed (Debian: apt-get install chromium chromium-driver)",
)
SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "result.schema.json").read_text("utf-8"))
HOUSE = ((0.5, 0.12), (0.9, 0.74))
FRAMES = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clip to upload and to stream, and a folder for downloads."""
    folder = tmp_path_factory.mktemp("demo")
    Image.fromarray(drawn_scene()).save(folder / "scene.png")
    with VideoWriter(folder / "clip.mp4", 4, (160, 120)) as writer:
        for number in range(FRAMES):
            writer.write(drawn_scene((160, 120), 0.3 + 0.02 * number))
    return folder


@pytest.fixture(scope="module")
def address(folder):
    """`perceive demo` as a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "perceive_anything.cli", "demo", "--port", str(port)]
    log = (folder / "server.log").open("w")
    server = subprocess.Popen(
        [*command, "--source", str(folder / "clip.mp4")],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    line = server.stdout.readline()
    assert f"http://127.0.0.1:{port}" in line, (folder / "server.log").read_text()
    yield f"http://127.0.0.1:{port}/"
    server.send_signal(signal.SIGINT)
    assert server.wait(30) == 0
    assert "Traceback" not in (folder / "server.log").read_text()


@pytest.fixture(scope="module")
def browser(address, folder):
    """One browser for all tests."""
    page = Page(address, DRIVER or "chromedriver", folder)
    yield page
    page.driver.quit()


@pytest.fixture
def page(browser):
    """The page as a new visitor finds it; it must load nothing from elsewhere and not complain."""
    browser.load()
    yield browser
    here = (browser.address, "data:", "blob:")
    assert {url for url in browser.requested() if not url.startswith(here)} == set()
    assert browser.errors() == []


def is_chinese(text):
    return any("\u4e00" <= sign <= "\u9fff" for sign in text)


def test_one_click_is_a_mask_and_four_texts(page):
    page.shot("start")
    page.example(0)
    page.click((0.5, 0.5))
    page.has(1)
    page.shot("click")
    texts = page.texts()
    assert set(texts) == {"recognize", "explain", "caption", "describe"}
    assert all(texts.values())
    page.shot("texts")


def test_a_mask_is_there_at_once(page):
    page.example(0)
    waits_ms = []
    for across in (0.3, 0.4, 0.5, 0.6):
        waits_ms.append(page.click_ms((across, 0.5)))
        page.texts()
    assert min(waits_ms) < 500  # the best, as tests share the machine with others


def test_box_brush_points_and_several_regions(page):
    page.open(page.downloads / "scene.png")
    page.drag(*HOUSE)
    page.has(1)
    page.tool("brush")
    page.drag((0.1, 0.9), (0.25, 0.9))
    page.has(2)
    page.drag((0.25, 0.9), (0.25, 0.7))  # goes on with what it touches
    page.has(2)
    page.wait(lambda: min(page.ink((0.15, 0.9), (0.25, 0.8))) > 0)
    page.tool("point")
    page.click((0.46, 0.3))
    page.has(3)
    page.click((0.52, 0.5), right=True)
    page.has(3)
    page.texts()
    cards = page.driver.find_elements("css selector", ".pa-card")
    assert len({card.value_of_css_property("border-left-color") for card in cards}) == 3
    page.shot("regions")
    cards[0].find_element("css selector", ".pa-select").click()
    page.wait(lambda: "pa-open" in page.one(".pa-card", "").get_attribute("class"))
    page.one("[data-remove]", "").click()
    page.has(2)
    page.press("undo")
    page.has(3)
    page.press("clear")
    page.has(0)


def test_the_keyboard_does_it_all(page):
    page.open(page.downloads / "scene.png")
    stage = page.one(".pa-stage")
    keys = lambda *pressed: stage.send_keys(*pressed)  # noqa: E731
    keys("\ue014" * 6, "\ue013", "\ue007")  # right, up, Enter
    page.has(1)
    keys("\ue015" * 3, "\ue008\ue007\ue000")  # down, Shift+Enter
    page.has(1)
    assert page.driver.find_elements("css selector", ".pa-open")
    keys("\ue009z\ue000")  # Ctrl+Z
    page.has(1)
    keys("\ue00c")  # Escape
    page.wait(lambda: not page.driver.find_elements("css selector", ".pa-open"))
    keys("\ue008\ue007\ue000")
    assert "no selected region" in page.warning()
    page.shot("keyboard")
    keys("\ue007")
    page.has(2)
    keys("\ue017")  # Delete
    page.has(1)
    page.one(".pa-select", "").click()
    page.wait(lambda: page.driver.find_elements("css selector", ".pa-open"))
    page.driver.switch_to.active_element.send_keys("\ue017")  # from a card
    page.has(0)
    page.driver.switch_to.active_element.send_keys("\ue009z\ue000")
    page.has(1)


def test_everything_is_found_without_pointing(page):
    page.open(page.downloads / "scene.png")
    page.press("everything")
    page.wait(lambda: page.regions > 1)
    page.shot("everything")


def test_mask_and_photo_lie_on_each_other_in_any_window(page):
    page.open(page.downloads / "scene.png")
    page.tool("brush")
    page.drag((0.2, 0.5), (0.4, 0.5))
    page.has(1)
    for width, height in ((1600, 1000), (900, 600), (1280, 500)):
        page.window(width, height)
        page.wait(lambda wide=width: page.script("return innerWidth") == wide)
        page.wait(lambda: page.ink((0.3, 0.5))[0] > 0)
        assert min(page.ink((0.21, 0.5), (0.39, 0.5))) > 0
        assert page.ink((0.3, 0.6), (0.5, 0.5), (0.1, 0.5)) == [0, 0, 0]
        photo, canvas = page.one("img").rect, page.one("canvas").rect
        assert photo == canvas
        assert photo["width"] / photo["height"] == pytest.approx(640 / 420, rel=0.01)
        assert page.script(
            "const title = document.querySelector('.pa-head h1'),"
            "  at = title.getBoundingClientRect(),"
            "  next = document.querySelector('.pa-top fieldset').getBoundingClientRect();"
            "return at.left + title.scrollWidth <= next.left || at.bottom <= next.top"
        )
        page.shot(f"window_{width}x{height}")


@pytest.mark.parametrize(("name", "size_wh"), [("4k", (3840, 2160)), ("portrait", (1080, 2100))])
def test_large_and_tall_photos_keep_their_own_coordinates(page, folder, name, size_wh):
    Image.fromarray(drawn_scene(size_wh)).save(folder / f"{name}.jpg")
    page.open(folder / f"{name}.jpg")
    assert max(page.script("return [arguments[0].naturalWidth, arguments[0].naturalHeight]",
                           page.one("img"))) == 1600  # fmt: skip
    page.drag(*HOUSE)
    page.has(1)
    page.texts()
    page.shot(name)
    result = json.loads(page.download("save_image-JSON", "regions.json").read_text("utf-8"))
    jsonschema.validate(result, SCHEMA)
    assert result["source"] == f"{name}.jpg"
    assert result["size"] == {"width": size_wh[0], "height": size_wh[1]}
    width, height = size_wh
    wanted = np.array([0.5 * width, 0.12 * height, 0.9 * width, 0.74 * height])
    found = np.array(result["regions"][0]["prompt"]["box"])
    assert np.abs(found - wanted).max() < 0.01 * max(size_wh)


def test_chinese_texts_wrap(page):
    page.language("中文")
    page.open(page.downloads / "scene.png")
    page.drag(*HOUSE)
    page.has(1)
    page.wait(lambda: is_chinese(page.texts()["explain"]))
    long = "这是一个很长的没有空格的句子" * 12
    described = page.one(".pa-open dd[data-task=describe]", "")
    page.script("arguments[0].textContent = arguments[1]", described, long)
    page.shot("chinese")
    card = page.one(".pa-open", "").rect
    text = described.rect
    assert text["x"] + text["width"] <= card["x"] + card["width"]
    assert text["height"] > 60
    page.language("English")
    page.wait(lambda: not is_chinese(page.texts()["explain"]))


def test_downloads(page, folder):
    page.open(page.downloads / "scene.png")
    page.drag(*HOUSE)
    page.has(1)
    page.texts()
    coco = COCO(page.download("save_image-COCO", "regions_coco.json"))
    assert coco.annToMask(coco.loadAnns(coco.getAnnIds())[0]).shape == (420, 640)
    with Image.open(page.download("save_image-PNG", "regions.png")) as picture:
        assert picture.size == (640, 420)


def test_bad_files_are_explained(page, folder):
    (folder / "notes.png").write_text("no picture")
    page.one(".pa-file input").send_keys(str(folder / "notes.png"))
    said = page.warning()
    assert '"notes.png" is not an image' in said
    assert "Traceback" not in said
    assert str(folder) not in said


def test_dark(page):
    page.load(dark=True)
    page.open(page.downloads / "scene.png")
    page.drag(*HOUSE)
    page.has(1)
    page.texts()
    page.shot("dark")
    shade = page.script("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g)")
    assert max(map(int, shade[:3])) < 60


def test_phone(page):
    page.load(390, 844, phone=True)
    page.open(page.downloads / "scene.png")
    page.touch((0.7, 0.25))
    page.has(1)
    page.tool("box")
    page.touch(HOUSE[0], (0.7, 0.4), HOUSE[1])
    page.has(2)
    page.texts()
    assert page.script("return document.documentElement.scrollWidth") <= 390
    page.script("scrollTo(0, 0)")
    assert page.one(".pa-name", "").rect["y"] < 844 - 40  # without scrolling
    page.shot("phone")
    page.script("document.querySelector('.pa-cards').scrollIntoView({block: 'end'})")
    page.shot("phone_texts")


def test_a_video_is_followed_and_saved(page, folder):
    page.tab("Video", "video")
    page.open(folder / "clip.mp4")
    page.drag((0.2, 0.66), (0.42, 0.94))
    page.has(1)
    page.shot("video")
    state = page.driver.find_element("css selector", "#pa-timeline [data-state]")
    page.one("#pa-follow", "").click()
    page.wait(lambda: state.get_attribute("data-state") == "followed")
    lane = page.wait(lambda: page.one("svg", "#pa-timeline "))
    assert "visible" in lane.get_attribute("aria-label")
    span = page.one(".pa-spans button", "#pa-timeline ")
    told = page.one(".pa-spans p", "#pa-timeline ")
    assert not told.is_displayed()
    page.one("input", "#pa-timeline ").send_keys("\ue010")  # End
    page.wait(lambda: state.get_attribute("data-frame") == str(FRAMES - 1))
    page.script("arguments[0].focus()", span)
    assert span.text in told.text
    page.shot("video_followed")
    span.send_keys("\ue007")  # Enter
    page.wait(lambda: state.get_attribute("data-frame") == span.get_attribute("data-from"))
    assert span.get_attribute("aria-current") == "true"
    assert page.driver.switch_to.active_element == span
    span.send_keys("\ue00c")  # Escape
    page.wait(lambda: not told.is_displayed())
    result = json.loads(page.download("save_video-JSON", "regions.json").read_text("utf-8"))
    jsonschema.validate(result, SCHEMA)
    assert len(result["regions"][0]["track"]) == FRAMES
    assert result["regions"][0]["caption"]
    saved = VideoFile(page.download("save_video-MP4", "regions.mp4"))
    assert sum(1 for _ in saved.frames()) == FRAMES


def test_a_webcam_and_a_source_are_streamed(page):
    page.tab("Stream", "live")
    allow = "//*[contains(text(), 'Click to Access')]"
    page.wait(lambda: page.driver.find_element("xpath", allow).is_displayed())
    page.driver.find_element("xpath", allow).click()
    record = page.wait(lambda: page.one(".capture-button", "#pa-webcam "))
    record.click()
    page.shown()
    page.drag((0.3, 0.25), (0.7, 0.75))
    page.wait(lambda: page.driver.find_elements("css selector", ".pa-card"))
    page.shot("webcam")
    record.click()
    page.one("#pa-stop", "").click()
    page.wait(lambda: page.driver.find_elements("css selector", ".pa-events li"))
    page.shot("webcam_events")
    first = page.one("img").get_attribute("src")
    page.one("#pa-play", "").click()
    page.wait(lambda: page.one("img").get_attribute("src") != first)
    page.wait(lambda: "ended" in page.one(".pa-status").text)
    page.shot("source")


def test_a_port_that_is_taken_is_explained(address, capsys):
    assert main(["demo", "--port", address.rstrip("/").rpartition(":")[2]]) == 2
    assert "port" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--model", "./no-such-folder"], ["--port", "70000"]])
def test_the_command_refuses_what_cannot_work(options, capsys):
    assert main(["demo", *options]) == 2
    assert "Traceback" not in capsys.readouterr().err
