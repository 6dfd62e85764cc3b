"""Trains the byte-level BPE tokenizer of a tiny language model, in the manner of Qwen2's.

Knows lines of text and a folder. Refuses to know records, tasks and chat templates. `tokenizers`
and `transformers` are imported when a tokenizer is trained, not before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["SPECIAL_TOKENS", "bytes_per_token", "train_tokenizer"]

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)
# The split of Qwen2: words with one leading sign or space, single digits, signs, white space.
_PRETOKENIZE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(
    lines: Iterable[str], vocab_size: int, out_folder: str | Path, max_piece: int = 16
) -> dict[str, float]:
    """Train a tokenizer and save it for `AutoTokenizer.from_pretrained`.

    Args:
        lines: Text in every language it shall serve.
        vocab_size: Number of tokens, with the 256 bytes and the special tokens.
        out_folder: Where its files go; made if missing.
        max_piece: The longest token in bytes; keeps whole Chinese sentences out of the vocabulary.

    Returns:
        Bytes a token on the training lines ("en", "zh") and the "vocab_size" that came out.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    kept = list(lines)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PRETOKENIZE), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=max_piece,
        show_progress=False,
    )
    tokenizer.train_from_iterator(kept, trainer)
    _save(tokenizer, Path(out_folder))
    return {
        "en": bytes_per_token(tokenizer, [t for t in kept if t.isascii()]),
        "zh": bytes_per_token(tokenizer, [t for t in kept if not _has_latin(t)]),
        "vocab_size": float(tokenizer.get_vocab_size()),
    }


def bytes_per_token(tokenizer: Tokenizer, lines: list[str], limit: int = 5000) -> float:
    """How many UTF-8 bytes a token carries on average.

    Args:
        tokenizer: The tokenizer.
        lines: Text; only the first `limit` lines count.
        limit: See `lines`.
    """
    lines = lines[:limit]
    tokens = sum(len(e.ids) for e in tokenizer.encode_batch(lines)) if lines else 0
    return sum(len(line.encode()) for line in lines) / tokens if tokens else 0.0


def _has_latin(text: str) -> bool:
    return any(character.isascii() and character.isalpha() for character in text)


def _save(tokenizer: Tokenizer, folder: Path) -> None:
    """Save as Qwen2's tokenizer class, which splits text as `_PRETOKENIZE` does."""
    from transformers import Qwen2Tokenizer

    model = json.loads(tokenizer.to_str())["model"]
    folder.mkdir(parents=True, exist_ok=True)
    fast = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(pair) for pair in model["merges"]],
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        unk_token=None,
        bos_token=None,
        additional_special_tokens=[TURN_START],
        model_max_length=32768,
    )
    fast.save_pretrained(folder)
