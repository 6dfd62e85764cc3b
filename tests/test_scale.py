"""Beyond one machine, in small: workers that die, replicas, the language model elsewhere."""

import base64
import importlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import torch
from skimage import data
from transformers import AutoModelForCausalLM, AutoTokenizer

from perceive_anything import Box, Perceiver
from perceive_anything.media import save_image

EXAMPLES = Path(__file__).parent.parent / "examples"
NUM_IMAGES = 7
BOX = Box(5, 5, 446, 296)


def batch(folder, out):
    command = [sys.executable, str(EXAMPLES / "batch_ray.py"), str(folder), str(out)]
    return subprocess.Popen(
        command, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_worker_dies_and_every_image_is_answered_once(tmp_path):
    pytest.importorskip("pyarrow", reason="Ray Data needs it")
    folder, out = tmp_path / "photos", tmp_path / "answers"
    folder.mkdir()
    for number in range(NUM_IMAGES):
        save_image(data.chelsea()[:, 20 * number :], folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    process = batch(folder, out)
    try:
        while not (first := list(out.glob("*.json"))):
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.05)
        victim = json.loads(first[0].read_text())["worker"]
        os.kill(victim, signal.SIGKILL)
        told, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, told
    answers = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert Counter(Path(answer["source"]).name for answer in answers) == {
        f"{number}.png": 1 for number in range(NUM_IMAGES)
    }
    assert all(answer["schema"] == "perceive.result/1" for answer in answers)
    assert {answer["worker"] for answer in answers} - {victim}  # others finished its work
    assert "broken.png: " in told
    assert not list(out.glob("*.part"))

    times = {file: file.stat().st_mtime_ns for file in out.glob("*.json")}
    (folder / "broken.png").unlink()
    told, _ = batch(folder, out).communicate(timeout=120)
    assert f"{NUM_IMAGES} images, 0 of them done now" in told
    assert {file: file.stat().st_mtime_ns for file in out.glob("*.json")} == times


@contextmanager
def served(handler):
    """A small server in a thread; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers["Content-Length"]))

    def reply(self, status, content):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def round_robin(addresses, counts):
    """Requests in turn; one that does not answer is passed over, as a proxy would."""
    turn = itertools.cycle(addresses)

    class Proxy(Quiet):
        def do_POST(self):
            body = self.body()
            for address in itertools.islice(turn, len(addresses)):
                try:
                    kind = {"Content-Type": self.headers["Content-Type"]}
                    url = f"{address}{self.path}"
                    answer = httpx.post(url, content=body, timeout=120, headers=kind)
                except httpx.ConnectError:
                    continue
                counts[address] += 1
                return self.reply(answer.status_code, answer.content)
            return self.reply(502, b"{}")

    return Proxy


def test_two_replicas_behind_one_address():
    pytest.importorskip("fastapi")
    from servers import BOX as REGION
    from servers import CAT_URI, Process

    request = {"image": CAT_URI, "prompts": [REGION], "tasks": ["recognize", "caption"]}
    replicas, counts = [Process(), Process()], Counter()
    try:
        with served(round_robin([one.url for one in replicas], counts)) as address:

            def ask(_):
                answer = httpx.post(f"{address}/v1/regions", json=request, timeout=120)
                assert answer.status_code == 200
                return json.dumps(answer.json()["regions"])

            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(ask, range(6)))
            assert len(set(answers)) == 1
            assert json.loads(answers[0])[0]["label"] == "cat"
            assert sorted(counts.values()) == [3, 3]
            replicas.pop().stop()
            assert {ask(0), ask(1)} == {answers[0]}
            assert counts[replicas[0].url] == 5
    finally:
        for one in replicas:
            one.stop()


def language_server(folder, requests):
    """Stands in for vLLM's completions with prompt embeddings, with the exported folder alone."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    class Handler(Quiet):
        def do_GET(self):
            models = [{"id": "language", "object": "model", "created": 0, "owned_by": "test"}]
            self.reply(200, json.dumps({"object": "list", "data": models}).encode())

        def do_POST(self):
            asked = json.loads(self.body())
            requests.append(asked)
            file = io.BytesIO(base64.b64decode(asked["prompt_embeds"]))
            embeds_LD = torch.load(file, weights_only=True)  # noqa: TID251 - the contract
            assert embeds_LD.ndim == 2
            ids = model.generate(
                inputs_embeds=embeds_LD[None], max_new_tokens=asked["max_tokens"], do_sample=False,
                eos_token_id=asked["stop_token_ids"], attention_mask=torch.ones(1, len(embeds_LD)),
            )  # fmt: skip
            text = tokenizer.decode(ids[0], skip_special_tokens=True)
            choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
            head = {"id": "1", "object": "text_completion", "created": 0, "model": "language"}
            self.reply(200, json.dumps({**head, "choices": [choice]}).encode())

    return Handler


def test_the_language_half_elsewhere_says_the_same(tmp_path, monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.delitem(sys.modules, "samples", raising=False)
    example = importlib.import_module("language_on_vllm")
    pam, prompts, requests = Perceiver.from_pretrained(), [BOX, Box(100, 50, 300, 250)], []
    save_image(data.chelsea(), "cat.png")
    regions = pam.image("cat.png").perceive(prompts, tasks=["recognize", "describe"])
    example.export(pam, "language")
    with served(language_server("language", requests)) as address:
        for task, field in (("recognize", "label"), ("describe", "description")):
            embeds = example.prompt_embeds(pam, "cat.png", prompts, task)
            told = example.write(pam, address, embeds, task)
            assert told == [getattr(region, field) for region in regions]
    assert {asked["prompt"] for asked in requests} == {""}
    assert len(requests) == 4
