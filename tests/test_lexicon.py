"""Names, definitions and the rule by which a predicted name counts as right."""

from __future__ import annotations

from pathlib import Path

import pytest

from pack_fixtures import make_packs
from perceive_anything.data.grammar import (
    definition_of,
    display_name,
    is_plural,
    normalise,
    noun_phrase,
    trim_words,
)
from perceive_anything.data.lexicon import Lexicon, source_key
from perceive_anything.errors import DataError


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory: pytest.TempPathFactory) -> Lexicon:
    return Lexicon.load(make_packs(tmp_path_factory.mktemp("packs")))


def test_find_knows_names_synonyms_and_plurals(lexicon: Lexicon) -> None:
    for name in ("tabby cat", "tabby", "Tabby Cats"):
        entry = lexicon.find(name)
        assert entry is not None
        assert entry.label == "tabby cat"
    assert lexicon.find("submarine") is None


def test_the_source_decides_between_homonyms(lexicon: Lexicon) -> None:
    computer, animal = lexicon.find("mouse", "COCO val2017"), lexicon.find("mouse", "Fluent Emoji")
    assert computer is not None
    assert animal is not None
    assert (computer.label_zh, animal.label_zh) == ("鼠标", "老鼠")


def test_an_emoji_of_a_known_thing_borrows_its_knowledge(lexicon: Lexicon) -> None:
    cat = lexicon.find("cat", "emoji")
    assert cat is not None
    assert cat.source == "emoji"
    assert "feline" in cat.definition


def test_chinese_names_are_short_and_fall_back(lexicon: Lexicon) -> None:
    assert lexicon.name_zh("tabby cat") == "虎斑猫"
    assert lexicon.name_zh("pink lady apple", "GroceryStoreDataset") == "苹果"
    assert lexicon.name_zh("unheard of", known="新词") == "新词"
    assert lexicon.name_zh("unheard of") == "unheard of"


@pytest.mark.parametrize(
    ("predicted", "truth"),
    [
        ("cat", "cat"),
        ("Cats", "cat"),
        ("cat", "tabby cat"),
        ("tabby cat", "cat"),
        ("tabby", "tabby cat"),
        ("domestic cat", "tabby cat"),
        ("feline", "cat"),
        ("ski", "skis"),
        ("apple", "royal gala apple"),
        ("television", "tv"),
        ("man", "person"),
    ],
)
def test_same_concept_accepts(lexicon: Lexicon, predicted: str, truth: str) -> None:
    assert lexicon.same_concept(predicted, truth)


@pytest.mark.parametrize(
    ("predicted", "truth"),
    [
        ("persian cat", "tabby cat"),
        ("pink lady apple", "royal gala apple"),
        ("mammal", "cat"),
        ("chair", "cat"),
        ("", "cat"),
    ],
)
def test_same_concept_refuses(lexicon: Lexicon, predicted: str, truth: str) -> None:
    assert not lexicon.same_concept(predicted, truth)


def test_max_steps_is_respected(lexicon: Lexicon) -> None:
    assert not lexicon.same_concept("cat", "tabby cat", max_steps=1)
    assert lexicon.same_concept("mammal", "cat", max_steps=4)


def test_categories_and_functions_come_from_the_chain(lexicon: Lexicon) -> None:
    chair = lexicon.find("chair")
    assert chair is not None
    assert chair.category_zh == "家具"
    assert chair.function_en == "is used to sit on"
    tabby = lexicon.find("tabby cat")
    assert tabby is not None
    assert tabby.category_zh == "家猫" or tabby.category_zh == "猫"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data DIR"):
        Lexicon.load(tmp_path)


@pytest.mark.parametrize(
    ("label", "phrase"),
    [
        ("cat", "a cat"),
        ("apple", "an apple"),
        ("umbrella", "an umbrella"),
        ("unicycle", "a unicycle"),
        ("hourglass", "an hourglass"),
        ("x-ray", "an x-ray"),
        ("shoes", "shoes"),
        ("scissors", "scissors"),
        ("hair", "hair"),
        ("bus", "a bus"),
        ("dress", "a dress"),
        ("nest with eggs", "a nest with eggs"),
        ("man lifting weights", "a man lifting weights"),
        ("flag: estonia", "the flag of Estonia"),
    ],
)
def test_articles(label: str, phrase: str) -> None:
    assert noun_phrase(label) == phrase


def test_adjectives_and_another() -> None:
    assert noun_phrase("cat", "orange") == "an orange cat"
    assert noun_phrase("cat", another=True) == "another cat"
    assert noun_phrase("shoes", another=True) == "other shoes"
    assert noun_phrase("flag: estonia", "blue") == "a blue flag of Estonia"


def test_names_for_people() -> None:
    assert display_name("keycap: 5") == "keycap 5"
    assert display_name("man: curly hair") == "man with curly hair"
    assert display_name("handrail / baluster") == "handrail"
    assert is_plural("men holding hands")


@pytest.mark.parametrize(
    ("gloss", "definition"),
    [
        (
            "feline mammal having thick fur: domestic cats; wildcats",
            "a feline mammal having thick fur",
        ),
        ("a seat (for one person); has a back", "a seat"),
        ("any of several geckos", "one of several geckos"),
        ("any shop", "a shop"),
        ("largest living lizard", "the largest living lizard"),
        ("narrow runners used in pairs", "one of the narrow runners used in pairs"),
        ("", ""),
    ],
)
def test_definitions(gloss: str, definition: str) -> None:
    assert definition_of(gloss) == definition


def test_long_text_is_cut_where_it_may_end() -> None:
    text = "a bird with a long bill, a short tail and very broad wings that lives near the sea"
    assert trim_words(text, 13) == "a bird with a long bill, a short tail"
    assert trim_words("short, text,", 10) == "short, text"


def test_comparison_form() -> None:
    assert normalise("The Grey-Cats") == "gray cat"
    assert normalise("men") == "man"
    assert source_key("ImageNet sample images") == "imagenet"
    assert source_key(None) is None
