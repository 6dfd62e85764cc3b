"""Runs jobs in threads of this process, as many at a time as the teacher may be asked.

Knows jobs, a pipeline and the store. Only jobs that ended are written; all others are found again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice

from perceive_anything.engine.jobs import Dropped, Job, Outcome, Pipeline, outcome_rows
from perceive_anything.engine.store import Finished, Store
from perceive_anything.engine.teacher import TeacherError

MAX_FAILURES = 20  # one after the other: the teacher is gone


class Failures:
    """Counts failures of the teacher that follow each other.

    Attributes:
        last: The last one, or None.
    """

    def __init__(self) -> None:
        self._count = 0
        self.last: TeacherError | None = None

    def ended(self) -> None:
        """A job ended: the teacher is there."""
        self._count = 0

    def failed(self, error: TeacherError) -> None:
        """The teacher failed a job.

        Raises:
            TeacherError: There is no use in going on.
        """
        self._count, self.last = self._count + 1, error
        if error.final or self._count >= MAX_FAILURES:
            raise error


def run_local(
    jobs: Iterable[Job],
    pipeline: Pipeline,
    store: Store,
    workers: int,
    failures: Failures,
    say: Callable[[str], None],
) -> Generator[Job]:
    """Run what has not been run.

    Args:
        jobs: All jobs; taken a few at a time.
        pipeline: What is done with each.
        store: Where ends are written.
        workers: Threads.
        failures: Counts those of the teacher.
        say: Where a line about a wait goes, if the run is stopped.

    Yields:
        Each job that has an end, be it from an earlier run. Those that the teacher failed are left
        open.

    Raises:
        TeacherError: The teacher cannot be used at all, or failed 20 times one after the other.
    """
    left = iter(jobs)
    with ThreadPoolExecutor(workers) as pool:
        under_way: dict[Future[Outcome], Job] = {}
        try:
            while True:
                taken = list(islice(left, max(0, 2 * workers - len(under_way))))
                for job in taken:
                    if store.finished(job.key) is not None:
                        yield job
                    else:
                        under_way[pool.submit(pipeline, job)] = job
                if not under_way:
                    if not taken:
                        break
                    continue
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    job, error = under_way.pop(future), future.exception()
                    if error is None:
                        failures.ended()
                        store.finish(job.key, finished(future.result()))
                        yield job
                    elif isinstance(error, TeacherError):
                        failures.failed(error)
                    else:
                        raise error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            if running := sum(future.running() for future in under_way):
                say(f"waiting for {running} regions that are under way, so that nothing is lost")


def finished(outcome: Outcome) -> Finished:
    """How a job ended, as it is stored."""
    if isinstance(outcome, Dropped):
        return Finished(outcome.reason, outcome.detail)
    return Finished("", json.dumps(outcome_rows(outcome), ensure_ascii=False))
