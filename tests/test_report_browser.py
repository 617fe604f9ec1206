"""The QC page in a real headless Chromium, opened from disk: what it shows, and what its controls and keys do."""

# PyOpenColorIO is a compiled module without stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PyOpenColorIO as ocio  # noqa: N813
import pytest
from plates import natural, save, tiny_model

from bitexpand import color, frames
from bitexpand.code_values import Floats
from bitexpand.jobs import Job
from bitexpand.pipeline import expand_sequence
from bitexpand.report.qc import QcJob, write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="the dev extra brings selenium")
from selenium.webdriver.chrome.webdriver import WebDriver  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and its chromedriver"),
]

LAPTOP = 1366, 768
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--window-size={LAPTOP[0]},{LAPTOP[1]}",
)
HEIGHT, WIDTH = 220, 1000  # so wide that the page thins it, and has a detail


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a report of frames 1 to 5 in ACEScct: 3 is missing, 4 holds NaN."""
    folder = tmp_path_factory.mktemp("qc")
    for number in range(1, 6):
        save(folder / f"in_{number}.png", natural(HEIGHT, WIDTH, seed=number))
    job = Job(
        input=str(folder / "in_#.png"),
        output=str(folder / "out_#.exr"),
        model=tiny_model(folder),
        in_space="ACEScct",
        device="cpu",
        threads=1,
    )
    assert [result.status for result in expand_sequence(job)] == ["written"] * 5
    (folder / "out_3.exr").unlink()
    frame = frames.read_frame(folder / "out_4.exr")
    frame.pixels[40:60, 100:140] = np.nan
    frames.write_frame(folder / "out_4.exr", frame.pixels, frame.info, frame.info.attributes)
    write_report(QcJob(source=job.input, result=job.output, metrics=False), folder / "report.html")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def report(browser: WebDriver, folder: Path) -> Iterator[WebDriver]:
    """Return the browser with the report loaded afresh; afterwards nothing may have gone wrong in it."""
    browser.get("about:blank")
    browser.get_log("performance")  # what the browser's own first page asked for
    browser.get((folder / "report.html").as_uri())
    WebDriverWait(browser, 20, 0.02).until(lambda b: b.execute_script("return document.body.dataset.thumbs"))
    yield browser
    assert severe(browser) == []


def severe(browser: WebDriver) -> list[str]:
    """Return the console's errors, which are also what the policy refused."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def one(report: WebDriver, selector: str) -> WebElement:
    return report.find_element("css selector", selector)


def shown(report: WebDriver, canvas: str) -> npt.NDArray[np.uint8]:
    """Return the pixels of a canvas, (H, W, 3)."""
    script = """const c = document.getElementById(arguments[0]);
      const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
      let s = ''; for (let i = 0; i < d.length; i += 4096) s += String.fromCharCode(...d.subarray(i, i + 4096));
      return [c.width, c.height, btoa(s)];"""
    width, height, encoded = report.execute_script(script, canvas)
    return np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(height, width, 4)[..., :3]


def go(report: WebDriver, key: str, index: int) -> None:
    one(report, "body").send_keys(key)
    arrived(report, index)


def arrived(report: WebDriver, index: int) -> None:
    WebDriverWait(report, 5, 0.02).until(
        lambda b: b.execute_script("return document.body.dataset.shown") == str(index)
    )


def changes(report: WebDriver, act: Callable[[], object], canvas: str = "after") -> npt.NDArray[np.uint8]:
    """Do something and return the pixels, once they are other than before."""
    before = shown(report, canvas)
    act()

    def changed(_: WebDriver) -> bool:
        now = shown(report, canvas)
        return now.shape != before.shape or not np.array_equal(now, before)

    WebDriverWait(report, 5, 0.02).until(changed)
    return shown(report, canvas)


def viewed(signal: Floats, stops: float) -> npt.NDArray[np.floating]:
    """Return a plate in ACEScct through the config's default view, by OpenColorIO itself, in display codes."""
    linear = color.conversion(color.load_config(color.PINNED_CONFIG), "ACEScct", "scene_linear").apply(signal)
    linear *= np.float32(2**stops)
    transform = ocio.DisplayViewTransform("scene_linear", "sRGB - Display", "ACES 1.0 - SDR Video")
    cpu = ocio.Config.CreateFromFile(color.PINNED_CONFIG).getProcessor(transform).getDefaultCPUProcessor()
    cpu.apply(ocio.PackedImageDesc(linear, linear.shape[1], linear.shape[0], 3))
    return linear.clip(0, 1) * 255


