"""What nobody should send: the right status, a hint, and a server that is as it was before."""

import asyncio
import json
import re
import signal
import socket
import struct
import time
import zlib
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from perceive_anything.server.guard import Guard
from perceive_anything.server.memory import Budget
from perceive_anything.server.metrics import Metrics
from perceive_anything.server.settings import ServerSettings
from servers import (
    BOX,
    CAT_PNG,
    CAT_URI,
    SLACK_MIB,
    Process,
    Watch,
    png,
    refusal,
    serving,
    toy,
    uri,
)

JSON = {"Content-Type": "application/json"}
ZEROS = bytes(10_000_000)


@pytest.fixture(scope="module")
def process():
    options = ("--max-waiting", "16", "--max-mib", "16", "--max-prompts", "64")
    with Process(*options) as running:
        yield running
        told = running.stop()
        assert "Traceback" not in told, told
        # As uvicorn ends: cleanly, and then by the signal.
        assert running.process.returncode == -signal.SIGTERM


@pytest.fixture(scope="module")
def impatient():
    """A server that waits for nobody."""
    with serving(
        toy(), header_timeout_s=0.4, body_idle_s=0.4, body_timeout_s=1.0, send_timeout_s=0.4,
        max_body_bytes=100_000, max_held_bytes=250_000,
    ) as url:  # fmt: skip
        yield url


def post(process, path="/v1/regions", **settings):
    return httpx.post(f"{process.url}{path}", timeout=60, **settings)


def is_well(process):
    request = {"image": CAT_URI, "prompts": [BOX], "tasks": ["recognize"]}
    (region,) = post(process, json=request).json()["regions"]
    assert region["label"] == "cat"


def number_of(process, name):
    text = httpx.get(f"{process.url}/metrics").text
    return float(re.search(rf"^perceive_{name} (.*)$", text, re.MULTILINE)[1])


def until_nobody_waits(process):
    began = time.monotonic()
    while number_of(process, "waiting"):
        assert time.monotonic() - began < 15
        time.sleep(0.1)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(side):
    """A PNG of a few kilobytes that wants side * side pixels."""
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def assault(process):
    """Everything below that is large, at once or slowly, and people who leave."""
    boxes = json.dumps({"image": CAT_URI, "prompts": [BOX] * 100_000})
    dark = png(np.zeros((3000, 5000), np.uint8))
    refusal(post(process, files={"image": ZEROS}), 415, "file_unreadable")
    refusal(post(process, content=ZEROS, headers=JSON), 400, "bad_body")
    refusal(post(process, content=boxes, headers=JSON), 422, "bad_request")
    refusal(post(process, "/v1/sessions", files={"video": ZEROS}), 415, "file_unreadable")
    refusal(post(process, files={"image": bomb(20_000)}), 413, "image_size")
    request = json.dumps({"prompts": [BOX], "tasks": ["segment"]})
    found = post(process, files={"image": dark}, data={"request": request})
    assert found.status_code == 200
    slow = [open_socket(process.url) for _ in range(10)]
    for raw in slow:
        raw.sendall(head("/v1/regions", 10_000_000) + bytes(4_000_000))
    assert number_of(process, "held_bytes") > 10_000_000
    for raw in slow:
        raw.close()
    request = {"image": CAT_URI, "prompts": [BOX] * 16, "stream": True}
    for _ in range(3):
        with httpx.stream("POST", f"{process.url}/v1/regions", json=request, timeout=60) as answer:
            next(answer.iter_bytes())
    until_nobody_waits(process)


def test_memory_comes_back_to_its_level(process):
    is_well(process)
    level = 0.0
    for _ in range(2):  # what a server that has been busy keeps: threads and their heaps
        assault(process)
        level = max(level, process.settled_mib())
    for _ in range(2):
        with Watch(process) as watch:
            assault(process)
        is_well(process)
        assert watch.peak_mib - level > SLACK_MIB  # else this shows nothing
        assert process.settled_mib(level + SLACK_MIB) < level + SLACK_MIB
    assert number_of(process, "held_bytes") == 0


