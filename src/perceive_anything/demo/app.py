"""The page: settings, three tabs, and the server that shows it.

Knows Gradio; fetches nothing from anywhere and sends nothing anywhere.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perceive_anything.errors import OptionError
from perceive_anything.tasks import TEXT_TASKS

if TYPE_CHECKING:
    import gradio as gr

    from perceive_anything.demo.service import Service
    from perceive_anything.pipeline import Perceiver

CSS = (Path(__file__).parent / "demo.css").read_text("utf-8")
FONTS = ("system-ui", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "sans-serif")
MAX_UPLOAD = "200mb"
HEAD = """<div class="pa-head"><h1>Perceive Anything</h1>
<p>Point at anything and read what it is.</p></div>"""


def serve(
    load: Callable[[str], Perceiver],
    *,
    models: tuple[str, ...],
    sources: tuple[str, ...] = (),
    host: str = "127.0.0.1",
    port: int | None = None,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Show the demo until it is interrupted.

    Args:
        load: A name of `models` -> the model.
        models: What visitors may choose; the first is loaded before the page opens.
        sources: Cameras, files and addresses of the stream tab.
        host: Address to listen at.
        port: By default the first that is free from 7860 on.
        ready: Called with the page's address once it can be opened.

    Raises:
        ModelError: The first model cannot be loaded.
        OptionError: The port is taken.
    """
    from perceive_anything.demo.models import Models

    known = Models(models, load)
    _check_port(host, port)
    known.get(models[0])
    with tempfile.TemporaryDirectory(prefix="perceive-demo-") as folder:
        # Gradio reads these when it is imported.
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from perceive_anything.demo.service import Service

        page = build(Service(known, Path(folder), sources))
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            footer_links=[],
            max_file_size=MAX_UPLOAD,
            theme=theme(),
            css=CSS,
            run_history=False,
        )
        ready(address)
        page.block_thread()


def _check_port(host: str, port: int | None) -> None:
    """See that the page can be shown there.

    Raises:
        OptionError: The address is not of this machine, or the port is taken.
    """
    try:
        with socket.create_server((host, port or 0)):
            pass
    except OSError as error:
        raise OptionError(
            f"the demo cannot listen at {host}, port {port or 'any'}: {error.strerror or error}.\n"
            "  Choose another --port, or leave it out; --host is an address of this machine.",
            code="unknown_option",
        ) from error


def build(service: Service) -> gr.Blocks:
    """The page over a service."""
    import gradio as gr

    from perceive_anything.demo.image_tab import ImageTab
    from perceive_anything.demo.service import Settings
    from perceive_anything.demo.stream_tab import StreamTab
    from perceive_anything.demo.video_tab import VideoTab

    names = {"recognize": "Label", "explain": "Explanation", "caption": "Caption"}
    names["describe"] = "Description"
    with gr.Blocks(
        title="Perceive Anything", analytics_enabled=False, fill_width=True,
        delete_cache=(600, 3600),
    ) as page:  # fmt: skip
        with gr.Row(elem_classes="pa-top"):
            gr.HTML(HEAD, apply_default_css=False, elem_classes="pa-plain", min_width=260)
            plain: dict[str, Any] = {"show_label": False, "container": False}
            language = gr.Radio(
                [("English", "en"), ("中文", "zh")], value="en", label="Language", min_width=190,
                scale=0, **plain,
            )  # fmt: skip
            tasks = gr.CheckboxGroup(
                [(names[task], task) for task in TEXT_TASKS], value=list(TEXT_TASKS), label="Texts",
                min_width=510, scale=0, **plain,
            )  # fmt: skip
            choices = list(service.models.names)
            model = gr.Dropdown(
                choices, value=choices[0], label="Model", min_width=160, visible=len(choices) > 1,
                scale=0, **plain,
            )  # fmt: skip
        settings = Settings(language, tasks, model)
        with gr.Tab("Image", id="image"):
            ImageTab(service, settings)
        with gr.Tab("Video", id="video", render_children=True):
            VideoTab(service, settings)
        with gr.Tab("Stream", id="stream", render_children=True):
            StreamTab(service, settings)
        page.unload(service.leave)
    return page


def theme() -> gr.Theme:
    """Gradio's default with fonts of the visitor's own system."""
    import gradio as gr

    return gr.themes.Default(
        primary_hue=gr.themes.colors.indigo, secondary_hue=gr.themes.colors.indigo, font=FONTS
    )
