"""Texts name their region as its label does: which token is helped, when, and whose label may."""

import pytest
import torch

from perceive_anything.modeling.guidance import (
    LabelGuide,
    Spelling,
    WrittenAnswer,
    is_guided,
    label_guide,
    spellings,
)
from perceive_anything.tasks import TEXT_TASKS
from test_answers import random_model, tokens_of
from test_modeling import SIZES

BEHIND, FIRST = Spelling((3, 4), leads=False), Spelling((5, 4), leads=True)


def after(*written, names=(BEHIND, FIRST), weight=2.0):
    """Scores of the next of ten tokens, all alike before."""
    ids = torch.tensor([written], dtype=torch.long).reshape(1, -1)
    return LabelGuide([names], weight)(ids, torch.zeros(1, 10))[0].tolist()


def test_a_label_is_helped_until_it_is_named():
    assert after() == [0, 0, 0, 2, 0, 2, 0, 0, 0, 0]
    assert after(7, 8) == [0, 0, 0, 2, 0, 0, 0, 0, 0, 0], "no capital inside a text"
    assert after(7, 3, 4) == after(5, 4, 7) == after(names=()) == [0] * 10


@pytest.mark.parametrize("written", [(3,), (7, 3), (5,)])
def test_a_label_that_is_begun_is_helped_to_its_end(written):
    assert after(*written) == [0, 0, 0, 0, 6, 0, 0, 0, 0, 0]


def test_a_label_waits_where_it_would_win_later_as_well():
    """Token 6 is likelier; after it the label still wins, or does not."""
    guide, ids = LabelGuide([(BEHIND, FIRST)], 2.0), torch.tensor([[7]])
    now = torch.eye(10)[[6]]
    assert guide(ids, now).argmax() == 3
    looked_at = []
    guide.peek = lambda written: looked_at.append(written.tolist()) or torch.eye(10)[[8]]
    assert torch.equal(guide(ids, now), now)
    assert looked_at == [[[7, 6]]]
    guide.peek = lambda written: 9 * torch.eye(10)[[8]]
    assert guide(ids, now).argmax() == 3
    guide.peek = pytest.fail  # a label that is begun does not wait
    assert guide(torch.tensor([[3]]), now).argmax() == 4


def test_what_begins_a_text_is_not_looked_for_inside():
    assert after(7, 5) == after(7, 5, 4) == after(7)


def test_every_answer_has_the_label_of_its_region():
    guide = LabelGuide([(), (BEHIND,)], 2.0)
    guide.regions_N = torch.tensor([1, 0, 1])
    scores = guide(torch.tensor([[7], [3], [3]]), torch.zeros(3, 10))
    assert scores[0, 3] == 2
    assert scores[1].count_nonzero() == 0
    assert scores[2].argmax() == 4


def test_names_that_begin_alike_are_helped_once():
    names = (BEHIND, Spelling((3, 6), leads=False))
    assert after(names=names) == [0, 0, 0, 2, 0, 0, 0, 0, 0, 0]
    assert after(7, 3, names=names) == [0, 0, 0, 0, 6, 0, 6, 0, 0, 0]
    assert after(7, 3, 6, names=names) == [0] * 10


def test_other_words_for_a_label_name_it(processor):
    config, tokenizer = random_model(0).config, processor.tokenizer
    config.label_names, config.label_threshold = {"person": ["man"]}, None
    label = WrittenAnswer(tokenizer("person").input_ids, [0.0], ended=True)
    names = label_guide([label], config, tokenizer).names[0]
    texts = {tokenizer.decode(one.ids) for one in names}
    assert texts == {" person", "person", "Person", " man", "man", "Man"}


def test_only_a_whole_label_without_a_question_mark_guides():
    config = random_model(0).config
    config.label_calibration, config.label_threshold = None, 0.5

    def label(log_probability, *, cut):
        made = WrittenAnswer()
        made.add(3, log_probability, cut=False)
        made.add(None, log_probability, cut=cut)
        return made.is_sure(config)

    assert label(-0.1, cut=False)
    assert not label(-0.1, cut=True)
    assert not label(-0.9, cut=False)
    assert not WrittenAnswer().is_sure(config)


def test_words_have_spaces_and_capitals(processor):
    tokenizer = processor.tokenizer
    english = {tokenizer.decode(one.ids): one.leads for one in spellings(["cat"], tokenizer)}
    assert english == {" cat": False, "cat": True, "Cat": True}


def test_a_text_is_the_same_whether_its_label_is_asked_for_or_not(processor):
    model, rows = random_model(8), torch.randn(3, 21, SIZES.text_width)
    free = tokens_of(model, processor, rows, ["recognize"], "en", 12)
    model.language_model.generation_config.eos_token_id = free[1, "recognize"][4]
    alone = tokens_of(model, processor, rows, ["caption"], "en", 12)
    model.config.label_guidance = 200.0
    guided = tokens_of(model, processor, rows, ["caption"], "en", 12)
    assert guided != alone
    every = tokens_of(model, processor, rows, TEXT_TASKS, "en", 12)
    assert guided == {key: ids for key, ids in every.items() if key[1] == "caption"}


@pytest.mark.parametrize(
    ("weight", "tasks", "language", "guided"),
    [
        (2.0, ["recognize", "caption"], "en", True),
        (2.0, ["describe"], "en", True),
        (2.0, ["recognize"], "en", False),
        (2.0, ["video"], "en", False),
        (2.0, ["caption"], "zh", False),
        (0.0, ["caption"], "en", False),
    ],
)
def test_labels_guide_other_english_texts(weight, tasks, language, guided):
    config = random_model(0).config
    config.label_guidance = weight
    assert is_guided(config, tasks, language) is guided
