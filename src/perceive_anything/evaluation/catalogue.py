"""Every benchmark in one table: what is read, what the model does with it, how that is scored.

Knows names and descriptions only; loaders and metrics are imported when one is run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perceive_anything.errors import OptionError
from perceive_anything.tasks import unknown

if TYPE_CHECKING:
    from perceive_anything.evaluation.benchmarks.source import Source
    from perceive_anything.evaluation.samples import Sample

__all__ = ["BENCHMARKS", "Benchmark", "find_benchmark"]

_COCO_IMAGES = "the images of COCO 2017 anywhere below"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: On the command line.
        title: In reports.
        work: What the model does, a key of `work.WORK`.
        metrics: Names in `metrics.table`, the most telling first.
        loader: Module below `evaluation.benchmarks` and function that make the samples.
        home: Where it is described and can be had.
        layout: What is expected on disk, to follow the word "Expected".
        split: Which part is the benchmark, for sets that have parts.
        note: How our way of measuring may differ from the papers'.
    """

    name: str
    title: str
    work: str
    metrics: tuple[str, ...]
    loader: tuple[str, str]
    home: str
    layout: str
    split: str = "val"
    note: str = ""

    def load(self, source: Source) -> Iterator[Sample]:
        """The samples, image by image or clip by clip."""
        module, function = self.loader
        found = importlib.import_module(f"perceive_anything.evaluation.benchmarks.{module}")
        loader: Callable[[Source], Iterator[Sample]] = getattr(found, function)
        return loader(source)


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        OptionError: There is none.
    """
    if name not in BENCHMARKS:
        raise OptionError(unknown("benchmark", name, tuple(BENCHMARKS)), code="unknown_option")
    return BENCHMARKS[name]


_RECOGNITION = ("similarity", "semantic_iou")
_OWN = "a folder with images and one COCO *.json, or a file of JSON lines (docs/evaluation.md)"
_TABLE = (
    Benchmark(
        "lvis", "LVIS, open-vocabulary recognition", "recognize", _RECOGNITION,
        ("osprey", "load_lvis"),
        "https://github.com/CircleRadon/Osprey/tree/main/osprey/eval",
        f"lvis_val_1k_category.json of Osprey-ValData, and {_COCO_IMAGES}",
        note="Regions are pointed at by their boxes.",
    ),
    Benchmark(
        "paco", "PACO, open-vocabulary recognition of objects and parts", "recognize",
        _RECOGNITION, ("osprey", "load_paco"),
        "https://github.com/CircleRadon/Osprey/tree/main/osprey/eval",
        f"paco_val_1k_category.json of Osprey-ValData, and {_COCO_IMAGES}",
        note="Regions are pointed at by their boxes.",
    ),
    Benchmark(
        "coco-text", "COCO-Text, reading", "recognize", ("ocr",), ("read", "load_coco_text"),
        "https://bgshih.github.io/cocotext/",
        "cocotext.v2.json and the images of COCO 2014 in train2014/",
        note="Legible text of the val split; the label is what is read.",
    ),
    Benchmark(
        "total-text", "Total-Text, reading", "recognize", ("ocr",), ("read", "load_total_text"),
        "https://github.com/cs-chan/Total-Text-Dataset",
        "the images and ground truth (poly_gt_img*.mat or .txt) of the Test split", "test",
        note="The label is what is read.",
    ),
    Benchmark(
        "vg", "Visual Genome, region captions", "caption", ("meteor", "cider"),
        ("read", "load_visual_genome"), "https://homes.cs.washington.edu/~ranjay/visualgenome/",
        "image_data.json, region_descriptions.json and the images in VG_100K/ and VG_100K_2/",
        note="All regions that are there: papers take those of a list of 5,000 test images; "
        "leave only these in the files to compare.",
    ),
    Benchmark(
        "refcocog", "RefCOCOg, region captions", "caption", ("meteor", "cider"),
        ("read", "load_refcocog"), "https://github.com/lichengunc/refer",
        "refs(umd).p and instances.json of RefCOCOg, and the images of COCO 2014 in train2014/",
        note="Split val of UMD.",
    ),
    Benchmark(
        "ref-l4", "Ref-L4, detailed region captions", "describe", ("rouge_l", "meteor", "cider"),
        ("ref_l4", "load"), "https://github.com/JierunChen/Ref-L4",
        "ref-l4-val.parquet and ref-l4-test.parquet (needs pyarrow; or the same rows as .json or "
        ".jsonl) and images.tar.gz, unpacked",
        note="Both splits; all expressions of a box are its references.",
    ),
    Benchmark(
        "ferret-bench", "Ferret-Bench, referring description", "describe", ("ferret",),
        ("ferret", "load"), "https://github.com/apple/ml-ferret/tree/main/ferret/eval",
        f"refer_caption/ with question.jsonl, answer.jsonl and context.jsonl, and {_COCO_IMAGES}",
        note="PAM knows no free questions: the detailed description is the answer.",
    ),
    Benchmark(
        "mdvp-bench", "MDVP-Bench", "describe", ("mdvp",), ("mdvp", "load"),
        "https://github.com/AFeng-x/Draw-and-Understand/tree/main/accessory/eval",
        "a folder a domain with *_box.json or *_point.json and its images",
        note="PAM knows no free questions: the detailed description is the answer.",
    ),
    Benchmark(
        "dlc-bench", "DLC-Bench, detailed localized captions", "describe", ("quiz",),
        ("dlc", "load"), "https://github.com/NVlabs/describe-anything",
        "annotations.json, qa.json, class_names.json and images/",
    ),
    Benchmark(
        "elysium", "Elysium, video region captions", "caption a clip", ("meteor",),
        ("read", "load_elysium"), "https://github.com/Hon-Wong/Elysium",
        "ElysiumTrack-val500.json and its frames",
    ),
    Benchmark(
        "bensmot", "BenSMOT, video region captions", "caption a clip", ("meteor",),
        ("read", "load_bensmot"), "https://github.com/HengLan/SMOT",
        "the test split of BenSMOT with its frames", "test",
    ),
    Benchmark(
        "hc-stvg", "HC-STVG, video region captions", "caption a clip", ("meteor", "cider"),
        ("read", "load_hc_stvg"), "https://github.com/tzhhhh123/HC-STVG",
        "val_v2.json and the videos",
    ),
    Benchmark(
        "videorefer-d", "VideoRefer-Bench-D", "caption a clip", ("videorefer",),
        ("videorefer", "load"), "https://github.com/alibaba-damo-academy/PixelRefer",
        "VideoRefer-Bench-D.json and Panda-70M-part/*.mp4",
        note="Single-frame mode: the object's mask on one frame.",
    ),
    Benchmark(
        "activitynet", "ActivityNet Captions, streaming", "caption a stream",
        ("cider", "meteor", "g_stdc"), ("activitynet", "load"),
        "https://cs.stanford.edu/people/ranjaykrishna/densevid/",
        "val_1.json, the videos as NAME.mp4, and regions.json with a box x1, y1, x2, y2 by NAME",
        note="PAM's choice of 400 videos and its boxes are not public. An event begins where the "
        "one before ended; four frames a second are looked at.",
    ),
    Benchmark(
        "davis", "DAVIS format, video segmentation", "follow", ("jf",), ("read", "load_davis"),
        "https://davischallenge.org/davis2017/code.html",
        "JPEGImages/480p/CLIP/*.jpg, Annotations/480p/CLIP/*.png and ImageSets/2017/val.txt",
        note="Semi-supervised: objects are pointed at by their first mask; the first and the last "
        "frame do not count.",
    ),
    Benchmark(
        "segmentation", "Segmentation of your own data", "segment", ("iou",),
        ("own", "load_segmentation"), "docs/evaluation.md", _OWN,
    ),
    Benchmark(
        "recognition", "Recognition of your own data", "recognize",
        ("exact", *_RECOGNITION, "concept"), ("own", "load_recognition"), "docs/evaluation.md",
        _OWN,
    ),
    Benchmark(
        "captions", "Captions of your own data", "caption", ("meteor", "cider"),
        ("own", "load_captions"), "docs/evaluation.md", _OWN,
    ),
)  # fmt: skip
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _TABLE}
