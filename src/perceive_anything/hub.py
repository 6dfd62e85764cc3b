"""Models by name: the published ones, the local hub cache, one clear line when the hub is away.

Knows names and folders; loads nothing and imports no torch.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from perceive_anything.assets import NANO
from perceive_anything.errors import ModelError

HUB_TIMEOUT_S = 5.0
# What a model needs; a repository may hold pickles, other formats and pictures besides.
FILES = ("*.json", "*.safetensors", "*.txt", "*.yaml")


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model on the hub.

    Attributes:
        hub_id: Its name there.
        parts: What it is made of.
        parameters_b: Billions of parameters, by its configuration.
        licence: What its parts are licensed under.
    """

    hub_id: str
    parts: str
    parameters_b: float
    licence: str

    @property
    def bfloat16_gb(self) -> float:
        """Size of its weights in bfloat16."""
        return 2 * self.parameters_b


PUBLISHED = (
    PublishedModel(
        "Perceive-Anything/PAM-1.5B",
        "SAM 2.1 Hiera-L + Qwen2.5-1.5B; GPU, or a patient CPU",
        1.78,
        "language model Apache-2.0 (Qwen2.5-1.5B), SAM 2.1 Apache-2.0",
    ),
    PublishedModel(
        "Perceive-Anything/PAM-3B",
        "SAM 2.1 Hiera-L + Qwen2.5-3B; GPU",
        3.33,
        "language model under the Qwen research licence (Qwen2.5-3B: no commercial use), "
        "SAM 2.1 Apache-2.0",
    ),
)
SAM2_HUB_ID = "facebook/sam2.1-hiera-large"


def find_folder(name: str) -> Path:
    """The folder of a model; a hub id is downloaded unless it is in the local cache.

    Args:
        name: "nano", a folder, or a hub id.

    Raises:
        ModelError: There is no such model, or the hub cannot be reached.
    """
    folder = NANO if name == "nano" else Path(name)
    if folder.exists():
        return folder
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f'there is no model "{name}".\n'
            '  Expected "nano", a folder with config.json, or a hub id such as '
            "Perceive-Anything/PAM-3B; `perceive models` lists them.",
            code="unknown_model",
        )
    return cached_folder(name) or _download(name)


def cached_folder(hub_id: str) -> Path | None:
    """Where the local cache keeps a model of the hub, if it does."""
    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _download(hub_id: str) -> Path:
    try:
        # One look, because the hub's client would try again for minutes and for every file.
        host = urlsplit(constants.ENDPOINT).hostname
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        socket.create_connection((host, 443), timeout=HUB_TIMEOUT_S).close()
        return Path(snapshot_download(hub_id, allow_patterns=list(FILES)))
    except (OSError, HfHubHTTPError) as error:
        reason = next(iter(str(error).strip().splitlines()), repr(error))
        raise ModelError(
            f'model "{hub_id}" is neither a folder nor in the local cache, and the hub cannot give '
            f"it: {reason}\n"
            "  Check the name and the network, or copy the model here and give its folder.",
            code="unknown_model",
        ) from error
