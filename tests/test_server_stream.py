"""WS /v1/stream: frames in, events out."""

import json
import math
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from perceive_anything import Box
from servers import png, serving, toy

EVENT = Draft202012Validator(
    json.loads((Path(__file__).parent.parent / "docs/event.schema.json").read_text("utf-8"))
)
SQUARE = {"type": "box", "box": [10, 20, 30, 40]}
ADD = {"type": "add", "prompt": SQUARE}


@pytest.fixture(scope="module")
def pam():
    return toy()


@pytest.fixture(scope="module")
def url(pam):
    with serving(pam, max_streams=2, max_stream_frames=2, max_prompts=2, api_key="key") as address:
        yield address.replace("http", "ws") + "/v1/stream"


@pytest.fixture
def socket(url):
    with connect(url, additional_headers={"Authorization": "Bearer key"}) as opened:
        yield opened


def picture(index):
    frame = np.full((64, 96, 3), 40, np.uint8)
    frame[20:40, 10 + index : 30 + index] = (230, 60, 60)
    return frame


def frame(index, time_s=None):
    at = index / 10 if time_s is None else time_s
    return struct.pack(">d", at) + png(picture(index))


def say(socket, message):
    socket.send(message if isinstance(message, bytes) else json.dumps(message))
    return json.loads(socket.recv(timeout=30))


def test_events_are_those_of_the_library(socket, pam):
    socket.send(json.dumps({"type": "start", "caption_every": 0.5, "language": "en"}))
    assert say(socket, ADD) == {"type": "added", "track": 0}
    session = pam.stream(caption_every=0.5)
    session.add(Box(10, 20, 30, 40))
    for index in range(10):
        expected = [
            line for event in session.push(picture(index), index / 10) for line in event.to_lines()
        ]
        socket.send(frame(index))
        got = [json.loads(socket.recv(timeout=30)) for _ in expected]
        assert got == expected
        for line in got:
            EVENT.validate(line)
    expected = [line for event in session.close() for line in event.to_lines()]
    socket.send(json.dumps({"type": "end"}))
    assert [json.loads(line) for line in socket] == expected
    assert [line["type"] for line in expected] == ["caption", "end"]
    assert socket.close_code == 1000


def test_regions_come_and_go(socket):
    say(socket, ADD)
    assert say(socket, frame(0))["track"] == 0
    mask = {"type": "polygon", "polygons": [[10, 20, 40, 20, 40, 50]]}
    assert say(socket, {"type": "add", "prompt": mask}) == {"type": "added", "track": 1}
    socket.send(frame(1))
    assert {json.loads(socket.recv())["track"] for _ in range(2)} == {0, 1}
    assert say(socket, {"type": "remove", "track": 0}) == {"type": "removed", "track": 0}
    assert say(socket, frame(2))["track"] == 1


def test_frames_that_come_too_fast_are_dropped_and_counted(socket):
    say(socket, ADD)
    for index in range(40):
        socket.send(frame(index))
    socket.send(json.dumps({"type": "end"}))
    lines = [json.loads(line) for line in socket]
    seen = [line for line in lines if line["type"] == "frame"]
    end = lines[-1]
    assert end["frames"] == len(seen)
    assert end["frames"] + end["dropped"] == 40
    assert end["dropped"] > 0
    assert seen[-1]["time_s"] == 3.9  # the newest is kept


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "add", "prompt": {"type": "box", "box": [5, 5, 1, 1]}}, "box_inverted"),
        ({"type": "add", "prompt": {"type": "polygon", "polygons": [[0] * 6]}}, "mask_size"),
        ({"type": "remove", "track": 3}, "unknown_option"),
        ({"type": "dance"}, "bad_request"),
        ({"type": "start", "caption_every": -1}, "bad_request"),
        ({"type": "start", "language": "fr"}, "unknown_language"),
        (b"", "bad_body"),
        (struct.pack(">d", 0.0) + b"no image", "file_unreadable"),
        (frame(0, math.nan), "bad_number"),
    ],
)
def test_a_bad_message_is_answered_and_the_stream_goes_on(socket, message, code):
    answer = say(socket, message)
    assert (answer["type"], answer["error"]["code"]) == ("error", code)
    assert answer["error"]["hint"]
    assert say(socket, ADD)["type"] == "added"
    assert say(socket, frame(1))["type"] == "frame"


def test_text_that_is_no_json(socket):
    socket.send("{")
    assert json.loads(socket.recv())["error"]["code"] == "bad_body"


def test_time_rises_and_size_stays(socket):
    say(socket, ADD)
    say(socket, frame(5))
    assert say(socket, frame(4))["error"]["code"] == "bad_number"
    other = struct.pack(">d", 9.0) + png(np.zeros((50, 50, 3), np.uint8))
    assert say(socket, other)["error"]["code"] == "image_size"
    assert say(socket, frame(100))["type"] == "frame"


def test_limits(socket, url):
    for _ in range(2):
        assert say(socket, ADD)["type"] == "added"
    assert say(socket, ADD)["error"]["code"] == "limit_exceeded"
    headers = {"Authorization": "Bearer key"}
    with connect(url, additional_headers=headers), pytest.raises(InvalidStatus) as caught:
        connect(url, additional_headers=headers)
    assert caught.value.response.status_code == 429
    assert json.loads(caught.value.response.body)["error"]["code"] == "server_busy"
    with pytest.raises(InvalidStatus) as caught:
        connect(url)
    assert caught.value.response.status_code == 401


def test_too_many_messages_at_once(socket):
    with suppress(ConnectionClosed):
        for _ in range(2000):
            socket.send(json.dumps({"type": "remove", "track": 3}))
    codes = {json.loads(line)["error"]["code"] for line in until_closed(socket)}
    assert "limit_exceeded" in codes
    assert socket.close_code == 1008


def until_closed(socket):
    with suppress(ConnectionClosed):
        while True:
            yield socket.recv(timeout=10)
