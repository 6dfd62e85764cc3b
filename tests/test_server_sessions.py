"""Sessions: images and videos that are uploaded once and asked about often."""

import json
import time
from pathlib import Path

import httpx
import pytest
from jsonschema import Draft202012Validator

from servers import BOX, CAT_PNG, CAT_URI, clip, refusal, serving, sse, toy, uri
from test_server import RESULT, without_times

EVENT = Draft202012Validator(
    json.loads((Path(__file__).parent.parent / "docs/event.schema.json").read_text("utf-8"))
)
S = "/v1/sessions"
SQUARE = {"type": "box", "box": [10, 20, 30, 40]}


@pytest.fixture(scope="module")
def client():
    with serving(toy(), max_sessions=3, max_frames=12, max_prompts=4) as url:
        yield httpx.Client(base_url=url, timeout=60)


@pytest.fixture
def image(client):
    made = client.post(S, files={"image": ("cat.png", CAT_PNG)})
    assert made.status_code == 201, made.text
    yield made.json()
    client.delete(f"{S}/{made.json()['id']}")


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture
def video(client, movie):
    made = client.post(S, files={"video": ("clip.mp4", movie)})
    assert made.status_code == 201, made.text
    yield made.json()
    client.delete(f"{S}/{made.json()['id']}")


def events(answer):
    assert answer.status_code == 200, answer.text
    return [(name, json.loads(data)) for name, data in sse(answer.text)]


def test_an_image_is_encoded_once(client, image):
    assert (image["kind"], image["width"], image["height"]) == ("image", 451, 300)
    request = {"prompts": [BOX], "tasks": ["recognize"], "max_new_tokens": 4}
    first, second = (
        client.post(f"{S}/{image['id']}/regions", json=request).json() for _ in range(2)
    )
    RESULT.validate(first)
    assert without_times(first) == without_times(second)
    assert first["source"] == "cat.png"
    assert first["timing_s"]["encode"] == second["timing_s"]["encode"]
    assert first["timing_s"]["text"] < second["timing_s"]["text"]
    whole = httpx.post(f"{client.base_url}/v1/regions", json={"image": CAT_URI, **request}).json()
    assert whole["regions"] == first["regions"]
    streamed = client.post(f"{S}/{image['id']}/regions", json=request | {"stream": True})
    assert events(streamed)[-1][1]["regions"] == first["regions"]


def test_a_video_is_followed_and_told_of(client, video):
    told = {"kind": "video", "width": 96, "height": 64, "fps": 10.0, "frames": 10, "tracks": []}
    assert told | video == video
    address = f"{S}/{video['id']}"
    added = client.post(f"{address}/tracks", json={"prompts": [SQUARE, SQUARE], "frame": 3})
    assert added.json() == {"tracks": [0, 1]}
    assert client.delete(f"{address}/tracks/1").status_code == 204
    told = events(
        client.post(f"{address}/propagate", json={"tasks": ["caption"], "max_new_tokens": 3})
    )
    names = [name for name, _ in told]
    assert names == ["frame"] * 10 + ["caption", "result"]
    for name, line in told[:-1]:
        EVENT.validate(line)
        assert line["type"] == name
    assert [line["frame"] for _, line in told[:10]] == [3, 4, 5, 6, 7, 8, 9, 2, 1, 0]
    result = told[-1][1]
    RESULT.validate(result)
    (region,) = result["regions"]
    assert region["caption"] == told[-2][1]["text"]
    assert [point["frame"] for point in region["track"]] == list(range(10))
    assert result["source"] == "clip.mp4"
    assert client.get(address).json()["tracks"] == [0]


def test_a_correction_follows_anew(client, video):
    address = f"{S}/{video['id']}"
    client.post(f"{address}/tracks", json={"prompts": [SQUARE]})
    one = events(client.post(f"{address}/propagate", json={"tasks": ["segment"]}))
    nothing_new = events(client.post(f"{address}/propagate", json={"tasks": ["segment"]}))
    assert len(one) == 11
    assert [name for name, _ in nothing_new] == ["result"]
    better = {"prompts": [{"type": "points", "points": [[40, 30]]}], "frame": 8, "track": 0}
    assert client.post(f"{address}/tracks", json=better).json() == {"tracks": [0]}
    again = events(client.post(f"{address}/propagate", json={"tasks": ["segment"]}))
    assert len(again) == 11


