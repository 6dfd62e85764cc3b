"""--box, --point, --points and --mask as prompts, in the order of the command line.

Knows the syntax of these options; whether a prompt fits an image is the prompt's own knowledge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typer._click.core import Context

    from perceive_anything.errors import PromptError
    from perceive_anything.types import Box, Points, Prompt

ORDER_KEY = "perceive_anything.option_order"
EXAMPLE = "perceive image photo.jpg --box 10,20,200,220"
SYNTAX = {
    "box": "--box X1,Y1,X2,Y2, for example --box 10,20,200,220",
    "point": "--point X,Y for a point on the thing or X,Y,0 for one beside it, as --point 40,60",
    "points": '--points "X,Y;X,Y,0" (one region; a box may lead: "10,10,90,90;40,50")',
}


class OrderedCommand(TyperCommand):
    """A command that also remembers in which order its options were given."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse twice: once for the order alone, then as usual."""
        order = self.make_parser(ctx).parse_args(args=list(args))[2]
        ctx.meta[ORDER_KEY] = [param.name for param in order]
        return super().parse_args(ctx, args)


def read_prompts(
    order: Sequence[str], values: Mapping[str, Sequence[str]], *, needed: bool = True
) -> list[Prompt]:
    """Prompts in the order in which their options stand on the command line.

    Args:
        order: Names of all options as given, repeated ones repeatedly.
        values: The texts of each kind: "box", "point", "points", "mask".
        needed: Whether there must be one.

    Returns:
        One prompt an option.

    Raises:
        PromptError: A text cannot be read, or there is none.
        MediaError: A mask file cannot be read.
    """
    readers: dict[str, Callable[[str], Prompt]] = {
        "box": read_box,
        "point": read_point,
        "points": read_points,
        "mask": _read_mask,
    }
    waiting = {kind: iter(values.get(kind, ())) for kind in readers}
    prompts = [readers[kind](next(waiting[kind])) for kind in order if kind in readers]
    if needed and not prompts:
        from perceive_anything.errors import PromptError

        raise PromptError(
            "no region was pointed at.\n"
            f"  Give --box, --point, --points or --mask, for example: {EXAMPLE}",
            code="prompt_missing",
        )
    return prompts


def refuse_prompts(prompts: Sequence[Prompt]) -> None:
    """See that nothing was pointed at where regions are found by themselves.

    Raises:
        OptionError: Something was.
    """
    from perceive_anything.errors import OptionError

    if prompts:
        raise OptionError(
            "--everything finds regions by itself, and regions were pointed at as well.\n"
            "  Leave one of the two out.",
            code="unknown_option",
        )


def read_box(text: str) -> Box:
    """A `Box` from "X1,Y1,X2,Y2"."""
    from perceive_anything.types import Box

    numbers = _numbers(text, "box")
    if len(numbers) != 4:
        raise _syntax_error("box", text, f"has {len(numbers)} numbers instead of 4")
    return Box(*numbers)


def read_point(text: str) -> Points:
    """A `Points` of one point from "X,Y" or "X,Y,0"."""
    from perceive_anything.types import Points

    x, y, label = _point(text, "point", text)
    return Points(((x, y),), labels=(label,))


def read_points(text: str) -> Points:
    """A `Points` from "X,Y;X,Y,0"; an item of four numbers is the box that belongs with them."""
    from perceive_anything.types import Box, Points

    xy: list[tuple[float, float]] = []
    labels: list[int] = []
    boxes: list[Box] = []
    for item in (part for part in text.split(";") if part.strip()):
        if item.count(",") == 3:
            boxes.append(Box(*_numbers(item, "points")))
            continue
        x, y, label = _point(item, "points", text)
        xy.append((x, y))
        labels.append(label)
    if not xy:
        raise _syntax_error("points", text, "has no point")
    if len(boxes) > 1:
        raise _syntax_error("points", text, f"has {len(boxes)} boxes instead of one at most")
    return Points(tuple(xy), labels=tuple(labels), box=boxes[0] if boxes else None)


def _read_mask(path: str) -> Prompt:
    from perceive_anything.errors import PromptError
    from perceive_anything.media import load_mask
    from perceive_anything.types import Mask

    array = load_mask(path)
    try:
        return Mask(array)
    except PromptError as error:
        raise PromptError(f'--mask "{path}": {error}', code=error.code) from error


def _point(item: str, kind: str, text: str) -> tuple[float, float, int]:
    numbers = _numbers(item, kind)
    if len(numbers) not in (2, 3):
        raise _syntax_error(kind, text, f"has an item of {len(numbers)} numbers")
    label = numbers[2] if len(numbers) == 3 else 1
    if label not in (0, 1):
        raise _syntax_error(kind, text, f"has the label {label:g}; 1 is on the thing, 0 beside it")
    return numbers[0], numbers[1], int(label)


def _numbers(text: str, kind: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise _syntax_error(kind, text, "is not made of numbers and commas") from None


def _syntax_error(kind: str, text: str, why: str) -> PromptError:
    from perceive_anything.errors import PromptError

    return PromptError(f'--{kind} "{text}" {why}.\n  Write {SYNTAX[kind]}', code="prompt_syntax")
