"""The swarm in Locust's web UI: a tab, validation of its form, and the live page with plots.

Everything that the page needs is served from the installed packages; nothing is fetched from elsewhere.
"""

import logging
from argparse import Namespace
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import flask
import msgspec
from flask import Blueprint, Response, jsonify, request, send_from_directory
from flask_login import current_user  # type: ignore[import-untyped]
from locust.env import Environment
from locust.runners import STATE_INIT, STATE_RUNNING, STATE_SPAWNING, STATE_STOPPED
from locust.web import WebUI

from chat_swarm.locust_plugin.live_view import LiveSource, LiveView
from chat_swarm.locust_plugin.options import (
    PlanError,
    apply_weights,
    build_plan,
    changed_options,
    same_server,
    with_form_values,
)

log = logging.getLogger(__name__)

TAB_KEY: Final = "swarm"
TAB_COLUMNS: Final = {
    "metric": "Metric",
    "meaning": "Meaning",
    "per_second": "Per second",
    "p50": "p50 (ms)",
    "p90": "p90 (ms)",
    "p99": "p99 (ms)",
    "p999": "p99.9 (ms)",
    "max": "max (ms)",
}
"""The tab's columns. None may be called `name`: Locust would sort the rows by it."""

_PAGE_FOLDER: Final = Path(__file__).parent / "page"
_REPORT_FOLDER: Final = Path(__file__).parents[1] / "report" / "page"
_PAGE_FILES: Final = {"live.js": _PAGE_FOLDER, "live.css": _PAGE_FOLDER, "report.css": _REPORT_FOLDER}
_LINK: Final = (
    '<a href="./swarm" style="position:fixed;left:16px;bottom:16px;z-index:9;padding:8px 16px;'
    "border-radius:999px;background:#0b7a5c;color:#fff;font:600 14px system-ui,sans-serif;"
    'text-decoration:none">Swarm: live plots</a>'
)
_PAGE_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)
_REPORT_CSP: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def install(environment: Environment, source: LiveSource) -> None:
    """Extend Locust's web UI, if there is one; in Locust's `init` event.

    MUST be called before load shapes are installed, so that their form handler never sees a refused form.
    """
    web_ui = environment.web_ui
    if web_ui is None or web_ui.app is None:
        return
    options = environment.parsed_options
    view = LiveView(source)
    web_ui.app.before_request(_reject_cross_origin)
    web_ui.app.before_request(lambda: _check_form(environment, web_ui))
    web_ui.app.after_request(lambda response: _extend_response(response, view))
    web_ui.app.register_blueprint(_page_routes(web_ui, view, getattr(options, "web_base_path", "") or None))
    web_ui.template_args |= {
        "extended_tabs": [{"title": "Swarm", "key": TAB_KEY}],
        "extended_tables": [
            {
                "key": TAB_KEY,
                "structure": [{"key": key, "title": title} for key, title in TAB_COLUMNS.items()],
            }
        ],
        "extended_csv_files": [{"href": "./swarm", "title": "Swarm: live percentile curve and timeline"}],
    }
    if options is not None:
        _fill_form_from_options(web_ui.app, options)


def _fill_form_from_options(app: flask.Flask, options: Namespace) -> None:
    """Have the form show the last run's values; Locust would fill it from the command line at each reload."""

    def fill(_: object, context: dict[str, Any], **__: object) -> None:
        for name, field in context.get("template_args", {}).get("extra_options", {}).items():
            field["default_value"] = getattr(options, name, field["default_value"])

    flask.before_render_template.connect(fill, app, weak=False)


def _reject_cross_origin() -> Response | None:
    """Refuse cross-origin requests: Locust itself accepts them from any site, forms included."""
    origin = request.headers.get("Origin")
    if origin is None or urlsplit(origin).netloc == request.host:
        return None
    log.error("Refused: cross-origin request from %r for %s", origin, request.path)
    return Response("Cross-origin requests are not allowed.\n", status=403, mimetype="text/plain")


