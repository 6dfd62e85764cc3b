"""Numbers that papers print for the same benchmarks, to stand beside ours; none was reproduced.

Sources: [PAM] arXiv 2506.05302, whose tables also hold the rows of the models it compares with;
[PixelRefer] arXiv 2510.23603, the paper of PixelRefer.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Published", "published"]

PAM, PIXELREFER = "PAM, arXiv 2506.05302", "PixelRefer, arXiv 2510.23603"


@dataclass(frozen=True, slots=True)
class Published:
    """A row of a table.

    Attributes:
        model: Its name.
        values: By the name of our score.
        source: Where it is printed.
    """

    model: str
    values: dict[str, float]
    source: str


# The names of the scores of each benchmark, in the order of the numbers below.
SCORES: dict[str, tuple[str, ...]] = {
    "lvis": ("Sem. Sim.", "Sem. IoU"),
    "paco": ("Sem. Sim.", "Sem. IoU"),
    "coco-text": ("accuracy",),
    "total-text": ("accuracy",),
    "vg": ("METEOR", "CIDEr"),
    "refcocog": ("METEOR", "CIDEr"),
    "ref-l4": ("ROUGE-L", "METEOR", "CIDEr"),
    "ferret-bench": ("judge",),
    "mdvp-bench": ("judge",),
    "elysium": ("METEOR",),
    "bensmot": ("METEOR",),
    "hc-stvg": ("METEOR", "CIDEr"),
    "videorefer-d": ("average",),
    "activitynet": ("CIDEr", "METEOR", "G-STDC"),
}
_ROWS: dict[str, dict[str, tuple[float, ...]]] = {
    "VP-SPHINX-13B": {
        "lvis": (87.1, 62.9), "paco": (76.8, 51.3), "coco-text": (45.4,), "total-text": (48.8,),
    },
    "DAM-3B": {
        "ref-l4": (30.8, 17.2, 56.4), "hc-stvg": (18.2, 72.7), "videorefer-d": (2.99,),
        "activitynet": (11.3, 14.8, 0.94),
    },
    "DAM-8B": {
        "lvis": (89.0, 77.7), "paco": (84.2, 73.2), "ref-l4": (37.1, 19.4, 70.0),
        "hc-stvg": (21.0, 91.0), "videorefer-d": (3.68,),
    },
    "VideoRefer-7B": {"activitynet": (22.1, 14.7, 1.73)},
    "PAM-1.5B": {
        "lvis": (87.4, 76.5), "paco": (85.1, 73.5), "coco-text": (39.4,), "total-text": (48.6,),
        "vg": (19.2, 132.9), "refcocog": (24.7, 135.0), "ref-l4": (26.6, 14.9, 49.8),
        "ferret-bench": (72.4,), "mdvp-bench": (68.4,), "elysium": (20.7,), "bensmot": (19.1,),
        "hc-stvg": (18.8, 58.9), "videorefer-d": (2.97,), "activitynet": (27.3, 22.6, 2.15),
    },
    "PAM-3B": {
        "lvis": (88.6, 78.3), "paco": (87.4, 74.9), "coco-text": (42.2,), "total-text": (52.3,),
        "vg": (20.8, 142.3), "refcocog": (26.9, 143.1), "ref-l4": (31.3, 17.2, 59.7),
        "ferret-bench": (77.5,), "mdvp-bench": (72.2,), "elysium": (24.3,), "bensmot": (21.6,),
        "hc-stvg": (23.3, 70.3), "videorefer-d": (3.14,), "activitynet": (30.1, 27.3, 2.67),
    },
    "PixelRefer-7B": {
        "lvis": (90.5, 82.7), "paco": (91.7, 85.3), "hc-stvg": (21.1, 97.4),
        "videorefer-d": (3.70,),
    },
}  # fmt: skip


def published(benchmark: str) -> list[Published]:
    """The rows of a benchmark; none where no paper prints one."""
    return [
        Published(
            model,
            dict(zip(SCORES[benchmark], tables[benchmark], strict=True)),
            PIXELREFER if model.startswith("PixelRefer") else PAM,
        )
        for model, tables in _ROWS.items()
        if benchmark in tables
    ]
