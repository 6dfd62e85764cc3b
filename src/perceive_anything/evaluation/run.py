"""Running a benchmark: samples in, predictions and a report out; and scoring them once more.

Knows the order of things and the files of a run. Refuses to know formats, metrics and models.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from perceive_anything.data.bad_rows import BadRows, reason_of
from perceive_anything.errors import DataError, OptionError, PerceiveError
from perceive_anything.evaluation.benchmarks.source import Source
from perceive_anything.evaluation.catalogue import Benchmark, find_benchmark
from perceive_anything.evaluation.memory import peak_mib, reset_peak
from perceive_anything.evaluation.metrics.scores import Helpers, Score
from perceive_anything.evaluation.metrics.table import JUDGED, METRICS
from perceive_anything.evaluation.predictions import Head, PredictionWriter, read_predictions
from perceive_anything.evaluation.samples import Answered, Sample
from perceive_anything.evaluation.work import WORK
from perceive_anything.export.files import write_json_file
from perceive_anything.tasks import unknown

if TYPE_CHECKING:
    from perceive_anything.pipeline import Perceiver

__all__ = ["MAX_BAD", "PREDICTIONS", "Evaluation", "Facts", "answer_all", "choose_metrics", "score"]

PREDICTIONS, FACTS = "predictions.jsonl", "run.json"
MAX_BAD = 200  # rows of a benchmark that may be unusable; each is told and counted

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a run besides its answers; written when it is complete.

    Attributes:
        left_out: A line for each row or sample that could not be used.
        limit: How many images or clips there were to be; None for all.
        peak_mib: Most memory while answering, 0 where the run only went on.
    """

    left_out: tuple[str, ...] = ()
    limit: int | None = None
    peak_mib: float = 0.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A run and its scores, what a report is made of.

    Attributes:
        benchmark: What was measured.
        head: What the run was.
        answered: All samples with their answers.
        scores: In the order of the metrics.
        facts: What else is known; None if the run is not complete.
        judge: Name of the judge, "" where none was asked.
    """

    benchmark: Benchmark
    head: Head
    answered: Sequence[Answered]
    scores: Sequence[Score]
    facts: Facts | None
    judge: str = ""

    @property
    def seconds(self) -> float:
        """Median of the seconds of a sample."""
        return statistics.median(line.seconds for line in self.answered)


def answer_all(
    head: Head,
    folder: Path,
    get_model: Callable[[], Perceiver],
    *,
    limit: int | None = None,
    resume: bool = False,
    report: Report = lambda _: None,
) -> Path:
    """Ask about every sample of a benchmark and keep the answers.

    Args:
        head: What is run.
        folder: Where the files of the run go.
        get_model: Loads the model; called when something is left to be asked.
        limit: Only the first images or clips.
        resume: Go on with the predictions that are there.
        report: Where lines for people go.

    Returns:
        The file of predictions.

    Raises:
        DataError: The data is missing, not as expected, or too much of it is unusable.
        OptionError: The folder holds another run.
    """
    benchmark, notes = find_benchmark(head.benchmark), _Notes(report)
    root = Path(head.data)
    source = Source(
        benchmark.name, root, benchmark.home, benchmark.layout, benchmark.split,
        BadRows(MAX_BAD, notes, f"Expected {benchmark.layout}."),
    )  # fmt: skip
    if not root.exists():
        raise source.missing("such file or folder")
    count, known = 0, set[str]()
    path = folder / PREDICTIONS
    with PredictionWriter(path, head, resume=resume) as writer:
        reset_peak()
        for group in _groups(benchmark.load(source), limit):
            count += 1
            fresh = _once(group, known, source.bad)
            waiting = [sample for sample in fresh if sample.key not in writer.done]
            if waiting:
                _answer(benchmark, get_model(), waiting, head.language, writer, source.bad)
            if count % 20 == 0:
                report(f"{count} images or clips, {len(writer.done)} answers")
        used = peak_mib(get_model().device) if count and writer.added else 0.0
    if not writer.done:
        raise DataError(
            f'{benchmark.name}: nothing of "{root}" can be asked about.\n'
            f"  Expected {benchmark.layout}. It is described at {benchmark.home}.",
            code="bad_record",
        )
    write_json_file(asdict(Facts(tuple(notes.left_out), limit, round(used, 1))), folder / FACTS)
    return path


def score(path: Path, metrics: Sequence[str] | None, helpers: Helpers) -> Evaluation:
    """Score a file of predictions, without any model.

    Args:
        path: The file.
        metrics: Names in `METRICS`; those of the benchmark by default.
        helpers: Judge and lexicon.

    Raises:
        DataError: It holds no predictions.
        OptionError: There is no such metric.
        ModelError: A metric needs what is not there.
    """
    head, answered = read_predictions(path)
    if not answered:
        raise DataError(
            f'"{path}" holds no answer.\n  Run `perceive eval {head.benchmark} --resume`.',
            code="bad_record",
        )
    benchmark = find_benchmark(head.benchmark)
    names = choose_metrics(benchmark, metrics, helpers)
    scores = [found for name in names for found in METRICS[name](answered, helpers)]
    judge = helpers.judge.name if JUDGED & set(names) else ""
    return Evaluation(benchmark, head, answered, scores, _facts(path.with_name(FACTS)), judge)


def choose_metrics(
    benchmark: Benchmark, metrics: Sequence[str] | None, helpers: Helpers
) -> list[str]:
    """The metrics that were asked for, or those of the benchmark that can be had.

    Raises:
        OptionError: There is no such metric.
    """
    if metrics is None:
        return [n for n in benchmark.metrics if n != "concept" or helpers.lexicon is not None]
    for name in metrics:
        if name not in METRICS:
            raise OptionError(unknown("metric", name, tuple(METRICS)), code="unknown_option")
    return list(dict.fromkeys(metrics))


def _answer(
    benchmark: Benchmark,
    pam: Perceiver,
    samples: Sequence[Sample],
    language: str,
    writer: PredictionWriter,
    bad: BadRows,
) -> None:
    """The samples of one image or clip; if they cannot be asked about, they are left out."""
    start = time.perf_counter()
    try:
        answers = WORK[benchmark.work](pam, samples, language)
    except (PerceiveError, OSError) as error:
        for sample in samples:
            bad.leave_out(f"sample {sample.key}", reason_of(error))
        return
    seconds = (time.perf_counter() - start) / len(samples)
    for sample, answer in zip(samples, answers, strict=True):
        writer.add(Answered(sample, answer, seconds))


def _once(samples: Iterable[Sample], known: set[str], bad: BadRows) -> Iterator[Sample]:
    """Samples whose names are new; answers are found by name."""
    for sample in samples:
        if sample.key in known:
            bad.leave_out(f"sample {sample.key}", "another one has its name")
            continue
        known.add(sample.key)
        yield sample


def _groups(samples: Iterable[Sample], limit: int | None) -> Iterator[list[Sample]]:
    """Samples of one image or clip each."""
    for number, (_, group) in enumerate(groupby(samples, key=lambda sample: sample.media)):
        if number == limit:
            return
        yield list(group)


def _facts(path: Path) -> Facts | None:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        return Facts(tuple(row["left_out"]), row["limit"], row["peak_mib"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(slots=True)
class _Notes:
    """Passes lines on and keeps those about rows that are left out."""

    report: Report
    left_out: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        self.report(line)
        if " is left out: " in line:
            self.left_out.append(line)
