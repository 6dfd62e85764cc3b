"""What requests may hold: typed, closed to unknown fields, plain values only.

Whether prompts fit an image, or a number the server's limits, is checked where both are known.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from perceive_anything.tasks import ALL_TASKS, LANGUAGES, TEXT_TASKS

Number = int | float
MANY = 1000  # of anything in a list; the server's own limits are lower


class Wire(BaseModel):
    """Base of all requests: nothing is guessed or converted, unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


BoxNumbers = Annotated[list[Number], Field(min_length=4, max_length=4)]
PointNumbers = Annotated[list[Number], Field(min_length=2, max_length=2)]
Task = Annotated[str, Field(json_schema_extra={"enum": list(ALL_TASKS)})]
Language = Annotated[str, Field(json_schema_extra={"enum": list(LANGUAGES)})]
Counts = (
    Annotated[str, Field(min_length=1, max_length=4_000_000)]
    | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1_000_000)]
)


class BoxPrompt(Wire):
    """A box: pixel x1, y1, x2, y2."""

    type: Literal["box"]
    box_xyxy: BoxNumbers = Field(alias="box")


class PointsPrompt(Wire):
    """Points of one region; labels are 1 on it, 0 beside it."""

    type: Literal["points"]
    points: list[PointNumbers] = Field(min_length=1, max_length=MANY)
    labels: list[Literal[0, 1]] | None = Field(None, max_length=MANY)
    box_xyxy: BoxNumbers | None = Field(None, alias="box")


class Rle(Wire):
    """COCO run lengths, column by column; counts packed, or as a list of numbers."""

    size_hw: list[int] = Field(
        alias="size", min_length=2, max_length=2, description="Height, width."
    )
    counts: Counts


class MaskPrompt(Wire):
    """The region itself, as COCO RLE of the image's size."""

    type: Literal["mask"]
    mask: Rle


class PngPrompt(Wire):
    """The region itself, as a PNG of the image's size; what is not black is inside."""

    type: Literal["png"]
    png: str = Field(description="data:image/png;base64,...")


class PolygonPrompt(Wire):
    """The region itself, as COCO polygons x1, y1, x2, y2, ...; their union."""

    type: Literal["polygon"]
    polygons: list[Annotated[list[Number], Field(min_length=6)]] = Field(
        min_length=1, max_length=MANY
    )


WirePrompt = Annotated[
    BoxPrompt | PointsPrompt | MaskPrompt | PngPrompt | PolygonPrompt, Field(discriminator="type")
]
Prompts = Annotated[list[WirePrompt], Field(max_length=MANY)]


class TextSettings(Wire):
    """Which texts are written, and how."""

    tasks: list[Task] = Field(list(ALL_TASKS), min_length=1, max_length=MANY)
    language: Language = "en"
    max_new_tokens: int | None = Field(None, ge=1, description="Longest text, in tokens.")
    temperature: Number = Field(0, ge=0, le=2)


class RegionsAsk(TextSettings):
    """Regions of an image that is already there: prompts, or everything."""

    prompts: Prompts = Field([])
    everything: bool = Field(False, description="Find regions without a prompt.")
    max_regions: int = Field(32, ge=1, le=MANY, description="With everything: the most regions.")
    stream: bool = Field(False, description="Answer with server-sent events while it is made.")


class RegionsRequest(RegionsAsk):
    """An image and what is asked of it."""

    image: str = Field(description="data:image/...;base64,... or an address that is allowed.")


class SessionRequest(Wire):
    """An image or a video to keep; exactly one of them."""

    image: str | None = Field(None, description="As in /v1/regions.")
    video: str | None = Field(None, description="data:video/...;base64,...")


class TracksRequest(Wire):
    """Regions to follow in a video; with `track` a correction of one that is followed."""

    prompts: Annotated[list[WirePrompt], Field(min_length=1, max_length=MANY)]
    frame: int = Field(0, ge=0, description="Number of the frame that is pointed at.")
    track: int | None = Field(None, ge=0, description="Correct this one; takes one prompt.")


class PropagateRequest(TextSettings):
    """What to write of each region once it was followed."""


class SessionInfo(BaseModel):
    """A session.

    Attributes:
        id: Its name in addresses; whoever knows it may use the session.
        kind: "image" or "video".
        width: Pixels.
        height: Pixels.
        fps: Of a video.
        frames: Of a video, if it is known.
        tracks: Ids of the regions of a video.
        expires_in_s: Seconds until it is forgotten if nobody uses it.
    """

    id: str
    kind: Literal["image", "video"]
    width: int
    height: int
    fps: float | None = None
    frames: int | None = None
    tracks: list[int] = []
    expires_in_s: float


class TracksAnswer(BaseModel):
    """Ids of the regions that were added or corrected."""

    tracks: list[int]


class StartMessage(Wire):
    """First message of a stream; all of it may be left out."""

    type: Literal["start"]
    caption_every: Annotated[Number, Field(gt=0)] | Literal["auto"] | None = "auto"
    language: Language = "en"


class AddMessage(Wire):
    """Point at a region on the next frame."""

    type: Literal["add"]
    prompt: WirePrompt


class RemoveMessage(Wire):
    """Stop following a region."""

    type: Literal["remove"]
    track: int = Field(ge=0)


class EndMessage(Wire):
    """Ask for the captions that are open, and the end."""

    type: Literal["end"]


Control = Annotated[
    StartMessage | AddMessage | RemoveMessage | EndMessage, Field(discriminator="type")
]


class ImageUrl(Wire):
    """Where the image is."""

    url: str = Field(description="data:image/...;base64,... or an address that is allowed.")
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Wire):
    """The image of a chat message; where it is transparent is not the region."""

    type: Literal["image_url"]
    image_url: ImageUrl


class TextPart(Wire):
    """The words of a chat message."""

    type: Literal["text"]
    text: str


class ChatMessage(Wire):
    """One turn; only one, of the user, is understood."""

    role: Literal["user"]
    content: list[Annotated[ImagePart | TextPart, Field(discriminator="type")]] = Field(
        min_length=1, max_length=MANY
    )
    name: str | None = None


class StreamOptions(Wire):
    """Whether the last piece of a streamed answer counts tokens."""

    include_usage: bool = False


class ChatRequest(Wire):
    """A chat completion about regions of one image; each region is one choice of the answer."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=1)
    regions: Prompts = Field([], description="As prompts in /v1/regions; one choice each.")
    task: Annotated[str, Field(json_schema_extra={"enum": list(TEXT_TASKS)})] | None = None
    language: Language | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: Number = Field(0, ge=0, le=2)
    top_p: Number | None = Field(None, ge=1, le=1, description="Only 1.")
    n: int | None = Field(None, ge=1, le=1, description="Only 1; there is a choice a region.")
    user: str | None = Field(None, description="Not used.")


def body_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI reference to a request whose route reads its body itself."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
