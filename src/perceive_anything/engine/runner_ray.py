"""Runs jobs on Ray Data: the same pipelines, in as many worker processes as there are CPUs.

Knows Ray. One actor holds store and pace, so workers may be anywhere and still ask for nothing
twice; each end is written as it arrives.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

from perceive_anything.engine.jobs import Job, jobs_of
from perceive_anything.engine.openai_teacher import Pace
from perceive_anything.engine.pipelines import make_pipeline
from perceive_anything.engine.recipe import DataRecipe
from perceive_anything.engine.records import AllRecords
from perceive_anything.engine.runner_local import Failures, finished
from perceive_anything.engine.store import Finished, PaidReply, Store
from perceive_anything.engine.teacher import TeacherError
from perceive_anything.errors import require_package

BATCH = 4  # records a worker takes at once
BLOCK, MAX_BLOCKS = 16, 4096  # records whose ends arrive together, in large sets
WORKERS_VARIABLE = "PERCEIVE_RAY_WORKERS"
COLUMNS = ("key", "reason", "detail", "failed", "final")


def run_ray(
    records: AllRecords, recipe: DataRecipe, store: Store, failures: Failures
) -> Generator[str]:
    """Run what has not been run, on the cluster that Ray finds or on a new one here.

    Args:
        records: All records.
        recipe: The recipe.
        store: Where ends are written.
        failures: Counts those of the teacher.

    Yields:
        The key of each job that ended now.

    Raises:
        MissingExtraError: Ray is not installed.
        TeacherError: The teacher failed too often.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require_package("ray", extra="ray")
    require_package("ray.data", extra="ray")
    require_package("ray.util.scheduling_strategies", extra="ray")
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        yield from _run(ray, records, recipe, store, failures)
    finally:
        if started:
            ray.shutdown()


def _run(
    ray: Any,  # noqa: ANN401
    records: AllRecords,
    recipe: DataRecipe,
    store: Store,
    failures: Failures,
) -> Iterator[str]:
    ray.data.DataContext.get_current().enable_progress_bars = False
    left = [{"index": index} for index in _open_records(records, recipe.salt(), store)]
    if not left:
        return
    workers = int(os.environ.get(WORKERS_VARIABLE, 0)) or max(1, _cpus(ray) - 1)
    at_once = recipe.teacher.concurrency
    if recipe.teacher.kind == "openai":
        workers = min(workers, at_once)
    threads = max(1, at_once // workers)
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    keeper = (
        ray.remote(Keeper)
        .options(num_cpus=0, max_concurrency=2 * workers * threads, scheduling_strategy=here)
        .remote(str(store.folder.resolve()), recipe.teacher.requests_per_minute)
    )
    blocks = min(len(left), max(4 * workers, min(MAX_BLOCKS, len(left) // BLOCK)))
    done = ray.data.from_items(left, override_num_blocks=blocks).map_batches(
        RayWorker, batch_size=BATCH, concurrency=workers, batch_format="numpy",
        fn_constructor_args=(recipe, ray.put(records), keeper, threads),
    )  # fmt: skip
    for row in done.iter_rows():
        if row["failed"]:
            failures.failed(TeacherError(row["detail"], final=bool(row["final"])))
            continue
        failures.ended()
        store.finish(row["key"], Finished(row["reason"], row["detail"]))
        yield row["key"]


def _open_records(records: AllRecords, salt: str, store: Store) -> Iterator[int]:
    for index, record in enumerate(records):
        if any(store.finished(job.key) is None for job in jobs_of(record, salt)):
            yield index


def _cpus(ray: Any) -> int:  # noqa: ANN401
    return int(ray.cluster_resources().get("CPU", 1))


class Keeper:
    """Store and pace of all workers; it lives beside the process that runs the build.

    Args:
        folder: Output folder of the build.
        per_minute: Requests a minute of all workers together; None for no limit.
    """

    def __init__(self, folder: str, per_minute: float | None) -> None:
        self._store, self._pace = Store(Path(folder), shared=True), Pace(per_minute)
        self._runs: dict[str, str] = {}

    def enter(self, actor: str, run: str) -> None:
        """A worker begins; what its actor was asking when it died is lost."""
        if actor in self._runs:
            self._store.lose(self._runs[actor])
        self._runs[actor] = run

    def turn(self) -> float:
        """Seconds until the next request may begin."""
        return self._pace()

    def call(self, name: str, *given: Any) -> Any:  # noqa: ANN401 - any method of the store
        """Call a method of the store."""
        return getattr(self._store, name)(*given)


class _FarStore:
    """The way to the keeper, with the methods of a store that a worker needs."""

    def __init__(self, ray: Any, keeper: Any) -> None:  # noqa: ANN401
        self._ray, self._keeper, self._run = ray, keeper, uuid4().hex
        ray.get(keeper.enter.remote(ray.get_runtime_context().get_actor_id(), self._run))

    def finished(self, key: str) -> Finished | None:
        return self._call("finished", key)

    def reply(self, key: str) -> PaidReply | None:
        return self._call("reply", key)

    def begin(self, key: str) -> bool:
        return bool(self._call("begin", key, self._run))

    def give_up(self, key: str) -> None:
        self._call("give_up", key)

    def pay(self, key: str, reply: PaidReply) -> None:
        self._call("pay", key, reply)

    def turn(self) -> float:
        return float(self._ray.get(self._keeper.turn.remote()))

    def _call(self, name: str, *given: object) -> Any:  # noqa: ANN401
        return self._ray.get(self._keeper.call.remote(name, *given))


class RayWorker:
    """Runs the jobs of a batch of records in threads.

    Args:
        recipe: The recipe.
        records: All records, or Ray's reference to them.
        keeper: The actor that holds the store.
        threads: How many.
    """

    def __init__(self, recipe: DataRecipe, records: Any, keeper: Any, threads: int) -> None:  # noqa: ANN401
        ray = require_package("ray", extra="ray")
        self._records = ray.get(records) if isinstance(records, ray.ObjectRef) else records
        self._store = _FarStore(ray, keeper)
        self._salt, self._pool = recipe.salt(), ThreadPoolExecutor(threads)
        turn = self._store.turn if recipe.teacher.requests_per_minute else None
        self._pipeline = make_pipeline(recipe, self._store, turn)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Rows of keys with how each job ended."""
        jobs = [
            job
            for index in batch["index"]
            for job in jobs_of(self._records[int(index)], self._salt)
            if self._store.finished(job.key) is None
        ]
        rows = list(self._pool.map(self._row, jobs))
        return {name: [row[name] for row in rows] for name in COLUMNS}

    def _row(self, job: Job) -> dict[str, Any]:
        row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"key": job.key}
        row |= {"failed": False, "final": False}
        try:
            end = finished(self._pipeline(job))
        except TeacherError as error:
            return row | {"failed": True, "final": error.final, "detail": str(error)}
        return row | {"reason": end.reason, "detail": end.content}