@pytest.mark.parametrize(
    ("path", "request_", "status", "code"),
    [
        ("/tracks", {"prompts": [SQUARE], "frame": 10}, 422, "unknown_option"),
        ("/tracks", {"prompts": [BOX]}, 422, "box_outside_image"),
        ("/tracks", {"prompts": [SQUARE], "track": 7}, 422, "unknown_option"),
        ("/tracks", {"prompts": []}, 422, "bad_request"),
        ("/tracks", {"prompts": [SQUARE] * 5}, 422, "limit_exceeded"),
        ("/propagate", {}, 422, "prompt_missing"),
        ("/propagate", {"tasks": ["dance"]}, 422, "unknown_task"),
        ("/regions", {"prompts": [SQUARE]}, 422, "bad_request"),
    ],
)
def test_what_a_video_cannot_do(client, video, path, request_, status, code):
    refusal(client.post(f"{S}/{video['id']}{path}", json=request_), status, code)


def test_an_image_has_no_tracks(client, image):
    refusal(
        client.post(f"{S}/{image['id']}/tracks", json={"prompts": [SQUARE]}), 422, "bad_request"
    )


def test_sessions_that_are_not_there(client, image):
    assert client.delete(f"{S}/{image['id']}").status_code == 204
    refusal(client.delete(f"{S}/{image['id']}"), 404, "not_found")
    refusal(client.get(f"{S}/..%2f..%2fetc%2fpasswd"), 404, "not_found")


def test_uploads_that_are_no_video(client, tmp_path):
    playlist = b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n"
    disguised = b"\0\0\0\x18ftypmp42" + playlist
    for content in (b"", bytes(1000), playlist, disguised, CAT_PNG):
        error = refusal(client.post(S, files={"video": ("a.mp4", content)}), 415, "file_unreadable")
        assert "tmp" not in str(error)
    refusal(client.post(S, json={}), 422, "bad_request")
    refusal(client.post(S, json={"image": CAT_URI, "video": CAT_URI}), 422, "bad_request")
    refusal(client.post(S, json={"video": "/etc/passwd"}), 415, "unsupported_body")
    long = clip(tmp_path / "long.mp4", 13)
    refusal(client.post(S, json={"video": uri(long, "video/mp4")}), 422, "limit_exceeded")


def test_there_is_room_for_a_few(client):
    made = [client.post(S, json={"image": CAT_URI}) for _ in range(4)]
    assert [one.status_code for one in made] == [201, 201, 201, 429]
    refusal(made[-1], 429, "server_busy")
    assert int(made[-1].headers["retry-after"]) > 60
    for one in made[:3]:
        client.delete(f"{S}/{one.json()['id']}")


def test_sessions_expire():
    with serving(toy(), session_idle_s=0.5) as url:
        made = httpx.post(f"{url}/v1/sessions", json={"image": CAT_URI}).json()
        assert 0 < made["expires_in_s"] <= 0.5
        time.sleep(0.6)
        refusal(httpx.get(f"{url}/v1/sessions/{made['id']}"), 404, "not_found")


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """Takes far longer to follow than these tests wait."""
    movie = clip(tmp_path_factory.mktemp("clip") / "long.mp4", 1500)
    with serving(toy()) as url, httpx.Client(base_url=url, timeout=60) as client:
        made = client.post(S, files={"video": ("long.mp4", movie)}).json()
        client.post(f"{S}/{made['id']}/tracks", json={"prompts": [SQUARE]})
        yield client, f"{S}/{made['id']}"


def test_one_works_with_a_video_at_a_time_and_leaving_frees_it(long_video):
    client, address = long_video
    more = {"prompts": [SQUARE]}
    with client.stream("POST", f"{address}/propagate", json={}) as answer:
        lines = answer.iter_lines()  # who lets go of it closes the connection
        next(lines)
        refusal(client.post(f"{address}/propagate", json={}), 409, "session_busy")
        refusal(client.post(f"{address}/tracks", json=more), 409, "session_busy")
        whole = httpx.post(
            f"{client.base_url}/v1/regions", json={"image": CAT_URI, "prompts": [BOX]}, timeout=60
        )
        assert whole.status_code == 200  # others are answered between two frames
    for _ in range(100):
        again = client.post(f"{address}/tracks", json=more)
        if again.status_code == 200:
            return
        time.sleep(0.05)
    raise AssertionError(again.text)


def test_deleting_ends_the_work(long_video):
    client, address = long_video
    lines = []
    with client.stream("POST", f"{address}/propagate", json={}) as answer:
        for line in answer.iter_lines():
            lines.append(line)
            if len(lines) == 1:
                assert client.delete(address).status_code == 204
    assert '"not_found"' in next(line for line in lines[::-1] if line)