def plate(folder: Path, number: int, stride: int = 1) -> tuple[Floats, Floats]:
    """Return a frame before and after as signals, thinned."""
    source = frames.read_frame(folder / f"in_{number}.png").pixels.astype(np.float32) / np.float32(255)
    result = frames.read_frame(folder / f"out_{number}.exr").pixels.astype(np.float32)
    thin = np.s_[::stride, ::stride]
    return np.ascontiguousarray(source[thin], np.float32), np.ascontiguousarray(result[thin])


def test_pictures_are_what_opencolorio_shows(report: WebDriver, folder: Path) -> None:
    go(report, Keys.HOME, 0)
    assert "every 2nd pixel" in one(report, "#caption").text
    before, after = plate(folder, 1, stride=2)
    for stops in (0, 2, -3):
        report.execute_script(
            "const e = document.getElementById('exposure'); e.value = arguments[0];"
            "e.dispatchEvent(new Event('input')); return new Promise(requestAnimationFrame)",
            stops,
        )
        for name, signal in (("before", before), ("after", after)):
            off = np.abs(shown(report, name) - viewed(signal, stops))
            assert off.mean() < 1
            assert np.quantile(off, 0.9) < 1.5  # the rest is of colours that the display clips


def test_code_values_are_shown_to_the_step(report: WebDriver, folder: Path) -> None:
    go(report, Keys.HOME, 0)
    before, after = plate(folder, 1, stride=2)
    found = changes(report, lambda: one(report, "#view option[value=codes]").click())
    assert np.array_equal(shown(report, "before"), np.rint(before * 255))
    assert np.abs(found - after * 255).max() <= 0.5 + 1 / 256
    gained = changes(report, lambda: one(report, "#exposure").send_keys(*[Keys.ARROW_RIGHT] * 4))
    assert np.abs(gained - (after * 2 * 255).clip(0, 255)).max() <= 0.5 + 1 / 128


def test_controls_change_the_picture(report: WebDriver) -> None:
    first = shown(report, "after")
    brighter = changes(report, lambda: one(report, "#exposure").send_keys(Keys.ARROW_RIGHT))
    assert brighter.mean() > first.mean()
    assert one(report, "output[for=exposure]").text == "+0.25 stops"
    assert one(report, "#exposure").get_attribute("aria-valuetext") == "+0.25 stops"
    lifted = changes(report, lambda: one(report, "#gamma").send_keys(Keys.ARROW_RIGHT))
    assert lifted.mean() > brighter.mean()
    assert not one(report, "#gain").is_enabled()
    back = changes(report, lambda: one(report, "#reset").click())
    assert np.array_equal(back, first)


def test_stretched_shows_the_bands_and_how_they_went(report: WebDriver) -> None:
    go(report, Keys.HOME, 0)
    changes(report, lambda: one(report, "[value=stretched]").click())
    ramp = np.s_[40:140, 60:200]  # a soft gradient
    steps = {
        side: np.abs(np.diff(shown(report, side)[ramp].astype(int), axis=1)) for side in ("before", "after")
    }
    assert np.quantile(steps["before"], 0.999) >= 6  # what is 1 as it is becomes a step to see
    weak = changes(report, lambda: one(report, "#gain").send_keys(Keys.HOME))
    assert np.abs(np.diff(weak[ramp].astype(int), axis=1)).mean() < steps["after"].mean()
    assert not one(report, "#exposure").is_enabled()


def test_moves_are_mapped_and_what_left_its_bin_is_marked(report: WebDriver, folder: Path) -> None:
    go(report, "w", 3)  # the frame with NaN is the worst
    assert "NaN or Inf" in one(report, "#state").text
    go(report, "3", 3)
    found = shown(report, "map")
    out = (found == (255, 46, 99)).all(axis=2)
    _, after = plate(folder, 4, stride=2)
    assert np.array_equal(out, np.isnan(after).any(axis=2))
    assert not one(report, "#compare").is_displayed()
    go(report, Keys.HOME, 0)
    before, after = plate(folder, 1, stride=2)
    moved = np.abs(after - before).max(axis=2)
    brightness = shown(report, "map").sum(axis=2)
    assert brightness[moved > np.quantile(moved, 0.9)].mean() > 1.5 * brightness[moved < 1e-4].mean()


