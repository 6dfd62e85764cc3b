"""Texts say what can be seen: colours, place, neighbours; and nothing that is not there."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pack_fixtures import make_packs
from perceive_anything.data.colours import colour_shares, name_colours
from perceive_anything.data.compose import Neighbour, RegionContext, compose_texts, make_context
from perceive_anything.data.corpus import is_validation, iter_corpus, iter_pairs, synthetic_context
from perceive_anything.data.human_captions import told_things
from perceive_anything.data.lexicon import Lexicon, glossed
from perceive_anything.data.packs import read_packs
from perceive_anything.data.schema import ImageRecord, RegionRecord
from perceive_anything.data.tokenizer import train_tokenizer
from perceive_anything.errors import OptionError

TASKS = ["recognize", "explain", "caption", "describe"]
THINGS = {
    "person": "人", "dog": "狗", "bed": "床", "couch": "沙发", "bear": "熊", "teddy bear": "泰迪熊",
    "bus": "公交车",
}  # fmt: skip
COCO = Lexicon(
    replace(glossed(name), label_zh=name_zh, source="coco") for name, name_zh in THINGS.items()
)


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_packs(tmp_path_factory.mktemp("packs"))


@pytest.fixture(scope="module")
def lexicon(packs: Path) -> Lexicon:
    return Lexicon.load(packs)


def context_of(packs: Path, lexicon: Lexicon, image: int, region: int) -> RegionContext:
    record = list(read_packs(packs, ["room"]))[image]
    return make_context(record, record.regions[region], record.load(), lexicon)


def person_with(packs: Path, captions: tuple[str, ...]) -> tuple[ImageRecord, RegionRecord]:
    """A picture with these captions whose only region is a person."""
    record = next(read_packs(packs, ["room"]))
    person = replace(record.regions[0], label="person", label_zh="人")
    return replace(record, captions=captions, regions=(person,)), person


def all_texts(context: RegionContext, language: str, count: int = 30) -> dict[str, set[str]]:
    texts: dict[str, set[str]] = {task: set() for task in TASKS}
    for seed in range(count):
        for task, text in compose_texts(context, random.Random(seed), language).items():
            texts[task].add(text)
    return texts


def test_facts_are_measured(packs: Path, lexicon: Lexicon) -> None:
    cat = context_of(packs, lexicon, 0, 0)
    assert cat.colours == ("brown",)
    assert cat.position == "left"
    assert cat.area_share == pytest.approx(1600 / 10800)
    assert [(n.label, n.relation) for n in cat.neighbours] == [("chair", "right")]


def test_english_texts(packs: Path, lexicon: Lexicon) -> None:
    texts = all_texts(context_of(packs, lexicon, 0, 0), "en")
    assert texts["recognize"] == {"cat"}
    assert "A cat is a feline mammal" in min(texts["explain"])
    assert all("with a chair to the right" in text for text in texts["explain"])
    assert "a brown cat on the left" in texts["caption"]
    assert "a brown cat with a chair to the right" in texts["caption"]
    assert all("rown cat" in text for text in texts["describe"])
    assert 2 <= len(texts["describe"]) <= 8


DOGS = ("A man with a dog.", "A guy on his bed.", "The tall man has two dogs.", "A dog")


@pytest.mark.parametrize(
    ("captions", "things"),
    [
        (DOGS, ("dog",)),
        (DOGS[:2], ()),
        (DOGS[:1], None),
        (("A man has a teddy bear", "A man with teddy bears", "A bear"), ("teddy bear",)),
        (("A person on a couch", "A sofa with a person", "A dog"), ("couch",)),
        (("A man has dogs in bed", "A man, a dog", "A bed with a man, a dog"), ("dog", "bed")),
        (("An empty bed", "A dog on a bed", "A man on a bed"), None),
    ],
)
def test_told_is_what_two_captions_agree_on(
    packs: Path, captions: tuple[str, ...], things: tuple[str, ...] | None
) -> None:
    record, person = person_with(packs, captions)
    assert told_things(record, person, COCO) == things
    two = replace(record, regions=(person, replace(person, id=1)))
    assert told_things(two, person, COCO) is None


def test_captions_tell_what_people_told(packs: Path) -> None:
    record, person = person_with(packs, DOGS)
    context = make_context(record, person, record.load(), COCO)
    assert [(n.label, n.relation) for n in context.told] == [("dog", "with")]
    english, chinese = all_texts(context, "en"), all_texts(context, "zh")
    assert english["caption"] == {"a person with a dog", "a person on the left"}
    assert chinese["caption"] == {"带着狗的人", "图像左侧的人"}
    assert not any("dog" in text for text in english["describe"] | english["explain"])


@pytest.mark.parametrize(("name", "relation"), [("bed", "on"), ("bus", "near")])
def test_things_are_told_where_they_usually_are(packs: Path, name: str, relation: str) -> None:
    record, person = person_with(packs, (f"A man and a {name}", f"A {name} with a man"))
    told = make_context(record, person, record.load(), COCO).told
    assert [(n.label, n.relation) for n in told] == [(name, relation)]
    drawn = replace(record, regions=(person, replace(person, id=1, label=name)))
    assert make_context(drawn, person, record.load(), COCO).told == ()


def test_chinese_texts(packs: Path, lexicon: Lexicon) -> None:
    texts = all_texts(context_of(packs, lexicon, 0, 0), "zh")
    assert texts["recognize"] == {"猫"}
    assert all(text.startswith("猫是一种猫科动物。") for text in texts["explain"])
    assert "图像左侧的棕色猫" in texts["caption"]
    assert all(text.endswith("。") and "右边是椅子" in text for text in texts["describe"])


def test_a_person_wears_clothes(packs: Path, lexicon: Lexicon) -> None:
    person, jeans = (context_of(packs, lexicon, 1, index) for index in (0, 1))
    assert [(n.label, n.relation) for n in person.neighbours] == [("jeans", "wearing")]
    assert all_texts(person, "en")["caption"] == {"a person wearing jeans"}
    assert all_texts(person, "zh")["caption"] == {"穿着牛仔裤的人"}
    assert all(
        "Jeans are" in text and "on a person" in text for text in all_texts(jeans, "en")["explain"]
    )


def test_a_main_subject_has_no_place(packs: Path, lexicon: Lexicon) -> None:
    apple = context_of(packs, lexicon, 2, 0)
    assert apple.is_main
    assert apple.label_zh == "苹果"
    texts = all_texts(apple, "en")
    assert all("main subject" in text for text in texts["explain"])
    assert all("pink pink" not in text for text in texts["caption"])


def test_people_are_not_coloured(lexicon: Lexicon) -> None:
    context = RegionContext(
        "person", "人", lexicon.find("person"), (0, 0, 9, 9), (99, 99), ("black",), 0.01
    )
    assert all("black person" not in text for text in all_texts(context, "en")["describe"])
    assert any("a person in black" in text for text in all_texts(context, "en")["caption"])
    assert any("穿黑色衣服的人" in text for text in all_texts(context, "zh")["caption"])


def test_a_name_with_a_colour_gets_no_other() -> None:
    box = (0.0, 0.0, 9.0, 9.0)
    onion = RegionContext("yellow onion", "黄洋葱", None, box, (99, 99), ("brown",), 0.01)
    assert all("brown" not in text for text in all_texts(onion, "en")["caption"])
    assert all("棕色" not in text for text in all_texts(onion, "zh")["caption"])


def test_another_of_the_same_kind(lexicon: Lexicon) -> None:
    other = Neighbour("cat", "猫", "near")
    context = RegionContext(
        "cat", "猫", lexicon.find("cat"), (0, 0, 9, 9), (99, 99), (), 0.01, (other,)
    )
    assert all("next to another cat" in text for text in all_texts(context, "en")["explain"])
    assert all("旁边是别的猫" in text for text in all_texts(context, "zh")["explain"])


def test_the_same_dice_give_the_same_text(packs: Path, lexicon: Lexicon) -> None:
    cat = context_of(packs, lexicon, 0, 0)
    assert compose_texts(cat, random.Random(5), "en") == compose_texts(cat, random.Random(5), "en")


def test_a_scaled_image_measures_the_same(packs: Path, lexicon: Lexicon) -> None:
    record = next(read_packs(packs, ["room"]))
    small = record.load()[::2, ::2]
    assert make_context(record, record.regions[0], small, lexicon).colours == ("brown",)


def test_an_unknown_language_is_refused(packs: Path, lexicon: Lexicon) -> None:
    with pytest.raises(OptionError, match="en or zh"):
        compose_texts(context_of(packs, lexicon, 0, 0), random.Random(0), "fr")


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((10, 10, 10), "black"),
        ((250, 250, 250), "white"),
        ((128, 128, 128), "gray"),
        ((220, 20, 20), "red"),
        ((250, 140, 20), "orange"),
        ((250, 220, 30), "yellow"),
        ((30, 160, 40), "green"),
        ((30, 60, 200), "blue"),
        ((130, 40, 190), "purple"),
        ((250, 150, 190), "pink"),
        ((110, 70, 40), "brown"),
    ],
)
def test_basic_colours(rgb: tuple[int, int, int], name: str) -> None:
    pixels = np.tile(np.array(rgb, dtype=np.uint8), (50, 1))
    assert name_colours(colour_shares(pixels)) == (name,)


def test_two_colours_many_colours_and_none() -> None:
    red, blue = np.full((60, 3), (220, 0, 0), np.uint8), np.full((40, 3), (0, 0, 220), np.uint8)
    assert name_colours(colour_shares(np.concatenate([red, blue]))) == ("red", "blue")
    assert name_colours(colour_shares(np.zeros((0, 3), np.uint8))) == ()
    colours = [(220, 0, 0), (250, 220, 30), (30, 160, 40), (30, 60, 200)]
    mixed = np.repeat(np.array(colours, np.uint8), 20, axis=0)
    assert name_colours(colour_shares(mixed)) == ("colorful",)


def test_a_colour_of_the_background_does_not_count() -> None:
    pixels = np.full((100, 3), (30, 60, 200), np.uint8)
    shares = colour_shares(pixels)
    assert name_colours(shares, around=shares) == ()


def test_made_up_regions_compose_in_both_languages(lexicon: Lexicon) -> None:
    rng = random.Random(0)
    for _ in range(300):
        context = synthetic_context(lexicon, rng)
        for language in ("en", "zh"):
            texts = compose_texts(context, rng, language)
            assert list(texts) == TASKS
            assert all(text and "{" not in text and "  " not in text for text in texts.values())


def test_unknown_concepts_still_get_texts() -> None:
    context = RegionContext("gizmo", "", None, (0, 0, 9, 9), (99, 99), ("red",), 0.01)
    assert compose_texts(context, random.Random(0), "en")["explain"].startswith("This is a gizmo.")
    assert "gizmo" in compose_texts(context, random.Random(0), "zh")["explain"]


def test_the_corpus_holds_knowledge_captions_and_made_up_texts(lexicon: Lexicon) -> None:
    lines = list(iter_corpus(lexicon, random.Random(0), num_synthetic=10))
    assert "cat: 猫" in lines
    assert "A cat sits on a chair." in lines or is_validation("coco-1")
    assert len([line for line in lines if "图像" in line or "画面" in line]) >= 10
    assert lines == list(iter_corpus(lexicon, random.Random(0), num_synthetic=10))


def test_pairs_name_task_and_language(lexicon: Lexicon) -> None:
    pairs = list(islice(iter_pairs(lexicon, random.Random(0)), 8))
    assert [pair.task for pair in pairs] == TASKS * 2
    assert [pair.language for pair in pairs] == ["en"] * 4 + ["zh"] * 4
    assert pairs[0].text == pairs[0].label


def test_the_tokenizer_round_trips(lexicon: Lexicon, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    lines = list(iter_corpus(lexicon, random.Random(0), num_synthetic=60))
    report = train_tokenizer(lines, 512, tmp_path / "tokenizer")
    assert report["vocab_size"] <= 512
    assert report["en"] > 1.5
    assert report["zh"] > 1.5
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    for text in (
        "A brown cat,  12 naïve words\n",
        "猫是一种猫科动物。",
        "<|im_start|>x<|im_end|>😀",
    ):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_a_different_place_changes_the_text(packs: Path, lexicon: Lexicon) -> None:
    cat = replace(context_of(packs, lexicon, 0, 0), box_xyxy=(90, 70, 119, 89), neighbours=())
    assert all("bottom right" in text for text in all_texts(cat, "en")["explain"])
