"""What answering waiting requests together gains: server_batching.py [--requests 16] [--rounds 5].

Asks the server's worker about one region of each of several encoded images, once one request after
the other and once all at the same time; pairs stand close together, as machines are shared. The
last line is one JSON object with medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from statistics import median

from skimage import data

from perceive_anything import Box, Perceiver
from perceive_anything.evaluation.provenance import provenance
from perceive_anything.results import Region
from perceive_anything.server.metrics import Metrics
from perceive_anything.server.worker import Shown, Work, Worker
from perceive_anything.sessions.image import ImageSession
from perceive_anything.sessions.regions import Writing

PICTURES = (data.chelsea, data.coffee, data.astronaut, data.rocket)


async def answered(worker: Worker, session: ImageSession, writing: Writing) -> None:
    """Ask about nearly all of an image and wait for the answer."""
    width, height = session.size_wh
    work = Work(session, (Box(2, 2, width - 2, height - 2),), writing, (Region,))
    worker.ask(work)
    found = await work.answers.get()
    if isinstance(found, BaseException):
        raise found
    assert isinstance(found[1], Shown)


async def measured(
    worker: Worker, sessions: list[ImageSession], writing: Writing, *, together: bool
) -> tuple[float, float]:
    """Seconds of wall and of CPU for a request about each image."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    if together:
        await asyncio.gather(*(answered(worker, one, writing) for one in sessions))
    else:
        for one in sessions:
            await answered(worker, one, writing)
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


async def main() -> None:
    """Measure, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", default="caption", help="separated by commas")
    args = parser.parse_args()
    pam = Perceiver.from_pretrained()
    pictures = [read() for read in PICTURES]
    sessions = [pam.image(pictures[i % len(pictures)]) for i in range(args.requests)]
    writing = Writing.checked(args.tasks.split(","), "en", None, 0.0)
    worker = Worker(Metrics())
    worker.start()
    pairs = []
    for _ in range(1 + args.rounds):  # the first warms up
        alone = await measured(worker, sessions, writing, together=False)
        pairs.append((*alone, *await measured(worker, sessions, writing, together=True)))
        print("one by one {:.2f} s, CPU {:.2f}; together {:.2f} s, CPU {:.2f}".format(*pairs[-1]))
    worker.stop()
    alone_s, alone_cpu_s, together_s, together_cpu_s = map(median, zip(*pairs[1:], strict=True))
    report = {
        "config": vars(args),
        "alone_per_s": round(args.requests / alone_s, 2),
        "together_per_s": round(args.requests / together_s, 2),
        "alone_cpu_s": round(alone_cpu_s / args.requests, 4),
        "together_cpu_s": round(together_cpu_s / args.requests, 4),
        "gain": round(median(one[0] / one[2] for one in pairs[1:]), 2),
        "cpu_gain": round(median(one[1] / one[3] for one in pairs[1:]), 2),
        **provenance(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main())
