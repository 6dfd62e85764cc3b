"""A headless Chromium at the demo's page, with the moves that its tests make."""

import os
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

SHOTS = Path(os.environ.get("PERCEIVE_DEMO_SHOTS") or Path(__file__).parents[1] / "out" / "demo")
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
WAIT_S = 60
# A click in the page itself, and the milliseconds until its region is drawn.
CLICK_MS = """
const [place, done] = arguments, root = document.querySelector('[data-kind=image]');
const fit = root.querySelector('.pa-fit'), frame = fit.getBoundingClientRect();
const at = {bubbles: true, pointerId: 1, pointerType: 'mouse', button: 0,
  clientX: frame.left + place[0] * frame.width, clientY: frame.top + place[1] * frame.height};
fit.setPointerCapture = () => {};
const before = Number(root.dataset.regions), began = performance.now();
new MutationObserver((_, observer) => {
  if (Number(root.dataset.regions) <= before) return;
  observer.disconnect();
  requestAnimationFrame(() => done(performance.now() - began));
}).observe(root, {attributes: true});
fit.dispatchEvent(new PointerEvent('pointerdown', at));
fit.dispatchEvent(new PointerEvent('pointerup', at));
"""
# A mask is a picture of its own, and is drawn when it has been read.
DRAWN = """
const done = arguments[0], frame = (next) => requestAnimationFrame(() => setTimeout(next));
frame(() => frame(() => frame(done)));
"""
TOASTS = """
return [...document.querySelectorAll('.toast-body')].map((toast) => toast.innerText).join('')
"""
# In one go, as the page may draw the card anew between two questions.
TEXTS = """
const card = document.querySelector('.pa-open');
if (!card || card.querySelector('.pa-caret') || !card.querySelector('dd[data-task]')) return null;
const said = {recognize: card.querySelector('.pa-name').textContent};
for (const row of card.querySelectorAll('dd[data-task]')) said[row.dataset.task] = row.textContent;
return said;
"""


