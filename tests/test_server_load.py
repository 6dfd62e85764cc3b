"""200 clients at once, crowd after crowd: nobody is lost, and what the server holds is bounded."""

import asyncio

import httpx
import pytest
from skimage import data

from perceive_anything import Box
from servers import SLACK_MIB, Process, Watch, nano, png, uri

CLIENTS, WAITING = 200, 32
CROWD_MIB = 300  # features (3.4 MiB each) of those who wait, and one batch
PICTURES = [
    picture[::4, ::4].copy() for picture in (data.chelsea(), data.coffee(), data.astronaut())
]
URIS = [uri(png(picture)) for picture in PICTURES]
REGIONS = "/v1/regions"


def box(picture):
    height, width = picture.shape[:2]
    return [2, 2, width - 2, height - 2]


@pytest.fixture(scope="module")
def expected():
    """Box and label of each picture, from the library."""
    pam = nano()
    found = [pam.image(one).perceive(Box(*box(one)), tasks=["recognize"]) for one in PICTURES]
    return [(list(region.box_xyxy), region.label) for region in found]


@pytest.fixture(scope="module")
def process():
    with Process("--max-waiting", str(WAITING)) as running:
        yield running
        assert "Traceback" not in running.stop()


class Crowd:
    """Clients that all come at once and insist; every fourth brings a picture of its own."""

    def __init__(self, url, kept):
        self.url, self.kept, self.refused = url, kept, 0

    def request(self, number):
        which = number % len(PICTURES)
        prompt = {"type": "box", "box": box(PICTURES[which])}
        ask = {"prompts": [prompt], "tasks": ["segment" if number % 2 else "recognize"]}
        if number // 2 % 4:
            return f"/v1/sessions/{self.kept[which]}/regions", ask
        return REGIONS, ask | {"image": URIS[which]}

    async def insist(self, client, number):
        path, ask = self.request(number)
        while (answer := await client.post(path, json=ask)).status_code == 429:
            self.refused += 1
            await asyncio.sleep(int(answer.headers["retry-after"]))
        (region,) = answer.raise_for_status().json()["regions"]
        return region

    async def come(self):
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self.url, timeout=300, limits=limits) as client:
            return await asyncio.gather(*(self.insist(client, i) for i in range(CLIENTS)))


def numbers(url):
    text = httpx.get(f"{url}/metrics").text
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    }


def keep(url):
    made = [httpx.post(f"{url}/v1/sessions", json={"image": one}, timeout=60) for one in URIS]
    return [one.raise_for_status().json()["id"] for one in made]


def test_two_hundred_clients_twice(process, expected):
    crowd = Crowd(process.url, keep(process.url))
    asyncio.run(warm(crowd))
    level, before = process.settled_mib(), numbers(process.url)
    for _ in range(2):
        with Watch(process) as watch:
            found = asyncio.run(crowd.come())
        for number, region in enumerate(found):
            box_xyxy, label = expected[number % len(PICTURES)]
            wanted = (box_xyxy, None if number % 2 else label)
            assert (region["box"], region.get("label")) == wanted
        assert watch.peak_mib - level < CROWD_MIB
        assert process.settled_mib(level + SLACK_MIB) < level + SLACK_MIB
    now = numbers(process.url)
    more = {name: now[name] - before.get(name, 0) for name in now}
    assert crowd.refused > 0  # more came than may wait
    assert answered(more, 429) == crowd.refused
    assert answered(more, 200) == more["perceive_batch_requests_total"] == 2 * CLIENTS
    assert more["perceive_batches_total"] < CLIENTS  # those who waited were answered together
    assert now["perceive_waiting"] == now["perceive_held_bytes"] == 0


def answered(counts, status):
    """Questions about regions that got this status."""
    return sum(
        value
        for name, value in counts.items()
        if name.startswith("perceive_requests_total") and f'/regions",status="{status}"' in name
    )


async def warm(crowd):
    async with httpx.AsyncClient(base_url=crowd.url, timeout=60) as client:
        for number in range(16):
            await crowd.insist(client, number)
