"""The command table, the lazy group and the one place where errors become exit codes.

Knows the name, file and summary of every command; imports a command's file only to run it.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typer._click.core import Command, Context

# name -> (module in this package, summary). The module holds a Typer app with one command, `app`.
COMMANDS: dict[str, tuple[str, str]] = {
    "image": ("image", "Segment and describe regions of images."),
    "video": ("video", "Follow and describe regions of a video."),
    "stream": ("stream", "Follow and describe regions of a stream while its frames arrive."),
    "serve": ("serve", "Answer over HTTP: regions, sessions, streams, an OpenAI-style chat."),
    "demo": ("demo", "Show the web demo: point and read in a browser."),
    "models": ("models", "List the models that can be named with --model."),
    "convert": ("convert", "Convert a released PAM checkpoint to this package's layout."),
    "train": ("train", "Train a model from a recipe."),
    "data": ("data", "Make training data: region annotations in, bilingual texts out."),
    "eval": ("eval", "Measure a model on annotated images."),
    "bench": ("bench", "Time the answers of a model on this machine."),
    "doctor": ("doctor", "Check this installation and say what would make it better."),
}

INTERRUPTED = 130


class LazyGroup(TyperGroup):
    """Lists commands from the table and imports only the one that runs."""

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, Command | None, list[str]]:
        """Find the placeholder as usual, then load the file of the command."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in COMMANDS:
            module = importlib.import_module(f"{__package__}.{COMMANDS[name][0]}")
            command = typer.main.get_command(module.app)
            command.name = name
        return name, command, rest


def _show_version(value: bool) -> None:
    if value:
        from perceive_anything import __version__

        typer.echo(f"perceive-anything {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="perceive",
    cls=LazyGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def perceive(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Point at anything in an image: perceive segments it, names it, explains it, describes it."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def _placeholders() -> list[TyperCommand]:
    """What `--help` needs to list the commands without importing them."""
    return [
        TyperCommand(name, help=summary, short_help=summary)
        for name, (_, summary) in COMMANDS.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; those of the process if None.

    Returns:
        0 done, 2 the user can mend it, 1 our bug.
    """
    from perceive_anything.errors import PerceiveError

    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    warnings.showwarning = _show_warning
    try:
        group = typer.main.get_group(app)
        for placeholder in _placeholders():
            group.add_command(placeholder)
        code = group.main(arguments, prog_name="perceive", standalone_mode=False, obj=arguments)
        return code if isinstance(code, int) else 0
    except PerceiveError as error:
        show_error(error, debug=debug)
        return error.exit_code
    except TyperException as error:
        return _show_usage_error(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # the last door: anything else is a fault of ours
        _show_bug(error, debug=debug)
        return 1


def show_error(error: Exception, *, debug: bool = False) -> None:
    """Write a user's error to stderr, as `Name[code]: message`.

    Args:
        error: A `PerceiveError`.
        debug: Whether to add the traceback.
    """
    if debug:
        traceback.print_exception(error)
    code = getattr(error, "code", None)
    name = type(error).__name__
    print_error(f"{name}[{code}]: {error}" if code else f"{name}: {error}")


def print_error(text: str) -> None:
    """Write a line to stderr."""
    typer.echo(text, err=True)


def _show_bug(error: Exception, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    else:
        summary = str(error).strip().splitlines()
        detail = f": {summary[0]}" if summary else ""
        print_error(
            f"bug in perceive: {type(error).__name__}{detail} "
            "(add --debug for the traceback and please report it)"
        )


def _show_usage_error(error: TyperException) -> int:
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "perceive"
    print_error(f"error: {error.format_message()}\n  See: {where} --help")
    return 2


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print_error(f"warning: {message}")
