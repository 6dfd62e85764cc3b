"""Many regions and tasks at once: the plain path's tokens, chunks while they come, batches."""

from types import SimpleNamespace

import pytest
import torch
from skimage import data
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

import perceive_anything as pa
from perceive_anything.errors import ModelError
from perceive_anything.modeling import PamConfig, PamForConditionalGeneration
from perceive_anything.modeling.answers import iter_answers
from perceive_anything.modeling.generation import answer_ids, write_answers
from perceive_anything.modeling.reading import ROOM, RoomyLayer, read, roomy_cache
from perceive_anything.sessions.batches import in_batches, regions_at_once
from perceive_anything.tasks import TASK_FIELD, TEXT_TASKS
from perceive_anything.training.initialise import initialise
from perceive_anything.training.nano import nano_config
from test_modeling import SIZES

CAT, PARTS = pa.Box(60, 20, 400, 280), [pa.Points([(225, 110)]), pa.Box(150, 80, 300, 200)]


def random_model(seed, **text):
    torch.manual_seed(seed)
    config = nano_config(SIZES.model_copy(update={"text_layers": 2})).to_dict()
    config["text_config"] |= text
    config |= {"label_spelling": 0.0, "label_guidance": 0.0}
    model = PamForConditionalGeneration(PamConfig.from_dict(config))
    initialise(model)
    for parameter in model.language_model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # answers that differ from row to row
    return model.eval()


def tokens_of(model, processor, rows, tasks, *args):
    """Ids of each answer, and how many answers were written in each round."""
    ids = {(region, task): [] for region in range(len(rows)) for task in tasks}
    ended = set()
    for token in iter_answers(model, processor, rows, tasks, *args):
        key = (token.region, token.task)
        assert key not in ended
        if token.id is None:
            ended.add(key)
        else:
            ids[key].append(token.id)
    assert ended == ids.keys()
    return ids


@pytest.mark.parametrize(
    ("seed", "text", "settings", "spelling", "guidance"),
    [
        (0, {}, {}, 0.0, 0.0),
        (1, {"num_attention_heads": 4, "num_key_value_heads": 2}, {}, 0.5, 3.0),
        (2, {}, {"repetition_penalty": 1.3}, 0.5, 0.0),
        (4, {}, {"suppress_tokens": list(range(0, 300, 2))}, 0.5, 3.0),
        (3, {"tie_word_embeddings": False}, {"min_new_tokens": 6}, 0.0, 3.0),
    ],
)
def test_all_at_once_equals_one_by_one(processor, seed, text, settings, spelling, guidance):
    """Random models, with ends of answers that come early, late or never."""
    model = random_model(seed, **text)
    model.config.label_spelling, model.config.label_guidance = spelling, guidance
    model.language_model.generation_config.update(**settings)
    rows = torch.randn(3, 21, SIZES.text_width)

    def plain():
        answers = {task: answer_ids(model, processor, rows, task, "en", 12) for task in TEXT_TASKS}
        return {(r, task): ids[r] for task, ids in answers.items() for r in range(len(rows))}

    free = tokens_of(model, processor, rows, TEXT_TASKS, "en", 12)
    assert free == plain()

    def lengths(end):
        return {ids.index(end) if end in ids else len(ids) for ids in free.values()}

    end = max({token for ids in free.values() for token in ids}, key=lambda t: len(lengths(t)))
    model.language_model.generation_config.eos_token_id = end
    ended = tokens_of(model, processor, rows, TEXT_TASKS, "en", 12)
    assert ended == plain()
    model.config.label_guidance = 0.0
    unguided = tokens_of(model, processor, rows, TEXT_TASKS, "en", 12)
    assert (ended != unguided) == bool(guidance), "no label guided a text"
    assert len({len(ids) for ids in ended.values()}) > 1, "no answer ended before the others"


