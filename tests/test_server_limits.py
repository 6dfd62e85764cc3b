"""What a server holds: masks, decoded pictures and sessions are bounded, and so is each refusal."""

import asyncio
import threading
import time

import httpx
import numpy as np
import pytest

from perceive_anything.errors import RequestError
from perceive_anything.server import service as service_module
from perceive_anything.server.failures import BusyError
from perceive_anything.server.memory import Budget
from perceive_anything.server.service import DECODED_AT_ONCE, Gate, Service, Upload
from perceive_anything.server.settings import ServerSettings
from servers import BOX, CAT_PNG, CAT_URI, png, refusal, serving, toy, uri

SIDE = 1000
WHOLE = {"type": "mask", "mask": {"size": [SIDE, SIDE], "counts": [0, SIDE * SIDE]}}
DARK = uri(png(np.zeros((SIDE, SIDE), np.uint8)))


@pytest.mark.parametrize("path", ["/v1/regions", "/v1/chat/completions"])
def test_masks_that_unfold_are_counted(path):
    """A mask of a few signs takes a byte for each pixel of its image."""
    asks = {
        "/v1/regions": lambda masks: {"image": DARK, "prompts": masks, "tasks": ["segment"]},
        "/v1/chat/completions": lambda masks: {
            "model": "random:tiny",
            "max_tokens": 1,
            "regions": masks,
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": DARK}}]}
            ],
        },
    }
    with serving(toy(), max_held_bytes=4 * SIDE**2) as url:
        client = httpx.Client(base_url=url, timeout=60)
        refusal(client.post(path, json=asks[path]([WHOLE] * 5)), 422, "limit_exceeded")
        assert client.post(path, json=asks[path]([WHOLE] * 3)).status_code == 200
        assert "perceive_held_bytes 0\n" in client.get("/metrics").text


def test_a_budget_is_shared():
    budget = Budget(10)
    first, second = budget.share(), budget.share()
    first.take(6)
    with pytest.raises(BusyError):
        second.take(5)
    with pytest.raises(RequestError, match="At most") as caught:
        second.take(11)
    assert caught.value.code == "limit_exceeded"
    second.take(4)
    first.leave()
    first.leave()
    assert budget.held == 4


def test_those_who_are_turned_away_come_again_one_by_one():
    gate = Gate(2, Budget(1))
    tickets = [gate.enter(), gate.enter()]
    waits = []
    for _ in range(4):
        with pytest.raises(BusyError) as caught:
            gate.enter()
        waits.append(caught.value.retry_after_s)
    assert waits == sorted(waits)
    assert waits[-1] - waits[0] > 1  # three places of half a second each
    for ticket in tickets:
        ticket.leave()
    gate.enter()


def test_pictures_of_those_who_left_still_count(monkeypatch):
    """A thread that decodes cannot be stopped, so no other may begin instead."""
    running, most, go = [0], [0], threading.Event()
    plain = service_module.read_picture

    def slow(data, settings, *, with_alpha):
        running[0] += 1
        most[0] = max(most[0], running[0])
        go.wait(10)
        running[0] -= 1
        return plain(data, settings, with_alpha=with_alpha)

    monkeypatch.setattr(service_module, "read_picture", slow)
    settings = ServerSettings()
    service = Service(toy(), settings, None, None, None, None, None)

    async def scenario():
        for _ in range(4 * DECODED_AT_ONCE):
            asking = asyncio.ensure_future(service.open_image(Upload(CAT_PNG)))
            await asyncio.sleep(0.02)
            asking.cancel()
        await asyncio.sleep(0.1)
        go.set()
        service.decoders.shutdown(wait=True, cancel_futures=True)

    asyncio.run(scenario())
    assert most[0] == DECODED_AT_ONCE


def test_a_session_whose_maker_left_is_not_kept():
    with serving(toy()) as url, httpx.Client(base_url=url, timeout=60) as busy:
        many = {"image": CAT_URI, "prompts": [BOX] * 64}
        asking = threading.Thread(target=lambda: busy.post("/v1/regions", json=many))
        asking.start()
        for _ in range(5):
            with pytest.raises(httpx.TimeoutException):
                httpx.post(f"{url}/v1/sessions", json={"image": CAT_URI}, timeout=0.01)
        asking.join()
        time.sleep(0.5)
        assert "perceive_sessions 0\n" in httpx.get(f"{url}/metrics").text


@pytest.mark.parametrize("stream", [False, True])
def test_answers_that_are_not_finished_in_time_are_told(stream, caplog):
    told = []
    many = {"image": CAT_URI, "prompts": [BOX] * 64, "stream": stream, "max_new_tokens": 1000}

    def ask():
        told.append(httpx.post(f"{url}/v1/regions", json=many, timeout=60))

    with serving(toy(), shutdown_s=0.2) as url:
        asking = threading.Thread(target=ask)
        asking.start()
        while "perceive_batches_total 1\n" not in httpx.get(f"{url}/metrics").text:
            time.sleep(0.02)
    asking.join()
    (answer,) = told
    if stream:
        assert answer.text.rstrip().rpartition("event: ")[2].startswith("error")
        assert "server_stopping" in answer.text
    else:
        refusal(answer, 503, "server_stopping")
    assert "Exception in ASGI application" not in caplog.text
