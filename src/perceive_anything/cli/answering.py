"""What is asked of each image of a call, and the answer; one bad image stops no other.

Knows prompts and sessions; where answers go is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from perceive_anything.errors import PerceiveError
    from perceive_anything.pipeline import Perceiver
    from perceive_anything.results import ImageResult
    from perceive_anything.types import Prompt

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Request:
    """What is asked of every image: about prompts, or up to `everything` regions.

    Attributes:
        prompts: The same for every image.
        table: Prompts by name of the image, in place of these.
        everything: Most regions to find without prompts; None to take the prompts.
        tasks: As in `perceive`, like the rest.
        language: "en" or "zh".
        max_new_tokens: Longest text.
        temperature: 0 for the likeliest words.
    """

    prompts: Sequence[Prompt]
    table: Mapping[str, Sequence[Prompt]] | None
    everything: int | None
    tasks: tuple[str, ...]
    language: str
    max_new_tokens: int | None
    temperature: float

    def prompts_of(self, path: str) -> Sequence[Prompt]:
        """The prompts of one image.

        Raises:
            PromptError: The table has none for it.
        """
        if self.table is None:
            return self.prompts
        from perceive_anything.export import prompts_for

        return prompts_for(path, self.table)


class Attempts:
    """Does work for one image after the other and tells of what fails.

    Attributes:
        failed: Whether something did.
    """

    def __init__(
        self, on_failure: Callable[[str, PerceiveError], None] | None = None, *, debug: bool
    ) -> None:
        self.failed = False
        self._on_failure, self._debug = on_failure, debug

    def run(self, path: str, work: Callable[[], Answer]) -> Answer | None:
        """What the work gives, or None if the user has been told why it cannot."""
        from perceive_anything.cli.app import show_error
        from perceive_anything.errors import PerceiveError

        try:
            return work()
        except PerceiveError as error:
            self.failed = True
            show_error(error, debug=self._debug)
            if self._on_failure is not None:
                self._on_failure(path, error)
            return None


def load(path: str, request: Request) -> npt.NDArray[np.uint8]:
    """The pixels of an image that all its prompts fit."""
    from perceive_anything.media import check_shape, load_image

    array = load_image(path)
    check_shape(array, path)
    for prompt in request.prompts_of(path):
        prompt.validate_for((array.shape[1], array.shape[0]), path)
    return array


def answer(
    path: str, array: npt.NDArray[np.uint8], request: Request, perceiver: Perceiver
) -> ImageResult:
    """The answer to one image."""
    from perceive_anything.results import ImageResult

    session = perceiver.image(array)
    how: dict[str, Any] = {
        "tasks": request.tasks, "language": request.language,
        "max_new_tokens": request.max_new_tokens, "temperature": request.temperature,
    }  # fmt: skip
    if request.everything is None:
        regions = session.perceive(list(request.prompts_of(path)), **how)
    else:
        regions = session.everything(max_regions=request.everything, **how)
    return ImageResult(
        source=path,
        size_wh=(array.shape[1], array.shape[0]),
        model=perceiver.model_name,
        language=request.language,
        regions=tuple(regions),
        timing_s={"load": perceiver.load_s, **session.timing_s},
    )
