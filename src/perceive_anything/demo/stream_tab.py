"""The stream tab: the visitor's webcam, or a source that the operator allows; captions as events.

Knows Gradio's components and events; what they do is the business of `live`.
"""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from perceive_anything.demo import cards
from perceive_anything.demo.live import LIVE_PX, Live
from perceive_anything.demo.prompter import prompter, region_of, sent
from perceive_anything.demo.service import QUIET, Service, Settings
from perceive_anything.errors import OptionError, PromptError
from perceive_anything.media import Pixels

Tasks = list[str]  # Gradio reads annotations while it runs
Shown = tuple[object, object]
EMPTY = (
    "Start the webcam, then click on something in the picture: it is followed, and what it does is "
    "written here, event by event."
)
EVERY_S, WEBCAM_LIMIT_S = 0.15, 600
# As large as what is shown. By default Gradio asks for 1920x1440, and the browser has no time for
# anything but packing pictures.
IDEAL = {"width": {"ideal": LIVE_PX}, "height": {"ideal": LIVE_PX * 3 // 4}}
CAMERA = gr.WebcamOptions(mirror=False, constraints={"video": IDEAL})


class StreamTab:
    """The tab; made inside `gr.Blocks`.

    Args:
        service: The demo.
        settings: Language, tasks and model; the tasks do not matter here.
    """

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        names = service.source_names()
        with gr.Row():
            with gr.Column(scale=7, min_width=320):
                self.canvas = prompter("live")
            with gr.Column(scale=4, min_width=300):
                with gr.Group(visible=bool(names)):
                    source = gr.Dropdown(
                        [(name, number) for number, name in enumerate(names)],
                        value=0 if names else None, label="Source", elem_id="pa-source",
                    )  # fmt: skip
                    with gr.Row():
                        play = gr.Button("Play", variant="primary", elem_id="pa-play")
                        stop = gr.Button("Stop", elem_id="pa-stop")
                webcam = gr.Image(
                    sources="webcam", streaming=True, type="numpy", label="Your webcam", height=240,
                    elem_id="pa-webcam", webcam_options=CAMERA,
                )  # fmt: skip
                self.events = gr.HTML(
                    f'<p class="pa-hint">{EMPTY}</p>',
                    js_on_load=cards.JS,
                    apply_default_css=False,
                    elem_classes="pa-plain",
                )
        outputs = [self.canvas, self.events]
        frames = {name: value for name, value in QUIET.items() if name != "trigger_mode"}
        webcam.stream(
            self.on_frame, [webcam, *settings.all], outputs,
            stream_every=EVERY_S, time_limit=WEBCAM_LIMIT_S, **frames,
        )  # fmt: skip
        self.canvas.act(self.on_act, None, outputs, **QUIET)
        self.events.remove(self.on_remove, None, outputs, **QUIET)
        play.click(self.on_play, [source, *settings.all], outputs, **QUIET)
        stop.click(self.on_stop, None, outputs, **QUIET)

    def on_frame(
        self, array: Pixels | None, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Shown:
        """A picture of the webcam."""
        if array is None:
            return gr.skip(), gr.skip()
        visitor = self._service.visitor(request)
        with self._service.told():
            live = visitor.live
            if live is None or live.stopped or not live.fits(array, language, model):
                live = self._begin(request, language, model)
            live.push(array)
        return self._shown(request)

    def on_play(
        self, number: int | None, request: gr.Request, language: str, tasks: Tasks, model: str
    ) -> Iterator[Shown]:
        """Show a source until it ends or is stopped."""
        with self._service.told():
            if not isinstance(number, int) or not 0 <= number < len(self._service.sources):
                raise OptionError("choose a source first.\n  See the list.", code="unknown_option")
            live = self._begin(request, language, model)
            for _ in live.play(self._service.sources[number]):
                yield self._shown(request)
        yield self._shown(request)

    def on_act(self, event: gr.EventData, request: gr.Request) -> Shown:
        """A gesture on the picture."""
        with self._service.told():
            live = self._service.visitor(request).live
            if live is None or live.stopped:
                raise PromptError(
                    "there is no picture yet.\n  Start the webcam or a source first.",
                    code="prompt_missing",
                )
            live.point(sent(event))
        return self._shown(request)

    def on_remove(self, event: gr.EventData, request: gr.Request) -> Shown:
        """A region was closed."""
        live, number = self._service.visitor(request).live, region_of(sent(event))
        if live is not None and number is not None:
            live.remove(number)
        return self._shown(request)

    def on_stop(self, request: gr.Request) -> Shown:
        """End the stream; the open captions are written."""
        live = self._service.visitor(request).live
        if live is not None:
            live.close()
        return self._shown(request)

    def _begin(self, request: gr.Request, language: str, model: str) -> Live:
        visitor, models = self._service.visitor(request), self._service.models
        if visitor.live is not None:
            visitor.live.close()
        visitor.live = Live(models.get(model), models.lock, language)
        return visitor.live

    def _shown(self, request: gr.Request) -> Shown:
        live = self._service.visitor(request).live
        if live is None:
            return gr.skip(), gr.skip()
        return gr.HTML(value=live.view(), photo=live.frame_uri), live.html(EMPTY)
