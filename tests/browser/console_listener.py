"""What pages complain about, for a browser whose driver does not tell.

The app of a test serves its pages with one more script, which comes before all others.
"""

from collections.abc import Iterable
from typing import Any

from flask import Flask, Response

SCRIPT_PATH, REPORT_PATH = "/console-listener.js", "/console-report"
SCRIPT = b"""{
  const report = (...words) => navigator.sendBeacon("/console-report", words.join(" "));
  addEventListener("error", ({ message, error, target }) => {
    report(message ?? `not loaded: ${target.src ?? target.href}`, error?.stack);
  }, true);
  addEventListener("unhandledrejection", ({ reason }) => report("rejected:", reason));
  document.addEventListener("securitypolicyviolation", (event) =>
    report("CSP:", event.effectiveDirective, event.blockedURI, event.sourceFile));
  for (const name of ["error", "warn"]) {
    const log = console[name].bind(console);
    console[name] = (...words) => { report(name, ...words); log(...words); };
  }
}
"""


class ConsoleListener:
    """Has the pages of an app report to `complaints`."""

    def __init__(self, app: Flask, complaints: list[str]) -> None:
        self._app, self._complaints = app.wsgi_app, complaints
        app.wsgi_app = self  # type: ignore[method-assign]
        app.after_request_funcs.setdefault(None, []).append(_add_script)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == SCRIPT_PATH:
            start_response("200 OK", [("Content-Type", "text/javascript")])
            return [SCRIPT]
        if environ["PATH_INFO"] == REPORT_PATH:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            self._complaints.append(environ["wsgi.input"].read(length).decode())
            start_response("204 No Content", [])
            return []
        return self._app(environ, start_response)


def _add_script(response: Response) -> Response:
    if response.mimetype == "text/html" and not response.is_streamed:
        script = f'<head><script src="{SCRIPT_PATH}"></script>'
        response.set_data(response.get_data(as_text=True).replace("<head>", script, 1))
    return response
