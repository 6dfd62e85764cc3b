"""Regions as other people's formats, one file a format, and prompts back from them.

Takes prompts, arrays, boxes and texts, or result JSON; knows no Region class and no model.
"""

from perceive_anything.export.answers import (
    EVENT_SCHEMA,
    RESULT_SCHEMA,
    RESULTS_SCHEMA,
    TEXT_FIELDS,
    event_line,
    prompt_from_json,
    prompt_to_json,
    region_to_json,
    result_to_json,
    sighting_to_json,
    video_to_json,
)
from perceive_anything.export.coco import coco_dataset, region_to_coco
from perceive_anything.export.detections import to_detections
from perceive_anything.export.fifty_one import to_fiftyone
from perceive_anything.export.formats import WRITERS, write_export
from perceive_anything.export.prompts import prompts_for, read_prompts
from perceive_anything.export.records import ExportedImage, ExportedRegion
from perceive_anything.export.ytvis import track_to_ytvis, ytvis_dataset

__all__ = [
    "EVENT_SCHEMA",
    "RESULTS_SCHEMA",
    "RESULT_SCHEMA",
    "TEXT_FIELDS",
    "WRITERS",
    "ExportedImage",
    "ExportedRegion",
    "coco_dataset",
    "event_line",
    "prompt_from_json",
    "prompt_to_json",
    "prompts_for",
    "read_prompts",
    "region_to_coco",
    "region_to_json",
    "result_to_json",
    "sighting_to_json",
    "to_detections",
    "to_fiftyone",
    "track_to_ytvis",
    "video_to_json",
    "write_export",
    "ytvis_dataset",
]
