"""What a server allows: limits of requests, sessions and streams, and who may ask.

Plain values; knows neither HTTP nor models.
"""

from __future__ import annotations

from pydantic import Field, SecretStr

from perceive_anything.config import Settings

MIB = 2**20


class ServerSettings(Settings):
    """Limits and doors of a server; every field has a default that suits one small machine.

    Attributes:
        api_key: What requests must show; None lets everybody in who reaches the port.
        allow_origins: Origins of web pages that may ask besides the server's own.
        allow_hosts: Hosts from which image addresses are fetched; none by default.
        max_body_bytes: Of a request with an image, and of a frame of a stream.
        max_video_bytes: Of a request that uploads a video.
        max_held_bytes: Of all bodies, and masks that came with requests, that are held at one time.
        max_pixels: Of an image, a mask or a frame.
        max_prompts: Of one request.
        max_points: Of one prompt, corners of polygons too.
        max_frames: Of a video.
        max_new_tokens: Longest text that may be asked for.
        max_waiting: Requests that wait or compute; more are told to come again.
        max_sessions: Uploaded images and videos that are kept.
        max_streams: Websockets at one time.
        max_stream_frames: Frames of a stream that wait; then the oldest is dropped.
        session_idle_s: After so long without use a session is forgotten.
        header_timeout_s: For the head of a request.
        body_idle_s: Between two pieces of a body.
        body_timeout_s: For a whole body.
        send_timeout_s: For a client that does not read what it asked for.
        fetch_timeout_s: For an image that is fetched.
        shutdown_s: For answers that are under way when the server is told to stop.
    """

    api_key: SecretStr | None = None
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    max_body_bytes: int = Field(default=32 * MIB, ge=1024)
    max_video_bytes: int = Field(default=256 * MIB, ge=1024)
    max_held_bytes: int = Field(default=1024 * MIB, ge=1024)
    max_pixels: int = Field(default=50_000_000, ge=64)
    max_prompts: int = Field(default=64, ge=1)
    max_points: int = Field(default=512, ge=1)
    max_frames: int = Field(default=3000, ge=1)
    max_new_tokens: int = Field(default=1024, ge=1)
    max_waiting: int = Field(default=64, ge=1)
    max_sessions: int = Field(default=16, ge=1)
    max_streams: int = Field(default=4, ge=0)
    max_stream_frames: int = Field(default=8, ge=1)
    session_idle_s: float = Field(default=600, gt=0)
    header_timeout_s: float = Field(default=10, gt=0)
    body_idle_s: float = Field(default=10, gt=0)
    body_timeout_s: float = Field(default=120, gt=0)
    send_timeout_s: float = Field(default=30, gt=0)
    fetch_timeout_s: float = Field(default=10, gt=0)
    shutdown_s: float = Field(default=10, gt=0)
