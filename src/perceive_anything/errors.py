"""One tree of errors; each carries a code that fixes its exit code and HTTP status.

Messages say what failed, what was got, what was expected and what to do next.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

USER, BUG = 2, 1


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """What a code means outside Python.

    Attributes:
        exit_code: Of the command line: 2 the user can mend it, 1 our bug.
        http_status: Of the server.
        summary: One line for the documentation.
    """

    exit_code: int
    http_status: int
    summary: str


CODES: dict[str, CodeInfo] = {
    "bad_body": CodeInfo(USER, 400, "The body of a request cannot be read."),
    "bad_config": CodeInfo(USER, 422, "A recipe or setting is malformed."),
    "bad_label_count": CodeInfo(
        USER, 422, "Points and labels differ in number or labels are not 0/1."
    ),
    "bad_model": CodeInfo(USER, 503, "Model files are damaged or of an unknown layout."),
    "bad_number": CodeInfo(USER, 422, "A coordinate is not a finite number."),
    "bad_record": CodeInfo(USER, 422, "A training record cannot be read."),
    "bad_request": CodeInfo(USER, 422, "A field of a request is missing, unknown or malformed."),
    "body_too_large": CodeInfo(USER, 413, "The body of a request has too many bytes."),
    "body_too_slow": CodeInfo(USER, 408, "The body of a request did not arrive in time."),
    "box_inverted": CodeInfo(USER, 422, "A box has x2 <= x1 or y2 <= y1."),
    "box_outside_image": CodeInfo(USER, 422, "A box reaches outside the image."),
    "file_missing": CodeInfo(USER, 400, "A file or folder does not exist."),
    "file_unreadable": CodeInfo(USER, 415, "A file is not of the expected kind."),
    "frame_missing": CodeInfo(USER, 422, "A video has no frame of that number."),
    "frame_size": CodeInfo(USER, 422, "The frames of a video are not all of one size."),
    "image_size": CodeInfo(USER, 413, "An image is empty, too small, too large or too elongated."),
    "image_truncated": CodeInfo(USER, 415, "An image file ends too early."),
    "java_missing": CodeInfo(USER, 503, "A metric needs a Java runtime and there is none."),
    "judge_failed": CodeInfo(USER, 503, "A judge model cannot be reached or refuses."),
    "limit_exceeded": CodeInfo(USER, 422, "A request asks for more than the server allows."),
    "mask_empty": CodeInfo(USER, 422, "A mask selects no pixel."),
    "mask_size": CodeInfo(USER, 422, "A mask is not of the image's size."),
    "method_not_allowed": CodeInfo(USER, 405, "The address does not know the method."),
    "missing_extra": CodeInfo(USER, 503, "An optional package is not installed."),
    "not_authorized": CodeInfo(USER, 401, "The API key is missing or wrong."),
    "not_found": CodeInfo(USER, 404, "The server has nothing at this address."),
    "origin_refused": CodeInfo(USER, 403, "A web page of another origin asked."),
    "out_of_memory": CodeInfo(USER, 503, "The memory is too small for the model and the request."),
    "out_unwritable": CodeInfo(USER, 400, "An output file cannot be written."),
    "paths_differ": CodeInfo(BUG, 500, "Two ways of computing the same thing disagree."),
    "point_outside_image": CodeInfo(USER, 422, "A point lies outside the image."),
    "prompt_missing": CodeInfo(USER, 422, "No prompt was given."),
    "prompt_syntax": CodeInfo(USER, 422, "A prompt cannot be parsed."),
    "request_changed": CodeInfo(
        USER, 409, "A folder holds answers to another request than the one that would go on."
    ),
    "server_busy": CodeInfo(USER, 429, "The server has enough to do; try again later."),
    "server_failed": CodeInfo(BUG, 500, "The server met a fault of its own."),
    "server_stopping": CodeInfo(USER, 503, "The server is shutting down."),
    "session_busy": CodeInfo(USER, 409, "The session is already at work."),
    "stream_lost": CodeInfo(USER, 503, "A camera or address cannot be reached or was lost."),
    "teacher_failed": CodeInfo(USER, 503, "The teacher of a data build gives no reply."),
    "unknown_device": CodeInfo(USER, 422, "The device does not exist here."),
    "unknown_dtype": CodeInfo(USER, 422, "The precision is not supported."),
    "unknown_language": CodeInfo(USER, 422, "The language is not supported."),
    "unknown_option": CodeInfo(USER, 422, "A choice does not exist."),
    "unknown_model": CodeInfo(USER, 422, "There is no such model."),
    "unknown_task": CodeInfo(USER, 422, "The task does not exist."),
    "unsupported_source": CodeInfo(USER, 415, "The source is of a kind that cannot be read."),
    "unsupported_body": CodeInfo(USER, 415, "The body of a request is of an unknown kind."),
    "url_failed": CodeInfo(USER, 422, "An address gave no image."),
    "url_refused": CodeInfo(USER, 422, "The server does not fetch from this address."),
    "video_truncated": CodeInfo(USER, 415, "A video file ends too early."),
}


class PerceiveError(Exception):
    """Base of everything this package raises on purpose.

    Args:
        message: What failed, got, expected, next step; one or two lines.
        code: A key of `CODES`.
    """

    def __init__(self, message: str, *, code: str) -> None:
        assert code in CODES, f"error code {code!r} is not in CODES"
        super().__init__(message)
        self.code = code

    @property
    def exit_code(self) -> int:
        """Exit code of the command line."""
        return CODES[self.code].exit_code

    @property
    def http_status(self) -> int:
        """HTTP status of the server."""
        return CODES[self.code].http_status


class PromptError(PerceiveError, ValueError):
    """A prompt is malformed or does not fit the image."""


class MediaError(PerceiveError, ValueError):
    """An image or video cannot be read or written."""


class ModelError(PerceiveError):
    """A model cannot be found or loaded."""


class OptionError(PerceiveError, ValueError):
    """A task, language, device or other choice does not exist."""


class ConfigError(PerceiveError, ValueError):
    """A recipe or setting is malformed."""


class DataError(PerceiveError, ValueError):
    """Training data cannot be read."""


class RequestError(PerceiveError, ValueError):
    """A request to the server cannot be answered."""


class MissingExtraError(PerceiveError, ImportError):
    """An optional package is needed and not installed."""


def require_package(name: str, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        name: Import name.
        extra: The extra of this distribution that brings it.

    Raises:
        MissingExtraError: It is not installed; the message holds the command that mends it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f'this needs the package "{name}", which is not installed.\n'
            f'  Install it with: pip install "perceive-anything[{extra}]"',
            code="missing_extra",
        ) from error
