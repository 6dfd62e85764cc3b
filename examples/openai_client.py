"""OpenAI's client: regions of an image by chat, as text that streams in.

python examples/openai_client.py [ADDRESS [PHOTO]]     of a `perceive serve`; without one is started
Each region is a choice of the answer; what is ours goes into `extra_body`. Extra [serve].
"""

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import samples

SERVE = [sys.executable, "-u", "-m", "perceive_anything.cli", "serve", "--port", "0"]
REGIONS = [
    {"type": "box", "box": [5, 5, 446, 296]},
    {"type": "points", "points": [[220, 150], [20, 20]], "labels": [1, 0]},
]


@contextmanager
def own_server() -> Iterator[str]:
    """A server for as long as the example runs; gives its address."""
    server = subprocess.Popen(SERVE, stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"http://\S+", server.stdout.readline())[0]
    finally:
        server.terminate()
        server.wait()


def ask(address: str, photo: Path) -> None:
    """Label two regions, then read a description while it is written."""
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=8)
    image = "data:image/png;base64," + base64.b64encode(photo.read_bytes()).decode()
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": image}}]}]
    (model,) = [model.id for model in client.models.list()]
    chat = client.chat.completions.create
    both = chat(
        model=model, messages=messages, extra_body={"regions": REGIONS, "task": "recognize"}
    )
    for choice in both.choices:
        print(f"{model}, region {choice.index}: {choice.message.content}")
    body = {"regions": REGIONS[:1], "task": "describe", "language": "en"}
    for chunk in chat(model=model, messages=messages, stream=True, extra_body=body):
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


if __name__ == "__main__":
    address, photo = samples.given("", samples.photos() / "chelsea.png")
    if address:
        ask(address, Path(photo))
    else:
        with own_server() as address:
            ask(address, Path(photo))
