"""Texts call their region what its label calls it.

A small language model, asked four times, names four things. The label, in which rows have a say
(`spelling`), is the most reliable; so it is written first, and makes its own words likelier in the
other texts. Guiding words as in arXiv 2109.09707. Knows token ids and logits. Shape suffixes: R
regions, N answers being written, W vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from perceive_anything.modeling.confidence import is_uncertain, label_confidence
from perceive_anything.modeling.configuration import PamConfig
from perceive_anything.tasks import CAPTION, DESCRIBE, EXPLAIN

ENDING = 3.0  # what has begun like a label may yet be another word: "it is" begins an isopod
_GUIDED = frozenset({EXPLAIN, CAPTION, DESCRIBE})


@dataclass(slots=True)
class WrittenAnswer:
    """An answer as it was written.

    Attributes:
        ids: Its tokens.
        log_probabilities: Of these and of its end.
        ended: Whether it came to an end; a label that was cut off guides nothing.
    """

    ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    ended: bool = False

    def add(self, token: int | None, log_probability: float, *, cut: bool) -> None:
        """One token more; None for the end, which may be where it was cut off."""
        self.log_probabilities.append(log_probability)
        if token is None:
            self.ended = not cut
        else:
            self.ids.append(token)

    def is_sure(self, config: PamConfig) -> bool:
        """Whether, as a label, it is whole and not said with a question mark."""
        if not (self.ids and self.ended):
            return False
        mean = sum(self.log_probabilities) / len(self.log_probabilities)
        confidence = label_confidence(mean, config.label_calibration)
        return not is_uncertain(confidence, config.label_threshold)


class LabelGuide(LogitsProcessor):
    """Makes a label's first token likelier until the text has named it, and the rest yet more.

    It waits where the label would win after the likeliest token as well: "a brown cat" keeps its
    colour. A weight with which it would win anywhere lets it wait for ever.

    Args:
        names: Of each region the spellings of its label, from `spellings`; none guides nothing.
        weight: What is added to the logit of a first token; `ENDING` times as much to one of the
            others, once those before it stand there.

    Attributes:
        regions_N: Region of each answer; one answer a region until it is set.
        peek: Logits (N, W) that would follow if answers were written so far (N, L), one token
            further than they are; without it no label waits.
    """

    def __init__(self, names: Sequence[Sequence[Spelling]], weight: float) -> None:
        self.names, self.weight = names, weight
        self.regions_N = torch.arange(len(names))
        self.peek: Callable[[Tensor], Tensor] | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (N, W) of the next token after `input_ids` (N, written so far)."""
        likeliest_N, helped_NW = scores.argmax(-1), self._helped(input_ids, scores)
        won = [
            row
            for row in (helped_NW.argmax(-1) != likeliest_N).nonzero()[:, 0].tolist()
            if not self._begun(row, input_ids[row].tolist())
        ]
        if self.peek is None or not won:
            return helped_NW
        later_ids = torch.cat([input_ids, likeliest_N[:, None]], 1)
        winners = self._helped(later_ids, self.peek(later_ids)).argmax(-1).tolist()
        for row in won:
            if any(winners[row] in name.ids for name in self._names(row)):
                helped_NW[row] = scores[row]
        return helped_NW

    def _names(self, row: int) -> Sequence[Spelling]:
        return self.names[int(self.regions_N[row])]

    def _begun(self, row: int, written: Sequence[int]) -> list[int]:
        """The tokens that a text's unfinished label may go on with, if it has one."""
        tokens = {name.following(written) for name in self._names(row)}
        return [token for token in tokens if token is not None]

    def _helped(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        for row, written in enumerate(input_ids.tolist()):
            names = self._names(row)
            if any(name.stands_in(written) for name in names):
                continue
            if begun := self._begun(row, written):
                scores[row, begun] += ENDING * self.weight
                continue
            first = {name.ids[0] for name in names if not (name.leads and written)}
            scores[row, list(first)] += self.weight
        return scores


@dataclass(frozen=True, slots=True)
class Spelling:
    """One way to write a label, or another word for it.

    Attributes:
        ids: Its tokens.
        leads: Whether it is written so at the beginning of a text alone.
    """

    ids: tuple[int, ...]
    leads: bool

    def stands_in(self, written: Sequence[int]) -> bool:
        """Whether a text has it."""
        size, last = len(self.ids), 0 if self.leads else len(written) - len(self.ids)
        return any(tuple(written[i : i + size]) == self.ids for i in range(last + 1))

    def following(self, written: Sequence[int]) -> int | None:
        """The next token of it, if a text ends in the middle of it."""
        for size in range(min(len(self.ids) - 1, len(written)), 0, -1):
            begun = tuple(written[-size:]) == self.ids[:size]
            if begun and not (self.leads and size < len(written)):
                return self.ids[size]
        return None


def spellings(names: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> tuple[Spelling, ...]:
    """How English names may stand in a text: behind a space, or first, capital or not.

    Args:
        names: A label, and the other words for it.
        tokenizer: Of the language model.
    """
    ways: dict[str, bool] = {}
    for name in names:
        ways |= {f" {name}": False, name: True, name[:1].upper() + name[1:]: True}
    return tuple(
        Spelling(tuple(tokenizer(text, add_special_tokens=False).input_ids), leads)
        for text, leads in ways.items()
    )


def is_guided(config: PamConfig, tasks: Iterable[str], language: str) -> bool:
    """Whether labels have to be written before these tasks' answers.

    Chinese labels have the language model for their only source, so its texts agree with them; and
    no space tells where a word begins.
    """
    guides = config.label_guidance > 0 and language == "en"
    return guides and not _GUIDED.isdisjoint(tasks)


def label_guide(
    labels: Iterable[WrittenAnswer], config: PamConfig, tokenizer: PreTrainedTokenizerBase
) -> LabelGuide:
    """The guide of texts, one label a region; what is in doubt guides nothing."""
    others = config.label_names or {}
    names = [
        spellings((text, *others.get(text, ())), tokenizer)
        if label.is_sure(config) and (text := tokenizer.decode(label.ids).strip())
        else ()
        for label in labels
    ]
    return LabelGuide(names, config.label_guidance)
