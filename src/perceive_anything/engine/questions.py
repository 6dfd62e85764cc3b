"""Questions about a region and their answers: paraphrases, negative and uncertain cases.

Knows finished texts and wordings in both languages. The first wording of each task is the one that
the model was trained on.
"""

from __future__ import annotations

import random

from perceive_anything.data.grammar import normalise, noun_phrase
from perceive_anything.data.schema import RegionRecord, TrackRecord

Turns = tuple[tuple[str, str], ...]

SMALL_PX = 24  # a region with a shorter side is too small to be certain of
P_CANONICAL = 0.5
# Task -> wordings; what answers them is named in FIELDS.
ASKED: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "recognize": (
            "Classify this subject and provide its label.",
            "What is this?", "Name the marked object.", "Which kind of thing is here?",
        ),
        "explain": (
            "Classify this subject and provide the label and its definition.",
            "What is this, and what is it for?", "Explain what is marked here.",
        ),
        "caption": (
            "Provide a concise caption for this subject.",
            "Describe this in one sentence.", "Give a short caption of the region.",
        ),
        "describe": (
            "Provide a comprehensive and detailed description for this subject.",
            "Describe this region in detail.", "Tell me everything you see of this.",
        ),
        "video": (
            "Provide a caption for this subject in this video.\nPrevious caption: {previous}",
            "What does this do now?\nPrevious caption: {previous}",
        ),
    },
    "zh": {
        "recognize": ("对该目标对象进行分类并提供标签", "这是什么？", "请说出标出的物体名称。"),
        "explain": ("对该目标对象进行分类并提供标签和名词功能解释", "这是什么，有什么用？"),
        "caption": ("对该目标对象提供一个概括的描述", "用一句话描述它。"),
        "describe": ("对该目标对象提供一个全面且详细的描述", "请详细描述这个区域。"),
        "video": (
            "对该视频中的目标对象提供一个描述。\n历史描述：{previous}",
            "它现在在做什么？\n历史描述：{previous}",
        ),
    },
}  # fmt: skip
NO_PREVIOUS = {"en": "None", "zh": "无"}
FIELDS = {"explain": "explanation", "caption": "caption", "describe": "description"}
_STRANGERS = (("elephant", "大象"), ("umbrella", "雨伞"), ("bicycle", "自行车"), ("banana", "香蕉"))


def region_turns(
    region: RegionRecord, others: tuple[RegionRecord, ...], rng: random.Random
) -> Turns:
    """Questions and answers of a region of an image.

    Args:
        region: With its texts.
        others: The other regions of the image; a neighbour makes the hardest wrong guess.
        rng: Source of chance.
    """
    turns = _text_turns(region, rng)
    wrong, wrong_zh = _wrong(region, others, rng)
    turns += _doubts(region, wrong)
    if region.label_zh and "caption_zh" in region.extra and wrong_zh:
        turns += _doubts_zh(region, wrong_zh)
    return tuple(turns)


def plain_turns(region: RegionRecord | TrackRecord) -> Turns:
    """The texts of a region in the wordings of training, behind the turns of its source.

    Args:
        region: With its texts.
    """
    given: Turns = region.extra.get("turns", ())
    if isinstance(region, TrackRecord):
        return (*given, *clip_turns(region, None))
    return (*given, *_text_turns(region, None))


def clip_turns(track: TrackRecord, rng: random.Random | None) -> Turns:
    """The caption of an object of a clip, asked after the caption before it.

    Args:
        track: With its texts.
        rng: Source of chance; None for the wordings of training.
    """
    turns = []
    for language, suffix in (("en", ""), ("zh", "_zh")):
        answer = track.extra.get(f"caption{suffix}")
        if answer:
            before = track.extra.get(f"previous{suffix}") or NO_PREVIOUS[language]
            turns.append((_ask("video", language, rng).format(previous=before), str(answer)))
    return tuple(turns)


def _text_turns(region: RegionRecord, rng: random.Random | None) -> list[tuple[str, str]]:
    turns: list[tuple[str, str]] = []
    for language, suffix in (("en", ""), ("zh", "_zh")):
        name = region.label if language == "en" else region.label_zh
        texts = {"recognize": name} | {
            task: region.extra.get(field + suffix) for task, field in FIELDS.items()
        }
        if not texts["caption"]:
            continue
        turns += [(_ask(task, language, rng), str(text)) for task, text in texts.items() if text]
    return turns


def _ask(task: str, language: str, rng: random.Random | None) -> str:
    canonical, *others = ASKED[language][task]
    if rng is None:
        return canonical
    return canonical if rng.random() < P_CANONICAL else rng.choice(others)


def _wrong(
    region: RegionRecord, others: tuple[RegionRecord, ...], rng: random.Random
) -> tuple[str, str]:
    """A name that is not the region's: a neighbour's, or one of things that are nowhere near."""
    own = normalise(region.label)
    near = [(o.label, o.label_zh or "") for o in others if o.label and normalise(o.label) != own]
    known = {normalise(o.label) for o in others} | {own}
    far = [pair for pair in _STRANGERS if pair[0] not in known]
    return rng.choice(near if near and rng.random() < 0.5 else far)


def _doubts(region: RegionRecord, wrong: str) -> Turns:
    noun, false = noun_phrase(region.label), noun_phrase(wrong)
    right = "Probably, but it is small." if _small(region) else f"Yes, it is {noun}."
    turns = [(f"Is this {false}?", f"No, it is {noun}."), (f"Is this {noun}?", right)]
    if _small(region):
        turns.append((
            "What is this, and how sure are you?",
            f"Perhaps {noun}; the region is too small to be certain.",
        ))  # fmt: skip
    return tuple(turns)


def _doubts_zh(region: RegionRecord, wrong: str) -> Turns:
    name = str(region.label_zh)
    turns = [
        (f"这是{wrong}吗？", f"不是，这是{name}。"),
        (f"这是{name}吗？", "可能是，但区域很小。" if _small(region) else f"是的，这是{name}。"),
    ]
    if _small(region):
        turns.append(("这是什么？有多确定？", f"可能是{name}；区域太小，无法确定。"))
    return tuple(turns)


def _small(region: RegionRecord) -> bool:
    x1, y1, x2, y2 = region.box_xyxy
    return min(x2 - x1, y2 - y1) < SMALL_PX
