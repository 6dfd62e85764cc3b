"""Settings of a data build: frozen, typed, read from a recipe.

Knows names and limits. Refuses to know how anything is done.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal, Self

from pydantic import Field, model_validator

from perceive_anything.config import Settings
from perceive_anything.data.sources import DataSource

VERSION = 1  # of the wording of requests and of what is done with replies


class TeacherConfig(Settings):
    """Who writes the texts.

    Attributes:
        kind: "offline" composes them from the record and its pixels; "openai" asks an endpoint.
        lexicon: Folder with `text.json.gz` for the offline teacher; it also works without.
        base_url: Of the endpoint, such as http://localhost:8000/v1; None for OpenAI's own.
        key_variable: Environment variable that holds the key.
        model: Its name at the endpoint.
        temperature: Of sampling.
        max_tokens: Of a reply, at most.
        reply_format: How the endpoint is told to write JSON: by schema, as any object, or only in
            words.
        concurrency: Requests at once.
        requests_per_minute: Most requests begun in a minute; None for no limit.
        timeout_s: After which a request counts as failed.
        max_retries: Of a failed request, by the client, with back-off.
        price_in: Of a million tokens of requests, in any currency.
        price_out: Of a million tokens of replies.
    """

    kind: Literal["offline", "openai"] = "offline"
    lexicon: str | None = None
    base_url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    model: str = ""
    temperature: float = Field(default=0.2, ge=0)
    max_tokens: int = Field(default=900, gt=0)
    reply_format: Literal["schema", "object", "words"] = "schema"
    concurrency: int = Field(default=4, gt=0)
    requests_per_minute: float | None = Field(default=None, gt=0)
    timeout_s: float = Field(default=120, gt=0)
    max_retries: int = Field(default=6, ge=0)
    price_in: float = Field(default=0, ge=0)
    price_out: float = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.kind == "openai" and not self.model:
            raise ValueError("an openai teacher needs a model")
        return self


class ChecksConfig(Settings):
    """What a reply has to be.

    Attributes:
        tries: Requests for one text; each further one tells what was wrong.
        samples: 2 asks for the English texts a second time and wants both alike.
        agreement: Least similarity (cosine of sentence embeddings) of the source's label and the
            teacher's; None to leave the check out. Equal names need no embedding.
        consistency: Least similarity of the captions of two samples.
    """

    tries: int = Field(default=3, ge=1)
    samples: Literal[1, 2] = 1
    agreement: float | None = 0.4
    consistency: float = 0.5


class MarksConfig(Settings):
    """Pictures that the teacher sees.

    Attributes:
        side_px: Longest side of the full picture; the crop beside it has the same height.
        panel_px: Width of each panel of a storyboard.
        quality: Of the JPEG, 1..95.
        min_side_px: Regions with a shorter side are dropped.
    """

    side_px: int = Field(default=640, ge=64)
    panel_px: int = Field(default=384, ge=64)
    quality: int = Field(default=88, ge=1, le=95)
    min_side_px: int = Field(default=4, ge=1)


class EventsConfig(Settings):
    """Where events of a stream end.

    Attributes:
        by: "change" when the region changes for good, "teacher" where the teacher says.
        min_s: Shortest event in seconds.
        max_s: Longest event in seconds.
    """

    by: Literal["change", "teacher"] = "change"
    min_s: float = Field(default=2.0, gt=0)
    max_s: float = Field(default=15.0, gt=0)


class AugmentConfig(Settings):
    """What is added to the records.

    Attributes:
        groups: Regions of several things of one name, asked about like any other.
        prompts: Clicks, a loose box and the mask of each region.
        questions: Turns with paraphrased questions, and negative and uncertain cases.
    """

    groups: bool = False
    prompts: bool = False
    questions: bool = False


class DataRecipe(Settings):
    """A whole build.

    Attributes:
        kind: "images", "videos" (one text a track) or "streams" (one text an event of a track).
        output: Folder for the state, the records and the report.
        seed: Seed of all chance.
        root: Folder that the paths of the sources start from.
        sources: What to read.
        demo: Made-up data in place of sources: the pictures of scikit-image, or a clip of them.
        fps: Frames a second of clips.
        languages: English always; Chinese is written in a request of its own.
        limit: Records to take of each source; all by default.
        per_shard: Records a shard.
        pam_data: Also write the records as rows of PAM-data, `pam_data.jsonl`.
        samples: Regions on the sample sheet.
    """

    kind: Literal["images", "videos", "streams"]
    output: str
    seed: int = 0
    root: str = "."
    sources: tuple[DataSource, ...] = ()
    demo: Literal["images", "clip"] | None = None
    fps: float = Field(default=10.0, gt=0)
    languages: tuple[Literal["en", "zh"], ...] = ("en", "zh")
    limit: int | None = Field(default=None, gt=0)
    per_shard: int = Field(default=1000, gt=0)
    pam_data: bool = False
    samples: int = Field(default=12, ge=0)
    teacher: TeacherConfig = TeacherConfig()
    checks: ChecksConfig = ChecksConfig()
    marks: MarksConfig = MarksConfig()
    events: EventsConfig = EventsConfig()
    augment: AugmentConfig = AugmentConfig()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.sources) == bool(self.demo):
            raise ValueError("expected sources, or demo: images or clip")
        if "en" not in self.languages:
            raise ValueError("languages must have en; the other texts are checked against it")
        return self

    def salt(self) -> str:
        """A key of all that a region's texts depend on besides the region."""
        texts = {"kind", "seed", "fps", "languages", "checks", "marks", "events"}
        teacher = {"kind", "lexicon", "model", "temperature", "max_tokens", "reply_format"}
        told = self.model_dump(mode="json", include={**dict.fromkeys(texts, True)})
        told["teacher"] = self.teacher.model_dump(mode="json", include=teacher)
        return hashlib.sha256(json.dumps([VERSION, told], sort_keys=True).encode()).hexdigest()
