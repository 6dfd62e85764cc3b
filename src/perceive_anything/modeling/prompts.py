"""The words the model was trained on: chat template and the ten task texts.

Knows strings only. Source: the released checkpoints of PAM (arXiv 2506.05302).
"""

from __future__ import annotations

CHAT_TOKENS = ("<|im_start|>", "<|im_end|>")
SYSTEM = "You are a helpful assistant."
CHAT_HEAD = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
CHAT_TAIL = "<|im_end|>\n<|im_start|>assistant\n"

TASK_TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "recognize": "Classify this subject and provide its label.",
        "explain": "Classify this subject and provide the label and its definition.",
        "caption": "Provide a concise caption for this subject.",
        "describe": "Provide a comprehensive and detailed description for this subject.",
        "video": "Provide a caption for this subject in this video.\nPrevious caption: {previous}",
    },
    "zh": {
        "recognize": "对该目标对象进行分类并提供标签",
        "explain": "对该目标对象进行分类并提供标签和名词功能解释",
        "caption": "对该目标对象提供一个概括的描述",
        "describe": "对该目标对象提供一个全面且详细的描述",
        "video": "对该视频中的目标对象提供一个描述。\n历史描述：{previous}",
    },
}
NO_PREVIOUS = {"en": "None", "zh": "无"}


def chat_pieces(task: str, language: str, previous: str | None = None) -> tuple[str, str]:
    """Text in front of and behind the visual rows; the two are tokenised apart.

    Args:
        task: "recognize", "explain", "caption", "describe" or "video".
        language: "en" or "zh".
        previous: Caption of the part of the video before this one.
    """
    return CHAT_HEAD, chat_tail(question(task, language, previous))


def question(task: str, language: str, previous: str | None = None) -> str:
    """What the user asks for a task, see `chat_pieces`."""
    text = TASK_TEXTS[language][task]
    return text.format(previous=previous or NO_PREVIOUS[language]) if task == "video" else text


def chat_tail(text: str) -> str:
    """Text behind the visual rows for any question."""
    return f"\n{text}{CHAT_TAIL}"
