"""The worker: batches of several images say what each alone says; leaving and stopping."""

import asyncio
import weakref

import numpy as np
import pytest

from perceive_anything import Box, Points
from perceive_anything.errors import RequestError
from perceive_anything.events import TextChunk
from perceive_anything.results import Region
from perceive_anything.server.metrics import Metrics
from perceive_anything.server.worker import Shown, Work, Worker
from perceive_anything.sessions.regions import Writing
from perceive_anything.sessions.together import Question, Seen, answer_together
from servers import CAT, nano

TEXTS = Writing(("recognize", "caption"), "en")
BOX = Box(5, 5, 446, 296)


@pytest.fixture(scope="module")
def pam():
    return nano()


@pytest.fixture(scope="module")
def images(pam):
    return [pam.image(CAT), pam.image(CAT[::-1].copy()), pam.image(CAT[:, :300].copy())]


def test_images_that_decode_together_answer_as_alone(images):
    prompts = [Points([(220, 150)]), Box(10, 10, 250, 200)]
    questions = [Question(image, one, i) for image in images for i, one in enumerate(prompts)]
    answers = list(answer_together(questions, TEXTS))
    regions = {number: found for number, found in answers if isinstance(found, Region)}
    alone = [region for image in images for region in image.perceive(prompts, tasks=TEXTS.tasks)]
    assert [regions[i].to_json() for i in range(6)] == [region.to_json() for region in alone]
    seen = [number for number, found in answers if isinstance(found, Seen)]
    assert seen == list(range(6))
    for number, region in regions.items():
        said = "".join(
            found.text
            for own, found in answers
            if own == number and isinstance(found, TextChunk) and found.task == "caption"
        )
        assert said == region.caption


def test_without_texts_the_mask_is_the_answer(images):
    answers = list(answer_together([Question(images[0], BOX, 7)], Writing((), "en")))
    ((number, region),) = answers
    assert (number, region.id, region.label) == (0, 7, None)


def run(scenario):
    """Run it with a worker of its own."""

    async def within():
        metrics = Metrics()
        worker = Worker(metrics)
        worker.start()
        try:
            return await scenario(worker, metrics)
        finally:
            await asyncio.to_thread(worker.stop)

    return asyncio.run(within())


async def regions_of(work):
    found = []
    while len(found) < len(work.prompts):
        answer = await work.answers.get()
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer[1], Shown) and answer[1].final:
            found.append(answer[1].region)
    return found


def blocked(worker):
    """Keeps the worker busy until the event is set."""
    import threading

    gate = threading.Event()
    return gate, asyncio.ensure_future(worker.call(gate.wait))


def test_those_who_wait_become_one_batch(images):
    async def scenario(worker, metrics):
        gate, blocking = blocked(worker)
        await asyncio.sleep(0.05)
        works = [Work(image, (BOX,), TEXTS) for image in (images[0], images[1], images[0])]
        works.append(Work(images[0], (BOX,), Writing(("recognize",), "zh")))
        for work in works:
            worker.ask(work)
        gate.set()
        await blocking
        for work in works:
            assert len(await regions_of(work)) == 1
        return metrics.text()

    text = run(scenario)
    assert "perceive_batches_total 2\n" in text  # the Chinese one is of another kind
    assert "perceive_batch_requests_total 4\n" in text


def test_nobody_waits_any_more(images):
    async def scenario(worker, metrics):
        work = Work(images[0], (BOX,) * 2, Writing(("describe",), "en", 200))
        worker.ask(work)
        await work.answers.get()
        left = Work(images[0], (BOX,), TEXTS)
        worker.ask(left)
        worker.forget(left)
        worker.forget(work)
        other = Work(images[0], (BOX,), TEXTS)
        worker.ask(other)
        await regions_of(other)
        assert left.answers.empty()
        return metrics.text()

    assert "perceive_batches_total 2\n" in run(scenario)


def test_calls_go_between_two_tokens(images):
    async def scenario(worker, _):
        work = Work(images[0], (BOX,), Writing(("describe",), "en"))
        worker.ask(work)
        await work.answers.get()
        assert await worker.call(lambda: 7) == 7
        assert work.answers.qsize() < 4  # far from its end
        with pytest.raises(ZeroDivisionError):
            await worker.call(lambda: 1 / 0)
        (region,) = await regions_of(work)
        return region["description"]

    assert run(scenario)


def test_a_fault_ends_its_batch_only(images):
    class Faulty:
        """No session at all."""

        size_wh = (10, 10)
        model = images[0].model

    async def scenario(worker, _):
        bad = Work(Faulty(), (BOX,), TEXTS)
        worker.ask(bad)
        with pytest.raises(AttributeError):
            await regions_of(bad)
        good = Work(images[0], (BOX,), TEXTS)
        worker.ask(good)
        assert len(await regions_of(good)) == 1

    run(scenario)


def test_stopping_tells_all_who_wait(images):
    async def scenario(worker, _):
        gate, blocking = blocked(worker)
        await asyncio.sleep(0.05)
        work = Work(images[0], (BOX,), TEXTS)
        worker.ask(work)
        waiting = asyncio.ensure_future(worker.call(lambda: 1))
        await asyncio.sleep(0)
        stopping = asyncio.ensure_future(asyncio.to_thread(worker.stop))
        await asyncio.sleep(0.05)
        gate.set()
        await stopping
        await blocking
        for late in (waiting, regions_of(work), worker.call(lambda: 1)):
            with pytest.raises(RequestError) as caught:
                await late
            assert caught.value.code == "server_stopping"

    async def within():
        worker = Worker(Metrics())
        worker.start()
        await scenario(worker, None)

    asyncio.run(within())
    assert np.isfinite(images[0].timing_s["text"])


def test_who_leaves_is_forgotten_at_once(images, pam):
    """Not when its turn would come: until then its image would be held."""

    async def scenario(worker, _):
        gate, blocking = blocked(worker)
        await asyncio.sleep(0.05)
        work = Work(pam.image(CAT[:64, :64].copy()), (Box(1, 1, 60, 60),), TEXTS)
        held = weakref.ref(work.session)
        worker.ask(work)
        worker.forget(work)
        del work
        assert held() is None
        gate.set()
        await blocking

    run(scenario)


def test_answers_of_one_who_left_end_while_the_batch_goes_on(images):
    gone: set[int] = set()
    questions = [Question(images[0], BOX, 0), Question(images[1], BOX, 1)]
    writing = Writing(("describe",), "en")
    counts = [0, 0]
    for number, answer in answer_together(questions, writing, lambda number: number not in gone):
        if isinstance(answer, TextChunk):
            counts[number] += answer.num_tokens
            gone.add(0)
    assert counts[0] <= 2 < counts[1]


def test_only_what_is_read_is_told(images):
    async def scenario(worker, _):
        told = []
        for wanted in ((Seen, TextChunk, Region), (Region,), (TextChunk,)):
            work = Work(images[0], (BOX,), Writing(("recognize",), "en"), wanted)
            worker.ask(work)
            await worker.call(lambda: None)
            own = []
            while not (own and own[-1].final):
                own.append((await work.answers.get())[1])
            told.append([type(one).__name__ for one in own])
        return told

    everything, region, text = run(scenario)
    assert everything[0] == "Shown"
    assert "TextChunk" in everything
    assert region == ["Shown"]
    assert set(text) == {"TextChunk"}
