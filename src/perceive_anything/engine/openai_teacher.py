"""A teacher behind any endpoint that speaks OpenAI's protocol, by the official client.

Knows requests as chat messages, limits, and prices. The client itself tries again, with back-off.
"""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from perceive_anything.engine.instructions import AGAIN
from perceive_anything.engine.recipe import TeacherConfig
from perceive_anything.engine.store import PaidReply
from perceive_anything.engine.teacher import Request, TeacherError
from perceive_anything.errors import require_package

_HOPELESS = (401, 403, 404)
_GARBLED_TRIES = 4


class OpenAITeacher:
    """See the module; safe for many threads.

    Args:
        config: Endpoint, model, limits and prices.
        turn: Seconds until one's request may begin, each time it is called; by default as the
            limits say, for this teacher alone.

    Raises:
        MissingExtraError: The client is not installed.
        TeacherError: The key is not in the environment.
    """

    def __init__(self, config: TeacherConfig, turn: Callable[[], float] | None = None) -> None:
        self._openai = require_package("openai", extra="engine")
        key = os.environ.get(config.key_variable)
        if not key and config.base_url is None:
            raise TeacherError(
                f"the environment has no {config.key_variable}.\n"
                "  Set it to your key, or give the teacher a base_url that needs none.",
                final=True,
            )
        self.name = f"openai/{config.model}/{config.temperature}/{config.reply_format}"
        self._config, self._turn = config, turn or Pace(config.requests_per_minute)
        self._client = self._openai.OpenAI(
            base_url=config.base_url, api_key=key or "none", timeout=config.timeout_s,
            max_retries=config.max_retries,
            http_client=self._openai.DefaultHttpxClient(event_hooks={"request": [self._wait]}),
        )  # fmt: skip

    def ask(self, request: Request) -> PaidReply:
        """The reply, with its tokens and price.

        Raises:
            TeacherError: There is none after all attempts, or asking is useless.
        """
        for garbled in range(_GARBLED_TRIES):
            try:
                raw = self._client.chat.completions.with_raw_response.create(
                    **self._arguments(request)
                )
                return self._paid(raw.parse(), raw.retries_taken + garbled)
            except (ValueError, AttributeError, TypeError, IndexError):  # no completion at all
                time.sleep(min(8, 0.1 * 2**garbled))
            except self._openai.APIStatusError as error:
                raise _failure(error.status_code, error) from error
            except self._openai.OpenAIError as error:
                raise _failure(None, error) from error
        raise TeacherError("the endpoint replies with something that is no completion.")

    def _wait(self, _request: object) -> None:
        """Before every request, those that the client repeats by itself among them."""
        time.sleep(self._turn())

    def _arguments(self, request: Request) -> dict[str, Any]:
        config = self._config
        told: dict[str, Any] = {
            "model": config.model, "messages": _messages(request),
            "max_completion_tokens" if config.base_url is None else "max_tokens": config.max_tokens,
            "temperature": config.temperature, "seed": request.sample,
        }  # fmt: skip
        if config.reply_format == "object":
            told["response_format"] = {"type": "json_object"}
        elif config.reply_format == "schema":
            name, schema = request.answer.__name__, request.answer.model_json_schema()
            shape = {"name": name, "schema": schema, "strict": False}
            told["response_format"] = {"type": "json_schema", "json_schema": shape}
        return told

    def _paid(self, completion: Any, tried: int) -> PaidReply:  # noqa: ANN401 - the client's type
        text = completion.choices[0].message.content or ""
        usage = completion.usage
        tokens_in = usage.prompt_tokens if usage else 0
        tokens_out = usage.completion_tokens if usage else 0
        cost = (tokens_in * self._config.price_in + tokens_out * self._config.price_out) / 1e6
        return PaidReply(text, tokens_in, tokens_out, cost, tried)


class Pace:
    """Lets one request begin at a time, evenly apart.

    Args:
        per_minute: Requests a minute; None for no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._every_s, self._next = 60 / per_minute if per_minute else 0.0, 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Seconds until the caller's turn, which is then taken."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._every_s
        return turn - now


def _messages(request: Request) -> list[dict[str, Any]]:
    address = "data:image/jpeg;base64," + base64.b64encode(request.picture).decode("ascii")
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": request.system},
        {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": address}},
            {"type": "text", "text": request.text},
        ]},
    ]  # fmt: skip
    for reply, fault in request.earlier:
        messages.append({"role": "assistant", "content": reply})
        messages.append({"role": "user", "content": AGAIN[request.language].format(fault)})
    return messages


def _failure(status: int | None, error: Exception) -> TeacherError:
    told = " ".join(str(error).split())[:200]
    return TeacherError(
        f"the teacher's endpoint failed{f' with {status}' if status else ''}: {told.rstrip('.')}.\n"
        "  Check base_url, model and key; run again to go on, nothing is paid twice.",
        final=status in _HOPELESS,
        refused=status in (400, 413, 422),
    )
