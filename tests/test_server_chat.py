"""The official openai client against /v1/chat/completions and /v1/models."""

import numpy as np
import openai
import pytest

from perceive_anything import Box, Mask
from servers import BOX, CAT, CAT_URI, nano, png, serving, uri


@pytest.fixture(scope="module")
def pam():
    return nano()


@pytest.fixture(scope="module")
def client(pam):
    with serving(pam, api_key="sesame") as url:
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="sesame", max_retries=0)


def message(text="", image=CAT_URI):
    parts = [{"type": "image_url", "image_url": {"url": image}}]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *parts]}]


def create(client, text="", image=CAT_URI, regions=(BOX,), extra=(), **settings):
    body = {"regions": list(regions), **dict(extra)}
    return client.chat.completions.create(
        model="nano", messages=message(text, image), extra_body=body, **settings
    )


def test_a_caption_streams(client, pam):
    chunks = list(create(client, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0] for chunk in chunks[:-1]]
    text = "".join(piece.delta.content or "" for piece in pieces)
    assert text == pam.image(CAT).perceive(Box(5, 5, 446, 296), tasks=["caption"]).caption
    assert pieces[0].delta.role == "assistant"
    assert [piece.finish_reason for piece in pieces[-2:]] == [None, "stop"]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    usage = chunks[-1].usage
    assert usage.prompt_tokens > pam.model.config.image_rows
    assert usage.completion_tokens == len(pam.processor.tokenizer(text).input_ids)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_whole_answers(client, pam):
    answer = create(client, "Describe this region in detail.")
    (choice,) = answer.choices
    expected = pam.image(CAT).perceive(Box(5, 5, 446, 296), tasks=["describe"]).description
    assert (choice.message.content, choice.finish_reason) == (expected, "stop")
    assert answer.usage.completion_tokens > 3


def test_each_region_is_a_choice(client, pam):
    regions = [BOX, {"type": "points", "points": [[10, 10]]}]
    both = create(client, "label", regions=regions).choices
    assert [choice.index for choice in both] == [0, 1]
    alone = [create(client, "label", regions=[one]).choices[0] for one in regions]
    assert [c.message.content for c in both] == [c.message.content for c in alone]


def test_what_is_opaque_is_the_region(client, pam):
    mask = np.zeros(CAT.shape[:2], bool)
    mask[40:200, 100:300] = True
    rgba = np.dstack([CAT, np.where(mask, 255, 0).astype(np.uint8)])
    answer = create(client, "explain", image=uri(png(rgba)), regions=())
    # Colours under transparent pixels count: the region keeps its surroundings.
    expected = pam.image(CAT).perceive(Mask(mask), tasks=["explain"]).explanation
    assert answer.choices[0].message.content == expected


def test_chinese_and_the_task_by_name(client):
    asked = create(client, "描述这个区域").choices[0].message.content
    named = create(client, extra={"task": "describe", "language": "zh"}).choices[0].message.content
    assert asked == named
    assert any("\u4e00" <= sign <= "\u9fff" for sign in asked)


def test_length_and_temperature_are_honoured(client):
    cut = create(client, "describe", max_tokens=3)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage.completion_tokens == 3
    newer = create(client, "describe", max_completion_tokens=3)
    assert newer.choices[0].message.content == cut.choices[0].message.content
    assert newer.usage == cut.usage
    drawn = {create(client, "describe", temperature=2).choices[0].message.content for _ in range(4)}
    assert len(drawn) > 1


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"regions": ()}, "prompt_missing"),
        ({"text": "Write a poem"}, "unknown_task"),
        ({"text": "caption and description"}, "unknown_task"),
        ({"extra": {"task": "segment"}}, "unknown_task"),
        ({"top_p": 0.5}, "bad_request"),
        ({"n": 2}, "bad_request"),
        ({"stop": "cat"}, "bad_request"),
        ({"temperature": 2.5}, "bad_request"),
        ({"max_tokens": 10**6}, "limit_exceeded"),
        ({"max_tokens": 3, "max_completion_tokens": 3}, "bad_request"),
        ({"image": "https://127.0.0.1/cat.png"}, "url_refused"),
        ({"regions": [{"type": "box", "box": [0, 0, 0, 0]}]}, "box_inverted"),
    ],
)
def test_what_cannot_be_honoured_is_refused(client, settings, code):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        create(client, **settings)
    assert caught.value.code == code
    assert caught.value.type == "invalid_request_error"
    assert caught.value.body["hint"]


def test_errors_of_other_kinds(client):
    with pytest.raises(openai.UnprocessableEntityError, match="This server has nano"):
        client.chat.completions.create(model="gpt-9", messages=message())
    twice = message()
    twice[0]["content"].append(twice[0]["content"][1])
    with pytest.raises(openai.UnprocessableEntityError, match="2 images"):
        client.chat.completions.create(model="nano", messages=twice)
    system = [{"role": "system", "content": "You are a pirate."}, *message()]
    with pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model="nano", messages=system)
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()


def test_models(client):
    (model,) = client.models.list()
    assert (model.id, model.object) == ("nano", "model")
    assert client.models.retrieve("nano") == model
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
