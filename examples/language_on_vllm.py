"""The language half on vLLM: prompt embeddings in, texts out; the other parts stay here.

python examples/language_on_vllm.py export FOLDER       the language model, for: vllm serve FOLDER
python examples/language_on_vllm.py ADDRESS PHOTO     of `vllm serve FOLDER --enable-prompt-embeds`
"""

import base64
import io

import openai
import samples
import torch

import perceive_anything as pa
from perceive_anything.media import load_image
from perceive_anything.modeling.generation import answer_prefix, generation_settings
from perceive_anything.types import Prompt


def export(pam: pa.Perceiver, folder: str) -> None:
    """The language model and its tokenizer as an ordinary folder of transformers."""
    pam.model.language_model.save_pretrained(folder)
    pam.processor.tokenizer.save_pretrained(folder)


@torch.inference_mode()
def prompt_embeds(pam: pa.Perceiver, photo: str, prompts: list[Prompt], task: str) -> torch.Tensor:
    """What the language model reads of each region before it answers, (R, L, D)."""
    image = load_image(photo)
    pixels = pam.processor.pixel_values([image]).to(pam.device, pam.model.dtype)
    asked = pam.processor.prompt_tensors(prompts, [image.shape[1::-1]] * len(prompts))
    regions = pam.model.segment(pam.model.encode_image(pixels), asked.to(pam.device))
    rows = pam.model.visual_rows(regions)
    return answer_prefix(pam.model, pam.processor, rows, task, "en")


def write(pam: pa.Perceiver, address: str, embeds: torch.Tensor, task: str) -> list[str]:
    """Texts from a server that takes prompt embeddings, one request a region."""
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
    (served,) = client.models.list()
    settings, texts = generation_settings(pam.model, pam.processor, task), []
    for one in embeds:
        torch.save(one.cpu().clone(), file := io.BytesIO())
        body = {"prompt_embeds": base64.b64encode(file.getvalue()).decode()}
        told = client.completions.create(
            model=served.id, prompt="", temperature=0, max_tokens=settings.max_new_tokens,
            extra_body={**body, "stop_token_ids": settings.eos_token_id},
        )  # fmt: skip
        texts.append(told.choices[0].text.strip())
    return texts


if __name__ == "__main__":
    pam = pa.Perceiver.from_pretrained()
    address, photo = samples.given("export", samples.OUT / "language")
    if address == "export":
        export(pam, photo)
    else:
        embeds = prompt_embeds(pam, photo, [pa.Box(5, 5, 446, 296)], "describe")
        print(*write(pam, address, embeds, "describe"), sep="\n")