def test_the_divider_follows_mouse_and_keys(report: WebDriver) -> None:
    slider = one(report, "#slider")
    assert slider.get_attribute("aria-valuenow") == "50"
    width = slider.size["width"]
    ActionChains(report).move_to_element(slider).click_and_hold().move_by_offset(
        width // 4, 0
    ).release().perform()
    assert 73 <= float(report.execute_script("return arguments[0].value", slider)) <= 77
    assert slider.get_attribute("aria-valuetext") == "75 % before"
    picture = slider.screenshot_as_png
    shown_index = one(report, "body").get_attribute("data-shown")
    ActionChains(report).key_down(Keys.ARROW_LEFT).pause(0.3).key_up(Keys.ARROW_LEFT).perform()
    assert float(slider.get_attribute("aria-valuenow") or "nan") < 75
    assert slider.screenshot_as_png != picture
    assert one(report, "body").get_attribute("data-shown") == shown_index  # the arrow moved the divider alone


def test_keys_thumbs_links_and_plots_jump_to_frames(report: WebDriver) -> None:
    go(report, Keys.HOME, 0)
    assert one(report, "#name").text == "Frame 1"
    go(report, Keys.ARROW_RIGHT, 1)
    go(report, Keys.END, 4)
    go(report, Keys.PAGE_UP, 3)
    one(report, "#thumbs li:nth-child(2) a").click()
    arrived(report, 1)
    assert one(report, "#thumbs [aria-current]").get_attribute("aria-label") == "Frame 2"
    one(report, "#next").click()
    arrived(report, 2)
    assert one(report, "#message").text == "No picture of frame 3: missing"
    assert not one(report, "#compare").is_displayed()
    one(report, ".tiles a").click()
    arrived(report, 3)
    plot = one(report, ".plot svg")
    ActionChains(report).move_to_element_with_offset(plot, 2 - plot.size["width"] // 2, 0).click().perform()
    arrived(report, 0)


def test_the_detail_is_shown_pixel_by_pixel(report: WebDriver, folder: Path) -> None:
    go(report, Keys.HOME, 0)
    changes(report, lambda: one(report, "#view option[value=codes]").click())
    part = changes(report, lambda: one(report, "body").send_keys("d"), canvas="before")
    x, y = (int(word.rstrip(",:")) for word in one(report, "#caption").text.split()[3:6:2])
    before, _ = plate(folder, 1)
    assert np.array_equal(part, np.rint(before[y : y + part.shape[0], x : x + part.shape[1]] * 255))


def test_everything_has_a_name_and_nothing_is_cut(report: WebDriver) -> None:
    selector = "button, select, input, a, canvas[role=img], svg[role=img], img-comparison-slider"
    for element in report.find_elements("css selector", selector):
        if element.is_displayed():
            assert element.accessible_name.strip(), element.get_attribute("outerHTML")
    wide, inner = report.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= inner
    bottom = report.execute_script("return document.getElementById('compare').getBoundingClientRect().bottom")
    assert bottom < LAPTOP[1] - 150  # the picture fits a laptop's screen


def test_nothing_is_asked_of_any_network(report: WebDriver, folder: Path) -> None:
    asked = [
        json.loads(entry["message"])["message"]["params"]["request"]["url"]
        for entry in report.get_log("performance")
        if json.loads(entry["message"])["message"]["method"] == "Network.requestWillBeSent"
    ]
    assert {url.partition("#")[0] for url in asked} == {(folder / "report.html").as_uri()}
    assert report.execute_script("return performance.getEntriesByType('resource').length") == 0
    with pytest.raises(Exception, match=r"Failed to fetch|Refused|violates"):
        report.execute_script("return fetch('http://127.0.0.1:9/x')")
    assert "Content Security Policy" in severe(report)[0]


def test_it_prints(report: WebDriver) -> None:
    assert base64.b64decode(report.print_page()).startswith(b"%PDF")
