"""Rows that spell the label have a say in its tokens, and in nothing else."""

import pytest
import torch

from perceive_anything.modeling.spelling import NOT_A_LABEL, LabelSpelling, label_spelling
from test_answers import random_model, tokens_of
from test_modeling import SIZES

END, WORDS = 0, torch.eye(5)
NO_TOKENS = torch.zeros(2, 0, dtype=torch.long)


def spelling(*tokens, weight=1.0, taught=0.2):
    """Two regions whose rows spell the tokens; none is a token's own embedding, if taught."""
    rows_SD = 9 * (WORDS[list(tokens)] + taught)
    return LabelSpelling(rows_SD.expand(2, -1, -1), WORDS, weight, [END])


def scores(*likeliest):
    """Scores of two answers: one token is likely, token 4 half as much."""
    made = torch.tensor([0.01, 0.01, 0.01, 0.01, 0.3]).log().repeat(2, 1)
    for row, token in enumerate(likeliest):
        made[row, token] = torch.tensor(0.6).log()
    return made


def test_the_token_that_a_row_spells_wins_over_a_doubtful_choice():
    chosen = spelling(4)(NO_TOKENS, scores(2, 3)).argmax(-1)
    assert chosen.tolist() == [4, 4]
    assert spelling(4, weight=0.01)(NO_TOKENS, scores(2, 3)).argmax(-1).tolist() == [2, 3]


def test_each_token_has_a_row_and_behind_the_last_row_nothing_changes():
    spelled = spelling(4, 3)
    written = torch.tensor([[1], [1]])
    assert spelled(written, scores(3, 4)).argmax(-1).tolist() == [3, 3]
    behind = written.repeat(1, 2)
    assert torch.equal(spelled(behind, scores(2, 3)), scores(2, 3))


def test_the_language_model_alone_ends_a_label():
    given = scores(END, 2)
    both = spelling(4)(NO_TOKENS, given)
    assert torch.equal(both[0], given[0])
    assert both[1, END] == -torch.inf


def test_names_that_the_trunk_wrote_are_read_by_the_language_model_alone():
    assert torch.equal(spelling(4, taught=0.0)(NO_TOKENS, scores(2, 3)), scores(2, 3))


def test_other_answers_are_left_alone():
    spelled = spelling(4)
    spelled.regions_N = torch.tensor([NOT_A_LABEL, 1])
    both = spelled(NO_TOKENS, scores(2, 2))
    assert torch.equal(both[0], scores(2, 2)[0])
    assert both[1].argmax() == 4


@pytest.mark.parametrize(("language", "changes"), [("en", True), ("zh", False)])
def test_only_english_labels_change(processor, language, changes):
    model, rows = random_model(7), torch.randn(3, 21, SIZES.text_width)
    tasks = ["recognize", "caption"]
    alone = tokens_of(model, processor, rows, tasks, language, 6)
    model.config.label_spelling = 50.0
    both = tokens_of(model, processor, rows, tasks, language, 6)
    changed = {key[1] for key, ids in alone.items() if both[key] != ids}
    assert changed == ({"recognize"} if changes else set())
    assert label_spelling(model, rows, ["caption"], "en", [END]) is None
