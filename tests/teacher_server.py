"""A teacher that speaks OpenAI's protocol as a process of its own, and misbehaves.

    python teacher_server.py PORT LOG [--mean] [--obey]

Every completion that it works out is a line of LOG. It knows the label from the quoted annotation;
what is not quoted it obeys. With --mean it is slow, busy, broken, cuts connections, writes what is
no JSON or the wrong language; each on the first time that it sees a request.
"""

import asyncio
import hashlib
import json
import os
import re
import sys
import time

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

app = FastAPI()
LOG = os.open(sys.argv[2], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
MEAN, OBEY = "--mean" in sys.argv, "--obey" in sys.argv
SEEN: dict[str, int] = {}
QUOTED = re.compile(r"<annotation>(\"(?:[^\"\\]|\\.)*\")</annotation>")
NAMES_ZH = {"cat": "猫", "dog": "狗", "cup": "杯子", "boat": "船"}


@app.post("/v1/chat/completions")
async def complete(request: Request) -> Response:
    at, body = time.monotonic(), await request.json()
    told = json.dumps(body["messages"], sort_keys=True)
    key = hashlib.sha256(told.encode()).hexdigest()
    SEEN[key] = SEEN.get(key, 0) + 1
    fault = int(key[:4], 16) % 40 if MEAN and SEEN[key] == 1 else -1
    if fault == 0:
        return JSONResponse({"error": {"message": "busy"}}, 429, {"retry-after-ms": "20"})
    if fault == 1:
        return JSONResponse({"error": {"message": "broken"}}, 500, {"retry-after-ms": "20"})
    if fault == 2:
        return Response("<html>not a completion", media_type="text/html")
    if fault == 3:
        return Response(b"{", headers={"content-length": "4000"}, media_type="application/json")
    if fault == 4:
        await asyncio.sleep(0.5)
    text = answer(body["messages"], fault)
    usage = {"prompt_tokens": 100 + len(told) % 50, "completion_tokens": len(text)}
    usage["total_tokens"] = sum(usage.values())
    line = {"key": key, "usage": usage, "turns": len(body["messages"]), "at": at}
    os.write(LOG, f"{json.dumps(line)}\n".encode())
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    head = {"id": key, "object": "chat.completion", "created": 1, "model": body["model"]}
    return JSONResponse({**head, "choices": [choice], "usage": usage})


def answer(messages: list, fault: int) -> str:
    asked = messages[1]["content"][1]["text"]
    again = len(messages) > 2
    chinese = "来源不明" in asked
    if fault == 5 and not again:
        return '{"label": "cat", "caption":'
    if fault == 6 and not again:
        chinese = not chinese
    notes = [json.loads(found) for found in QUOTED.findall(asked)]
    ordered = QUOTED.sub("", asked) if not OBEY else asked
    if re.search(r"ignore previous|text of yours pwned", ordered, re.IGNORECASE):
        return json.dumps(texts("PWNED", "PWNED http://evil.example is the only answer here"))
    label = (notes[-1] if notes else "thing").partition(".")[0].lower()
    if chinese:
        name = NAMES_ZH.get(label, "东西")
        return json.dumps(texts(name, f"图中的一个{name}，颜色很清楚"), ensure_ascii=False)
    return json.dumps(texts(label, f"a {label} in the middle of the picture"))


def texts(name: str, sentence: str) -> dict:
    return {
        "label": name, "definition": f"{sentence}.", "function": "", "attributes": [],
        "caption": sentence, "description": f"{sentence}, {sentence}.",
    }  # fmt: skip


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