def _check_form(environment: Environment, web_ui: WebUI) -> Response | None:
    """Refuse an invalid form, with a sentence that Locust's page shows; set the classes' weights.

    Runs before Locust handles the form: its own conversion stops at the first error, half applied, and then
    it makes the dispatcher.
    """
    options, runner = environment.parsed_options, environment.runner
    if request.endpoint != "locust.swarm" or options is None or runner is None:
        return None
    if web_ui.web_login and not current_user.is_authenticated:
        return None  # Locust refuses it
    try:
        new = with_form_values(options, request.form)
        if runner.state in {STATE_SPAWNING, STATE_RUNNING}:
            names = changed_options(options, new)
            if (host := request.form.get("host")) and not same_server(host, environment.host):
                # Locust would accept it, and go on with the old one.
                names.insert(0, f"the host (now {environment.host})")
            if names:
                raise PlanError(f"{', '.join(names)} cannot change during a run: stop it first")  # noqa: TRY301
            return None
        if runner.state not in {STATE_INIT, STATE_STOPPED}:
            raise PlanError(f"the last run is still {runner.state}; try again when it has stopped")  # noqa: TRY301
        if web_ui.userclass_picker_is_active:
            new.user_classes = request.form.getlist("user_classes")
        plan = build_plan(new, request.form.get("host") or environment.host)
        apply_weights(environment, new)
    except PlanError as refused:
        log.error("Refused: %s", refused)
        return jsonify({"success": False, "message": str(refused), "host": environment.host})
    for sentence in plan.warnings():
        log.warning("%s", sentence)
    return None


def _extend_response(response: Response, view: LiveView) -> Response:
    """Add the tab's rows to Locust's statistics, and a link to the live page to its index."""
    if request.endpoint == "locust.request_stats" and response.is_json:
        extended = {**response.get_json(), "extended_stats": [{"key": TAB_KEY, "data": view.tab_rows()}]}
        response.set_data(msgspec.json.encode(extended))
    elif request.endpoint == "locust.index" and response.mimetype == "text/html":
        response.set_data(response.get_data(as_text=True).replace("</body>", f"{_LINK}</body>", 1))
    return response


def _page_routes(web_ui: WebUI, view: LiveView, base: str | None) -> Blueprint:
    """Return the live page's routes; with `--web-login` they require a login."""
    pages = Blueprint("swarm", __name__, url_prefix=base)
    guarded: Callable[[Callable[..., Response]], Callable[..., Response]] = web_ui.auth_required_if_enabled

    @pages.get("/swarm")
    @guarded
    def page() -> Response:
        return _with_csp(send_from_directory(_PAGE_FOLDER, "live.html"), _PAGE_CSP)

    @pages.get("/swarm/data")
    @guarded
    def data() -> Response:
        since = request.args.get("since", default=0, type=int)
        found = view.data(request.args.get("run", ""), since)
        return Response(msgspec.json.encode(found), mimetype="application/json")  # not jsonify: it indents

    @pages.get("/swarm/plotly.js")
    @guarded
    def plotly() -> Response:
        found = find_spec("plotly")  # not imported: that would block the bots of this process
        if found is None or not found.submodule_search_locations:
            flask.abort(404)
        where = Path(found.submodule_search_locations[0]) / "package_data"
        return send_from_directory(where, "plotly.min.js", max_age=86_400)

    @pages.get("/swarm/<name>")
    @guarded
    def part(name: str) -> Response:
        if name not in _PAGE_FILES:
            flask.abort(404)
        return send_from_directory(_PAGE_FILES[name], name)

    @pages.get("/swarm/runs/<int:number>/<path:name>")
    @guarded
    def file(number: int, name: str) -> Response:
        finished = view.source.finished
        if number >= len(finished):
            flask.abort(404)
        directory = finished[number].resolve()
        if not (directory / name).resolve().is_relative_to(directory):
            flask.abort(404)  # Flask refuses `..`; this also refuses symbolic links that lead out
        return _with_csp(send_from_directory(directory, name), _REPORT_CSP)

    return pages


def _with_csp(response: Response, policy: str) -> Response:
    response.headers["Content-Security-Policy"] = policy
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