def test_a_region_is_read_once_and_ended_rows_leave(processor, monkeypatch):
    model = random_model(4)
    seen, predicted = [], []
    first, head = model.language_model.model.layers[0], model.language_model.lm_head
    first.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].shape[:2]))
    head.register_forward_hook(lambda _, inputs, output: predicted.append(inputs[0].shape[:2]))
    limits = iter([2, 5, 5, 5])
    monkeypatch.setattr(
        "perceive_anything.modeling.answers.generation_settings",
        lambda *_: SimpleNamespace(
            eos_token_id=[SIZES.vocab_size], max_new_tokens=next(limits), repetition_penalty=None,
            suppress_tokens=None, min_new_tokens=None, do_sample=False,
        ),
    )  # fmt: skip
    ids = tokens_of(model, processor, torch.randn(3, 21, SIZES.text_width), TEXT_TASKS, "en")
    tails = [processor.task_ids(task, "en") for task in TEXT_TASKS]
    shared = next(n for n, ids in enumerate(zip(*tails, strict=False)) if len(set(ids)) > 1)
    longest = max(map(len, tails))
    assert shared > 0
    assert seen[:2] == [(3, 21 + len(processor.head_ids()) + shared), (12, longest - shared)]
    assert seen[2:] == [(12, 1), (9, 1), (9, 1), (9, 1)]
    assert predicted == [(12, 1), *seen[2:]]
    assert [len(ids[0, task]) for task in TEXT_TASKS] == [2, 5, 5, 5]


def test_one_task_leaves_one_token_to_read(processor):
    model, seen = random_model(5), []
    first = model.language_model.model.layers[0]
    first.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].shape[:2]))
    rows = torch.randn(2, 21, SIZES.text_width)
    ids = tokens_of(model, processor, rows, ["caption"], "en", 3)
    tail = len(processor.task_ids("caption", "en"))
    assert seen[:2] == [(2, 21 + len(processor.head_ids()) + tail - 1), (2, 1)]
    assert [ids[r, "caption"] for r in (0, 1)] == answer_ids(
        model, processor, rows, "caption", "en", 3
    )


def test_what_was_read_is_what_the_whole_model_keeps():
    """Without the last feed-forward part, and with the model as it was afterwards."""
    model = random_model(6).language_model
    embeds, plain = torch.randn(2, 9, SIZES.text_width), DynamicCache(config=model.config)
    cache = roomy_cache(model.config)
    with torch.no_grad():
        before = model(inputs_embeds=embeds, past_key_values=plain).logits
        read(model, embeds, cache)
        after = model(inputs_embeds=embeds).logits
    assert torch.equal(before, after)
    for ours, theirs in zip(cache.layers, plain.layers, strict=True):
        assert torch.equal(ours.keys, theirs.keys)
        assert torch.equal(ours.values, theirs.values)


def test_a_cache_with_room_holds_what_the_plain_one_does():
    """Through growth past its room, repeated rows, leaving rows and a step back."""
    ours, theirs = RoomyLayer(), DynamicLayer()
    generator = torch.Generator().manual_seed(0)

    def grow(rows, count):
        new = [torch.randn(rows, 2, count, 3, generator=generator) for _ in range(2)]
        for got, wanted in zip(ours.update(*new), theirs.update(*new), strict=True):
            assert torch.equal(got, wanted)

    grow(2, 5)
    kept = ours.keys.data_ptr()
    for _ in range(ROOM):
        grow(2, 1)
    assert ours.keys.data_ptr() == kept
    grow(2, 1)
    assert ours.keys.data_ptr() != kept
    for layer in (ours, theirs):
        layer.batch_repeat_interleave(3)
    grow(6, 2)
    for layer in (ours, theirs):
        layer.batch_select_indices(torch.tensor([0, 4, 5]))
        layer.crop(-2)
    grow(3, 1)
    assert ours.get_seq_length() == theirs.get_seq_length() == 5 + ROOM + 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nano_says_the_same_on_both_paths(language):
    pam = pa.Perceiver.from_pretrained()
    image = pam.image(data.chelsea())
    tensors = pam.processor.prompt_tensors([CAT, *PARTS], [image.size_wh])
    with torch.inference_mode():
        rows = pam.model.visual_rows(pam.model.segment(image._features, tensors))
    regions = image.perceive([CAT, *PARTS], language=language)
    for task in TEXT_TASKS:
        plain = write_answers(pam.model, pam.processor, rows, task, language)
        assert [region.texts[TASK_FIELD[task]] for region in regions] == plain


