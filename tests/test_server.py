"""POST /v1/regions and what every request meets at the door."""

import base64
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from perceive_anything import Box, Mask, Points
from perceive_anything.masks import encode_rle, mask_to_polygons
from servers import BOX, CAT, CAT_PNG, CAT_URI, nano, png, refusal, serving, sse, toy, uri

SCHEMA = json.loads((Path(__file__).parent.parent / "docs/result.schema.json").read_text("utf-8"))
RESULT = Draft202012Validator(SCHEMA)
MASK = np.zeros(CAT.shape[:2], bool)
MASK[40:200, 100:300] = True


@pytest.fixture(scope="module")
def pam():
    return nano()


@pytest.fixture(scope="module")
def url(pam):
    with serving(pam) as address:
        yield address


@pytest.fixture(scope="module")
def small():
    """Many doors closed, and little room behind them."""
    with serving(
        toy(), api_key="sesame", max_prompts=3, max_points=8, max_pixels=300_000, max_new_tokens=9,
        max_body_bytes=1 << 20, allow_origins=("https://friend.example",),
    ) as address:  # fmt: skip
        yield httpx.Client(base_url=address, headers={"Authorization": "Bearer sesame"})


def without_times(result):
    return {name: value for name, value in result.items() if name != "timing_s"}


def ask(url, **request):
    return httpx.post(f"{url}/v1/regions", json={"image": CAT_URI, **request}, timeout=60)


def test_the_answer_is_that_of_the_library(url, pam):
    got = ask(url, prompts=[BOX, {"type": "points", "points": [[220, 150]]}]).json()
    RESULT.validate(got)
    regions = pam.image(CAT).perceive([Box(5, 5, 446, 296), Points([(220, 150)])])
    assert got["regions"] == [region.to_json() for region in regions]
    assert (got["model"], got["language"], got["source"]) == ("nano", "en", "image")
    assert got["timing_s"]["encode"] > 0


@pytest.mark.parametrize(
    ("sent", "prompt"),
    [
        (BOX, Box(5, 5, 446, 296)),
        (
            {"type": "points", "points": [[220, 150], [5, 5]], "labels": [1, 0], "box": BOX["box"]},
            Points([(220, 150), (5, 5)], labels=[1, 0], box=Box(5, 5, 446, 296)),
        ),
        ({"type": "mask", "mask": encode_rle(MASK)}, Mask(MASK)),
        ({"type": "mask", "mask": {"size": [2, 2], "counts": [1, 2, 1]}}, None),
        ({"type": "png", "png": uri(png(MASK.astype(np.uint8) * 255))}, Mask(MASK)),
        ({"type": "polygon", "polygons": mask_to_polygons(MASK)}, None),
    ],
)
def test_every_kind_of_prompt(url, sent, prompt):
    answer = ask(url, prompts=[sent], tasks=["segment"])
    if sent.get("mask", {}).get("size") == [2, 2]:
        refusal(answer, 422, "mask_size")
        return
    (region,) = answer.json()["regions"]
    assert "label" not in region
    if prompt is None:  # outlines lose the last row and column
        assert region["box"] == [100, 40, 299, 199] or region["box"] == [100, 40, 300, 200]
    else:
        kind = type(prompt).__name__.lower()
        assert region["prompt"]["type"] == kind


def test_a_form_is_the_same_request(url):
    request = {"prompts": [BOX], "tasks": ["recognize"], "language": "zh"}
    files = {"image": ("../../etc/cat one.png", CAT_PNG)}
    got = httpx.post(f"{url}/v1/regions", files=files, data={"request": json.dumps(request)}).json()
    assert got["source"] == "cat one.png"
    plain = ask(url, **request).json()
    assert without_times(got) == without_times(plain) | {"source": "cat one.png"}
    assert got["regions"][0]["label"]


def test_events_add_up_to_the_result(url):
    request = {"prompts": [BOX], "tasks": ["recognize", "describe"]}
    answer = ask(url, stream=True, **request)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [(name, json.loads(data)) for name, data in sse(answer.text)]
    names = [name for name, _ in events]
    assert names[0] == "mask"
    assert names[-2:] == ["region", "result"]
    written = {"recognize": "", "describe": ""}
    for name, piece in events:
        if name == "text":
            written[piece["task"]] += piece["text"]
    result = events[-1][1]
    RESULT.validate(result)
    assert without_times(result) == without_times(ask(url, **request).json())
    (region,) = result["regions"]
    assert written == {"recognize": region["label"], "describe": region["description"]}
    assert len(names) > 6


def test_everything(url, pam):
    got = ask(url, everything=True, max_regions=2, tasks=["recognize"]).json()
    RESULT.validate(got)
    found = pam.image(CAT).everything(max_regions=2, tasks=["recognize"])
    assert got["regions"] == [region.to_json() for region in found]


def test_settings_are_honoured_or_refused(url):
    cut = ask(url, prompts=[BOX], tasks=["describe"], max_new_tokens=3).json()
    whole = ask(url, prompts=[BOX], tasks=["describe"]).json()
    short, long = (answer["regions"][0]["description"] for answer in (cut, whole))
    assert long.startswith(short)
    assert len(short) < len(long)
    refusal(ask(url, prompts=[BOX], temperature=3), 422, "bad_request")
    refusal(ask(url, prompts=[BOX], max_new_tokens=100_000), 422, "limit_exceeded")


