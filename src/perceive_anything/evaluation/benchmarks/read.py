"""Benchmarks that a reader of training data knows already: its records become samples.

Knows names of readers and which of their splits a benchmark is. The registry of readers is imported
when a benchmark asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from perceive_anything.data.readers.registry import read_dataset
from perceive_anything.data.schema import ClipRecord, ImageRecord
from perceive_anything.evaluation.benchmarks.records import (
    captioned,
    followed,
    image_samples,
    track_samples,
    transcribed,
)
from perceive_anything.evaluation.benchmarks.source import Source
from perceive_anything.evaluation.samples import Sample

SamplesOf = Callable[[Any], Iterator[Sample]]


def _load(source: Source, name: str, samples_of: SamplesOf) -> Iterator[Sample]:
    records = read_dataset(
        name, source.root, source.split, max_bad=source.bad.max_bad, report=source.bad.report
    )
    for record in records:
        yield from samples_of(record)


def _texts_read(record: ImageRecord) -> Iterator[Sample]:
    for sample in image_samples(record, transcribed):
        yield replace(sample, group="text")


def _phrases(record: ImageRecord) -> Iterator[Sample]:
    return image_samples(record, captioned)


def _tracks(record: ClipRecord) -> Iterator[Sample]:
    return track_samples(record)


load_coco_text = partial(_load, name="coco_text", samples_of=_texts_read)
load_total_text = partial(_load, name="total_text", samples_of=_texts_read)
load_visual_genome = partial(_load, name="visual_genome", samples_of=_phrases)
load_refcocog = partial(_load, name="refcocog", samples_of=_phrases)
load_hc_stvg = partial(_load, name="hc_stvg", samples_of=_tracks)
load_bensmot = partial(_load, name="bensmot", samples_of=_tracks)
load_elysium = partial(_load, name="elysium", samples_of=_tracks)
load_davis = partial(_load, name="davis17", samples_of=followed)