class Page:
    """The demo in a browser.

    Args:
        address: Of the demo.
        driver_path: chromedriver.
        downloads: Folder for downloads.
    """

    def __init__(self, address, driver_path, downloads):
        self.address, self.downloads = address, downloads
        options = ChromeOptions()
        for argument in ARGUMENTS:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        self.driver = Chrome(options=options, service=Service(driver_path))
        self.kind = "image"

    def load(self, width=1280, height=860, *, dark=False, phone=False):
        """Open the page anew, in a window of this size."""
        self.window(width, height, phone=phone)
        self.cdp("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])
        self.driver.get("about:blank")
        self.errors()  # of requests that the last page left open
        self.driver.get(self.address)
        self.script("performance.setResourceTimingBufferSize(10000)")
        self.kind = "image"
        self.wait(lambda: self.all(".pa-examples button"))

    def window(self, width, height, *, phone=False):
        """Give the window another size."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1}
        self.cdp("Emulation.setDeviceMetricsOverride", **metrics, mobile=phone)

    def cdp(self, command, **parameters):
        """A command of Chromium's own protocol."""
        return self.driver.execute_cdp_cmd(command, parameters)

    def tab(self, name, kind):
        """Go to another tab."""
        self.driver.find_element(By.XPATH, f"//button[@role='tab'][contains(., '{name}')]").click()
        self.kind = kind
        self.wait(lambda: self.one(".pa-stage").is_displayed())

    def one(self, selector, inside=None):
        """The element, of the current tab's canvas unless `inside` is "" or another."""
        prefix = f"#pa-{self.kind} " if inside is None else inside
        return self.driver.find_element(By.CSS_SELECTOR, prefix + selector)

    def all(self, selector):
        """Elements of the current tab's canvas."""
        return self.driver.find_elements(By.CSS_SELECTOR, f"#pa-{self.kind} {selector}")

    def wait(self, condition, seconds=WAIT_S):
        """Until a condition holds; its value."""
        return WebDriverWait(self.driver, seconds, 0.05).until(lambda _: condition())

    def example(self, number):
        """Pick an example."""
        self.all(".pa-examples button")[number].click()
        self.shown()

    def open(self, path):
        """Choose a file."""
        before = self.one("img").get_attribute("src")
        self.one(".pa-file input").send_keys(str(path))
        self.wait(lambda: self.one("img").get_attribute("src") != before)
        self.shown()

    def shown(self):
        """Wait until the picture is there, and where it belongs."""
        self.wait(lambda: self.one(".pa-fit").is_displayed())
        self.wait(lambda: self.script("return arguments[0].complete", self.one("img")))
        self.script("arguments[0].scrollIntoView({block: 'nearest'})", self.one(".pa-fit"))

    def script(self, code, *arguments):
        """Run JavaScript."""
        return self.driver.execute_script(code, *arguments)

    def offset(self, place):
        """A place on the picture, shares of its sides, from its middle in pixels."""
        rect = self.one(".pa-fit").rect
        return tuple(
            round((share - 0.5) * rect[side])
            for share, side in zip(place, ("width", "height"), strict=True)
        )

    def at(self, place):
        """The mouse over a place on the picture."""
        return ActionChains(self.driver, 50).move_to_element_with_offset(
            self.one(".pa-fit"), *self.offset(place)
        )

    def click(self, place, *, right=False):
        """Click on a place."""
        there = self.at(place)
        (there.context_click() if right else there.click()).perform()

    def click_ms(self, place):
        """Click on a place; milliseconds until its mask is there."""
        return self.driver.execute_async_script(CLICK_MS, place)

    def drag(self, *places):
        """Press at the first place, move over the others, let go."""
        self.at(places[0]).click_and_hold().perform()
        for place in places[1:]:
            self.at(place).perform()
        ActionChains(self.driver).release().perform()

    def touch(self, *places):
        """A finger down at the first place, over the others, and up."""
        builder = ActionBuilder(self.driver, mouse=PointerInput("touch", "finger"))
        finger, fit = builder.pointer_action, self.one(".pa-fit")
        finger.move_to(fit, *self.offset(places[0])).pointer_down()
        for place in places[1:]:
            finger.move_to(fit, *self.offset(place))
        finger.pointer_up()
        builder.perform()

    def tool(self, name):
        """Choose a tool."""
        self.one(f"[data-tool={name}]").click()

    def press(self, name):
        """A button of the toolbar."""
        self.one(f"[data-act={name}]").click()

    @property
    def regions(self):
        """How many regions the canvas shows, once it has answered."""
        state = self.driver.find_element(By.CSS_SELECTOR, f"[data-kind={self.kind}]")
        waiting = state.get_attribute("data-waiting")
        return -1 if waiting else int(state.get_attribute("data-regions") or 0)

    def has(self, regions):
        """Wait for so many regions."""
        self.wait(lambda: self.regions == regions)

    def texts(self):
        """Wait until no text is being written; the words of the open card by task."""
        return self.wait(lambda: self.script(TEXTS))

    def ink(self, *places):
        """How much is drawn over places of the picture, 0..255 each."""
        return self.script(
            "const c = arguments[0], pen = c.getContext('2d'); return arguments[1].map(([x, y]) =>"
            "pen.getImageData(Math.round(x * c.width), Math.round(y * c.height), 1, 1).data[3])",
            self.one("canvas"), places,
        )  # fmt: skip

    def download(self, button, name):
        """Press a download button; the file."""
        path = self.downloads / name
        path.unlink(missing_ok=True)
        self.driver.find_element(By.ID, button).click()
        self.wait(path.exists)
        return path

    def language(self, name):
        """Choose the language of the texts."""
        self.driver.find_element(By.XPATH, f"//label[contains(., '{name}')]").click()

    def warning(self):
        """Wait for a message; its text."""
        body = self.wait(lambda: self.script(TOASTS))
        self.script("document.querySelectorAll('.toast-close').forEach((cross) => cross.click())")
        self.wait(lambda: not self.script(TOASTS))
        return body

    def shot(self, name):
        """Keep a picture of the window."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.execute_async_script(DRAWN)
        self.driver.save_screenshot(str(SHOTS / f"{name}.png"))

    def requested(self):
        """Addresses that the page asked for since it was loaded."""
        return set(self.script("return performance.getEntriesByType('resource').map(e => e.name)"))

    def errors(self):
        """What the page complained about since the last call."""
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]