def test_pictures_that_unfold(process):
    began = time.monotonic()
    refusal(post(process, files={"image": bomb(20_000)}), 413, "image_size")
    refusal(post(process, files={"image": bomb(8_000)}), 413, "image_size")
    mask = {"type": "png", "png": uri(bomb(20_000))}
    refusal(post(process, json={"image": CAT_URI, "prompts": [mask]}), 413, "image_size")
    text = CAT_PNG[:33] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000))) + CAT_PNG[33:]
    refusal(post(process, files={"image": text}), 415, "file_unreadable")
    assert time.monotonic() - began < 10
    is_well(process)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(process, number):
    for prompt in (
        f'{{"type": "box", "box": [{number}, 1, 9, 9]}}',
        f'{{"type": "points", "points": [[1, {number}]]}}',
        f'{{"type": "polygon", "polygons": [[0, 0, 9, 0, {number}, 9]]}}',
    ):
        body = f'{{"image": "{CAT_URI}", "prompts": [{prompt}]}}'
        refusal(post(process, content=body, headers=JSON), 422, "bad_number")


@pytest.mark.parametrize(
    "prompt",
    [
        None, 7, "box", [], {}, {"type": "box"}, {"type": "box", "box": "1,2,3,4"},
        {"type": "box", "box": [True, 0, 9, 9]}, {"type": "box", "box": ["1", 0, 9, 9]},
        {"type": "points", "points": []}, {"type": "points", "points": [[1, 2, 3]]},
        {"type": "points", "points": [[1, 2]], "labels": [2]},
        {"type": "mask", "mask": {"size": [300, 451]}}, {"type": "mask", "mask": "abc"},
        {"type": "mask", "mask": {"size": [300.5, 451], "counts": "0"}},
        {"type": "polygon", "polygons": [[1, 2, 3, 4]]}, {"type": "png", "png": 5},
        {"type": "box", "box": [1, 1, 9, 9], "color": "red"},
        {"type": "box", "box": [10**400, 1, 9, 9]},
    ],
)  # fmt: skip
def test_wrong_types(process, prompt):
    answer = post(process, json={"image": CAT_URI, "prompts": [prompt]})
    assert answer.status_code == 422
    assert refusal(answer, 422, answer.json()["error"]["code"])["code"] in (
        "bad_request", "bad_number",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ({"type": "mask", "mask": {"size": [10**9, 10**9], "counts": "0"}}, "mask_size"),
        ({"type": "mask", "mask": {"size": [300, 451], "counts": "5:"}}, "prompt_syntax"),
        ({"type": "mask", "mask": {"size": [300, 451], "counts": "oooo"}}, "prompt_syntax"),
        ({"type": "mask", "mask": {"size": [300, 451], "counts": "\u4e2d"}}, "prompt_syntax"),
        ({"type": "mask", "mask": {"size": [300, 451], "counts": [5]}}, "prompt_syntax"),
        ({"type": "mask", "mask": {"size": [300, 451], "counts": [2**40]}}, "prompt_syntax"),
        ({"type": "mask", "mask": {"size": [300, 451], "counts": [135300]}}, "mask_empty"),
        ({"type": "polygon", "polygons": [[0, 0, 1e9, 0, 9, 9]]}, "point_outside_image"),
        ({"type": "polygon", "polygons": [[0, 0, 9, 0, 9, 9, 1]]}, "prompt_syntax"),
        ({"type": "png", "png": CAT_URI[:999]}, "mask_size"),
        ({"type": "points", "points": [[-1, 5]]}, "point_outside_image"),
        ({"type": "points", "points": [[1, 5]], "labels": [1, 0]}, "bad_label_count"),
        ({"type": "points", "points": [[1, 5]] * 900}, "limit_exceeded"),
    ],
)
def test_prompts_that_lie(process, prompt, code):
    answer = post(process, json={"image": CAT_URI, "prompts": [prompt]})
    if code == "mask_size" and prompt["type"] == "png":
        assert answer.status_code in (415, 422)
        return
    refusal(answer, 422, code)


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [
        ("/etc/passwd", 415, "unsupported_body"),
        ("../../../etc/passwd", 415, "unsupported_body"),
        ("file:///etc/passwd", 415, "unsupported_body"),
        ("gopher://127.0.0.1:70/", 415, "unsupported_body"),
        ("http://169.254.169.254/latest/meta-data/", 422, "url_refused"),
        ("HTTPS://localhost/", 422, "url_refused"),
        ("http://[::1]/", 422, "url_refused"),
        ("http://[", 422, "url_refused"),
        ("data:text/html;base64,PGI+", 415, "unsupported_body"),
        ("data:image/svg+xml;base64,PHN2Zy8+", 415, "file_unreadable"),
        ("data:image/png,plain", 415, "unsupported_body"),
        ("", 415, "unsupported_body"),
    ],
)
def test_paths_and_addresses(process, image, status, code):
    error = refusal(post(process, json={"image": image, "prompts": [BOX]}), status, code)
    assert "root:" not in str(error)