@pytest.mark.parametrize(
    ("request_", "code", "param"),
    [
        ({}, "prompt_missing", None),
        ({"prompts": [BOX], "everything": True}, "prompt_missing", None),
        ({"prompts": [{"type": "box", "box": [0, 0, 9000, 10]}]}, "box_outside_image", None),
        ({"prompts": [{"type": "box", "box": [90, 0, 10, 10]}]}, "box_inverted", None),
        ({"prompts": [{"type": "box", "box": [1, 2, 3]}]}, "bad_request", "prompts.0.box.box"),
        ({"prompts": [{"type": "circle"}]}, "bad_request", "prompts.0"),
        ({"prompts": [BOX], "tasks": ["recognise"]}, "unknown_task", None),
        ({"prompts": [BOX], "language": "fr"}, "unknown_language", None),
        ({"prompts": [BOX], "temprature": 0.1}, "bad_request", "temprature"),
        ({"prompts": "all"}, "bad_request", "prompts"),
        ({"everything": True, "max_regions": 900}, "limit_exceeded", None),
    ],
)
def test_what_is_asked_wrongly(url, request_, code, param):
    assert refusal(ask(url, **request_), 422, code)["param"] == param


def test_the_near_name_is_told(url):
    assert "recognize" in ask(url, prompts=[BOX], tasks=["recognise"]).json()["error"]["message"]


def test_the_key_is_asked_for(small):
    refusal(httpx.get(small.base_url.join("/v1/models")), 401, "not_authorized")
    wrong = small.get("/v1/models", headers={"Authorization": "Bearer Sesame"})
    refusal(wrong, 401, "not_authorized")
    assert wrong.headers["www-authenticate"] == "Bearer"
    assert small.get("/v1/models").status_code == 200
    other = httpx.get(small.base_url.join("/v1/models"), headers={"X-API-Key": "sesame"})
    assert other.status_code == 200
    assert httpx.get(small.base_url.join("/healthz")).json() == {
        "status": "ok", "model": "random:tiny",
    }  # fmt: skip


def test_pages_of_other_origins_are_sent_away(small):
    foreign = {"Origin": "https://evil.example"}
    refusal(small.get("/v1/models", headers=foreign), 403, "origin_refused")
    assert small.get("/v1/models", headers={"Origin": "https://friend.example"}).status_code == 200
    ahead = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
    allowed = small.options("/v1/regions", headers=ahead)
    assert allowed.headers["access-control-allow-origin"] == "https://friend.example"
    own = {"Origin": str(small.base_url).rstrip("/")}
    assert small.get("/v1/models", headers=own).status_code == 200


def test_limits_of_a_request(small):
    def post(**request):
        return small.post("/v1/regions", json={"image": CAT_URI, "tasks": ["segment"], **request})

    assert post(prompts=[BOX] * 3).status_code == 200
    assert "4 prompts" in refusal(post(prompts=[BOX] * 4), 422, "limit_exceeded")["message"]
    many = {"type": "points", "points": [[i, i] for i in range(9)]}
    refusal(post(prompts=[many]), 422, "limit_exceeded")
    polygon = {"type": "polygon", "polygons": [[0, 0, 9, 0, 9, 9, 0, 9, 0, 5]] * 2}
    refusal(post(prompts=[polygon]), 422, "limit_exceeded")
    large = uri(png(np.zeros((600, 600, 3), np.uint8)))
    refusal(post(image=large, prompts=[BOX]), 413, "image_size")
    refusal(post(prompts=[BOX], max_new_tokens=10), 422, "limit_exceeded")


def test_addresses_that_are_not_there(url):
    refusal(httpx.get(f"{url}/v1/nothing"), 404, "not_found")
    refusal(httpx.get(f"{url}/../../etc/passwd"), 404, "not_found")
    wrong = httpx.put(f"{url}/v1/regions")
    refusal(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"


def test_bodies_of_other_kinds(url):
    post = httpx.post
    refusal(post(f"{url}/v1/regions", content=b"x"), 415, "unsupported_body")
    kind = {"Content-Type": "application/json"}
    refusal(post(f"{url}/v1/regions", content=b"{", headers=kind), 400, "bad_body")
    deep = b"[" * 200_000
    refusal(post(f"{url}/v1/regions", content=deep, headers=kind), 400, "bad_body")
    refusal(post(f"{url}/v1/regions", content=b"[]", headers=kind), 422, "bad_request")
    refusal(post(f"{url}/v1/regions", files={"photo": CAT_PNG}), 422, "bad_request")
    bad = {"Content-Type": "multipart/form-data; boundary=x"}
    refusal(post(f"{url}/v1/regions", content=b"nonsense", headers=bad), 400, "bad_body")


def test_numbers_for_prometheus(url):
    ask(url, prompts=[BOX], tasks=["recognize"])
    text = httpx.get(f"{url}/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    route = 'method="POST",route="/v1/regions"'
    assert float(values[f'perceive_requests_total{{{route},status="200"}}']) >= 1
    assert float(values["perceive_regions_total"]) >= 1
    assert float(values["perceive_tokens_total"]) >= 1
    assert float(values["perceive_waiting"]) == float(values["perceive_held_bytes"]) == 0


def test_base64_that_is_damaged(url):
    for image in (
        CAT_URI[:-9] + "!",
        "data:image/png;base64,",
        "/etc/passwd",
        "file:///etc/passwd",
    ):
        answer = httpx.post(f"{url}/v1/regions", json={"image": image, "prompts": [BOX]})
        assert answer.status_code == 415
        refusal(answer, 415, answer.json()["error"]["code"])
    cut = uri(base64.b64decode(CAT_URI.partition(",")[2])[:9000])
    refusal(ask(url, image=cut, prompts=[BOX]), 415, "image_truncated")
