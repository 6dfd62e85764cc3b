"""200 clients at once: nobody is lost, and what the server holds stays bounded.

Minutes long, so only when asked for: PERCEIVE_LOAD=1 python -m pytest tests/test_server_load.py
"""

import asyncio
import os
import threading

import httpx
import pytest
from skimage import data

from servers import Process, nano, png, uri

pytestmark = pytest.mark.skipif("PERCEIVE_LOAD" not in os.environ, reason="PERCEIVE_LOAD=1 asks")
CLIENTS, WAITING = 200, 32
PICTURES = [
    picture[::3, ::3].copy() for picture in (data.chelsea(), data.coffee(), data.astronaut())
]


def box(picture):
    height, width = picture.shape[:2]
    return [2, 2, width - 2, height - 2]


def request(picture):
    prompt = {"type": "box", "box": box(picture)}
    return {"image": uri(png(picture)), "prompts": [prompt], "tasks": ["recognize"]}


REQUESTS = [request(picture) for picture in PICTURES]


async def insist(client, url, number):
    """An answer, and how often the server said to come again."""
    refused = 0
    while True:
        answer = await client.post(f"{url}/v1/regions", json=REQUESTS[number % len(REQUESTS)])
        if answer.status_code != 429:
            return answer, refused
        refused += 1
        await asyncio.sleep(int(answer.headers["retry-after"]))


async def crowd(url):
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=300, limits=limits) as client:
        return await asyncio.gather(*(insist(client, url, number) for number in range(CLIENTS)))


def expected():
    from perceive_anything import Box

    pam = nano()
    return [
        pam.image(picture).perceive(Box(*box(picture)), tasks=["recognize"]).label
        for picture in PICTURES
    ]


def test_two_hundred_clients():
    labels = expected()
    with Process("--max-waiting", str(WAITING)) as process:
        asyncio.run(warm(process.url))
        before, sizes, done = process.resident_mib, [], threading.Event()

        def watch():
            while not done.wait(0.2):
                sizes.append(process.resident_mib)

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            answers = asyncio.run(crowd(process.url))
        finally:
            done.set()
            watching.join()
        text = httpx.get(f"{process.url}/metrics").text
        told = process.stop()
    found = [answer.json()["regions"][0]["label"] for answer, _ in answers]
    assert found == [labels[number % len(labels)] for number in range(CLIENTS)]
    refused = sum(times for _, times in answers)
    assert refused > 0  # more came than may wait
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    route = 'method="POST",route="/v1/regions"'
    assert int(numbers[f'perceive_requests_total{{{route},status="429"}}']) == refused
    batches = int(numbers["perceive_batches_total"])
    assert batches < CLIENTS / 2  # those who waited were answered together
    assert max(sizes) - before < 600, (before, max(sizes))  # features of those who wait, one batch
    assert "Traceback" not in told


async def warm(url):
    async with httpx.AsyncClient(timeout=60) as client:
        for number in range(len(PICTURES)):
            assert (await insist(client, url, number))[0].status_code == 200