def test_file_names_are_only_names(process):
    files = {"image": ("../../etc/\npass\u202ewd", CAT_PNG)}
    request = json.dumps({"prompts": [BOX], "tasks": ["segment"]})
    found = post(process, files=files, data={"request": request}).json()
    assert "/" not in found["source"]


def test_a_client_that_leaves_frees_the_worker(process):
    request = {"image": CAT_URI, "prompts": [BOX] * 24, "stream": True}
    for _ in range(2):
        with httpx.stream("POST", f"{process.url}/v1/regions", json=request, timeout=60) as answer:
            next(answer.iter_bytes())
    for stream in (False, True):
        body = json.dumps(request | {"stream": stream}).encode()
        raw = open_socket(process.url)
        raw.sendall(head("/v1/regions", len(body)) + body)
        raw.close()
    until_nobody_waits(process)
    is_well(process)


def open_socket(url):
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def head(path, length, extra=""):
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n{extra}\r\n"
    ).encode()


def read_all(raw):
    """Until the server closes the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while data := raw.recv(65536):
            received += data
    return received


def error_of(received):
    top, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" in top.lower()
    return int(top.split()[1]), json.loads(body)["error"]["code"]


def test_heads_that_do_not_come(impatient):
    for start in (b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "):
        with open_socket(impatient) as raw:
            raw.sendall(start)
            began = time.monotonic()
            assert read_all(raw) == b""
            assert time.monotonic() - began < 2
    with open_socket(impatient) as raw:  # after an answer the patience begins anew
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 200")
        raw.sendall(b"GET /healthz HTTP/1.1\r\n")
        read_all(raw)


def test_bodies_that_drip(impatient):
    with open_socket(impatient) as raw:
        raw.sendall(head("/v1/regions", 1000) + b"{")
        assert error_of(read_all(raw)) == (408, "body_too_slow")
    with open_socket(impatient) as raw:
        raw.sendall(head("/v1/chat/completions", 1000))
        for _ in range(20):  # each pause is short enough, their sum is not
            try:
                raw.sendall(b" ")
            except OSError:
                break
            time.sleep(0.1)
        assert error_of(read_all(raw)) == (408, "body_too_slow")


def test_bodies_that_are_too_large(impatient):
    with open_socket(impatient) as raw:  # refused by what it announces
        raw.sendall(head("/v1/regions", 10**12) + b"{")
        assert error_of(read_all(raw)) == (413, "body_too_large")
    with open_socket(impatient) as raw:  # and by what it holds, if it announces nothing
        raw.sendall(
            b"POST /v1/regions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + bytes(65536) + b"\r\n"
            b"10000\r\n" + bytes(65536) + b"\r\n"
        )
        assert error_of(read_all(raw)) == (413, "body_too_large")


def test_all_bodies_together_are_bounded(impatient):
    waiting = [open_socket(impatient) for _ in range(4)]
    for raw in waiting:
        raw.sendall(head("/v1/regions", 90_000) + bytes(80_000))
    answers = sorted(error_of(read_all(raw)) for raw in waiting)
    assert answers[-1] == (429, "server_busy")
    assert answers[0] == (408, "body_too_slow")
    for raw in waiting:
        raw.close()


def test_a_client_that_does_not_read():
    """Its answer is cut off, without a word in the log."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise AssertionError("the answer was taken")

    async def never(message):
        await asyncio.sleep(60)

    async def scenario():
        settings = ServerSettings(send_timeout_s=0.05)
        guard = Guard(app, settings, Metrics(), Budget(settings.max_held_bytes))
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        await asyncio.wait_for(guard(scope, None, never), 5)

    asyncio.run(scenario())
