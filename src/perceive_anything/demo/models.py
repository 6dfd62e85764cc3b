"""The models that visitors may choose, each loaded once, and the one lock around all model calls.

Knows names that the operator allowed; a visitor names nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from perceive_anything.errors import OptionError

if TYPE_CHECKING:
    from perceive_anything.pipeline import Perceiver

T = TypeVar("T")


class Models:
    """Loads a model when it is first asked for.

    Args:
        names: What may be asked for; the first is the default.
        load: A name -> its model.

    Attributes:
        names: As given.
        lock: Held by whoever calls a model, for one call at a time.
    """

    def __init__(self, names: tuple[str, ...], load: Callable[[str], Perceiver]) -> None:
        self.names, self._load = names, load
        self.lock = threading.Lock()
        self._loaded: dict[str, Perceiver] = {}

    def get(self, name: str) -> Perceiver:
        """A model by its name.

        Raises:
            OptionError: The operator did not allow it.
            ModelError: It cannot be loaded.
        """
        if name not in self.names:
            raise OptionError(
                f'this demo does not offer the model "{name[:80]}".\n'
                f"  Choose one of {', '.join(self.names)}.",
                code="unknown_model",
            )
        with self.lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            return self._loaded[name]


def stepwise(steps: Iterator[T], lock: threading.Lock) -> Iterator[T]:
    """The items of an iterator, each made while the lock is held and handed on without it."""
    end = object()
    while True:
        with lock:
            item = next(steps, end)
        if item is end:
            return
        yield item  # type: ignore[misc]