@pytest.mark.parametrize("language", ["en", "zh"])
def test_chunks_add_up_while_others_are_written(language):
    image = pa.Perceiver.from_pretrained().image(data.chelsea())
    tasks = ["recognize", "caption", "describe"]
    regions = image.perceive([CAT, *PARTS], tasks=tasks, language=language)
    texts, last_ended = {}, None
    for chunk in image.perceive([CAT, *PARTS], tasks=tasks, language=language, stream=True):
        key = (chunk.region, chunk.task)
        assert "\ufffd" not in chunk.text
        assert last_ended != key
        texts[key] = texts.get(key, "") + chunk.text
        if chunk.final:
            last_ended = key
            if chunk.task != "recognize":
                assert len(texts) == 9, "one text ended before another had begun"
    assert texts == {
        (region.id, task): region.texts[TASK_FIELD[task]] for region in regions for task in tasks
    }


def test_leaving_the_loop_stops_the_work(monkeypatch):
    pam = pa.Perceiver.from_pretrained()
    calls = []
    forward = pam.model.language_model.forward
    monkeypatch.setattr(
        pam.model.language_model, "forward", lambda **inputs: calls.append(1) or forward(**inputs)
    )
    chunks = pam.image(data.chelsea()).perceive(CAT, tasks=["describe"], stream=True)
    next(chunks)
    before = len(calls)
    chunks.close()
    assert list(chunks) == []
    assert len(calls) == before <= 4


def test_segment_alone_streams_nothing():
    image = pa.Perceiver.from_pretrained().image(data.chelsea())
    assert list(image.perceive(CAT, tasks=["segment"], stream=True)) == []


def out_of_memory_above(limit, given=0):
    def work(batch, start):
        yield from batch[:given]
        if len(batch) > limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        yield from (f"{start}+{i}" for i, _ in enumerate(batch))

    return work


def test_a_batch_that_is_too_large_halves_itself():
    with pytest.warns(UserWarning, match="going on with") as told:
        results = list(in_batches(range(7), 7, out_of_memory_above(2)))
    assert results == ["0+0", "1+0", "2+0", "3+0", "4+0", "5+0", "6+0"]
    assert len(told) == 2


@pytest.mark.parametrize(("limit", "given"), [(0, 0), (2, 1)])
def test_memory_that_is_too_small_is_said(limit, given):
    with pytest.raises(ModelError, match="memory ran out with") as caught:
        list(in_batches(range(4), 1 if limit == 0 else 4, out_of_memory_above(limit, given)))
    assert caught.value.code == "out_of_memory"


def test_other_errors_are_not_taken_for_memory():
    def work(batch, start):
        raise RuntimeError("shapes differ")
        yield batch, start

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(in_batches(range(4), 4, work))


def test_larger_models_take_fewer_regions_at_once():
    nano = pa.Perceiver.from_pretrained().model
    sizes = SIZES.model_copy(update={"image_size": 1024, "sam_width": 256, "text_width": 512})
    with torch.device("meta"):
        large = PamForConditionalGeneration(nano_config(sizes))
    sizes = [regions_at_once(nano, 4), regions_at_once(nano, 1)]
    assert 16 <= sizes[0] < sizes[1]
    assert 1 <= regions_at_once(large, 4) < sizes[0]
