"""In each engine: the layer that drives it reads its console and sets its size."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.engines import ENGINES, Engine
from tests.browser.windows import Window

pytestmark = pytest.mark.slow

COMPLAIN = """
console.warn("careful");
const later = document.createElement("script");
later.textContent = "1";
document.head.append(later);
setTimeout(() => { throw new Error("thrown"); });
Promise.reject(new Error("rejected"));
"""


def test_console_is_read(engine: Engine, open_window: Callable[..., Window]) -> None:
    window = open_window()
    window.open("/auth/sign-in")
    assert engine.read_console() == []
    window.script(COMPLAIN)
    complaints: list[str] = []

    def has_all() -> bool:
        complaints.extend(engine.read_console())
        text = " ".join(complaints)
        words = ("careful", "thrown", "rejected", "script-src")
        return all(word in text for word in words)

    window.until(has_all, "complaints")


def test_windows_share_a_session_and_have_their_sizes(
    engine: Engine, open_window: Callable[..., Window]
) -> None:
    first, second = open_window(), open_window(engine.narrowest)
    for window, width in ((first, 1280), (second, engine.narrowest)):
        window.open("/auth/sign-in")
        shown = window.script("return [innerWidth, document.visibilityState]")
        assert shown == [width, "visible"]
    first.script("document.cookie = 'shared=1'")
    assert "shared=1" in second.script("return document.cookie")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("chromium", "chromium"),
        ("firefox", "firefox-esr"),
        ("webkit", "webkit2gtk-driver"),
    ],
)
def test_missing_engine_is_told_with_the_command_that_adds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, command: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"To add it: sudo apt install {command}$"):
        ENGINES[name](tmp_path / name)
