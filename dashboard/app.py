"""The dashboard: what is in Production, how it does, and what else was tried.

Reads: `projects/*/collection.yaml`, and the registry through `dsgo.registry`, again and again in the background.
Writes: nothing. Serves `http://127.0.0.1:$DSGO_DASHBOARD_PORT`.
Fails when: its port is taken. A registry that is down or empty is shown as a sentence, until it is back.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote

from board import Board
from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate
from latest import Reading
from pages import models, now

from dsgo import settings
from dsgo.errors import DSGoError, ServiceError
from dsgo.settings import HOST, Settings

PAGES = {page.PATH: page for page in (now, models)}
RECHECK = 12.0  # seconds between two questions to the registry; with TICK twice and a load, a promotion shows within 30
TICK = 4.0  # seconds between two questions of a browser to the dashboard
TICK_LOADING = 1.0  # the same until there is something to show
THREADS = 8
log = logging.getLogger("dashboard")

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>{%metas%}<title>{%title%}</title>{%favicon%}{%css%}</head>
<body>
<noscript>The dashboard needs JavaScript.</noscript>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


def create_app(current: Settings, registry: Any = None, *, recheck: float = RECHECK, tick: float = TICK) -> Dash:
    """The application, not yet served. Connects nowhere before the first browser asks.

    Args:
        registry: what answers like `dsgo.registry`; that module itself by default.
        recheck: seconds between two questions to the registry.
        tick: seconds between two questions of an open browser.
    """
    board = Board(current, registry, recheck)
    start = secrets.token_hex(4)  # a restarted server must not look unchanged to an open browser
    app = Dash(
        "dashboard",
        assets_folder=str(settings.CHECKOUT / "dashboard" / "assets"),
        title="DSGo",
        update_title="",
        index_string=INDEX,
        serve_locally=True,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        enable_mcp=False,
    )
    app.layout = html.Div(
        [
            dcc.Location(id="location"),
            dcc.Interval(id="tick", interval=TICK_LOADING * 1000),
            dcc.Store(id="stamp"),
            html.Header([html.A("DSGo", href="/", className="brand"), html.Div(id="navigation")]),
            html.Div(id="banner", role="status"),
            html.Main(html.P("Loading …", className="sentence"), id="body"),
        ]
    )

    @app.callback(
        Output("body", "children"),
        Output("banner", "children"),
        Output("navigation", "children"),
        Output("tick", "interval"),
        Output("stamp", "data"),
        Input("location", "pathname"),
        Input("location", "search"),
        Input("tick", "n_intervals"),
        State("stamp", "data"),
        # The browser drops an answer when it has asked again meanwhile: on a slow machine it would never show one.
        running=[(Output("tick", "disabled"), True, False)],
    )
    def show(path: str | None, search: str | None, _: int | None, stamp: dict[str, str] | None) -> tuple[Any, ...]:
        path = path or "/"
        collection = chosen(search, board)
        page, source = PAGES.get(path), None
        if page and collection in board.production:
            source = page.source(board, collection)
        reading = source.read() if source else Reading()
        today = datetime.now(UTC).date()  # ages in words change by the day
        name = f"{page.NAME if page else 'No such page'} · {collection or 'DSGo'}"
        fresh = {"of": f"{start} {path} {collection} {reading.changes} {today}", "title": f"{name} · DSGo"}
        if stamp == fresh:
            raise PreventUpdate
        loading = source is not None and reading.value is None
        return (
            content(page, collection, reading, board),
            banner(reading),
            navigation(path, collection, board),
            (min(TICK_LOADING, tick) if loading else tick) * 1000,
            fresh,
        )

    app.clientside_callback(
        "(stamp) => { if (stamp) { document.title = stamp.title; } }",
        Input("stamp", "data"),
    )
    protect(app)
    return app


def chosen(search: str | None, board: Board) -> str | None:
    """The collection that the address names, else the first there is."""
    named = parse_qs((search or "").lstrip("?")).get("collection")
    return named[0] if named else next(iter(board.collections), None)


def content(page: Any, collection: str | None, reading: Reading, board: Board) -> Any:
    """The body of a page, or the sentence that says why there is none."""
    known = board.collections.get(collection)
    if page is None:
        return html.P("There is no such page.", className="sentence")
    if collection is None:
        return html.P("There is no collection yet: none has a projects/<name>/collection.yaml.", className="sentence")
    if known is None:
        return html.P(f"There is no collection {collection!r}.", className="sentence")
    if isinstance(known, DSGoError):
        return html.P(str(known), className="sentence")
    if reading.value is None:
        words = "Loading …" if reading.error is None else "Nothing to show yet."
        return [html.H1(known.title), html.P(words, className="sentence")]
    try:
        return page.body(reading.value, known, board)
    except Exception:  # of a page, never blank: say so, and log what happened
        log.exception("The page %s of %s cannot be drawn", page.NAME, collection)
        return html.P("This page cannot be drawn. The dashboard’s log says why.", className="sentence")


def banner(reading: Reading) -> Any:
    """Says that what is shown may be old; None when it is not."""
    if reading.error is None:
        return None
    if isinstance(reading.error, DSGoError):
        reason = str(reading.error)
    elif isinstance(reading.error, TimeoutError):
        reason = "The registry does not answer."
    else:
        reason = f"The registry cannot be read ({type(reading.error).__name__}; the dashboard’s log says more)."
    shown = (
        f" Shown is what it said at {reading.at:%H:%M} UTC on {reading.at.day} {reading.at:%B %Y}."
        if reading.at
        else ""
    )
    return html.P(f"{reason}{shown} The dashboard keeps trying.", className="banner")


def navigation(path: str, collection: str | None, board: Board) -> list[Any]:
    """Links to the pages and to the collections, each keeping the other choice."""

    def link(words: str, to: str, name: str | None, here: bool) -> dcc.Link:
        query = f"?collection={quote(name)}" if name else ""
        return dcc.Link(words, href=to + query, className="here" if here else "")

    pages = [link(page.NAME, to, collection, to == path) for to, page in PAGES.items()]
    stay = path if path in PAGES else "/"
    chooser = [link(name.replace("_", " "), stay, name, name == collection) for name in board.collections]
    return [
        html.Nav(pages, className="pages", **{"aria-label": "Pages"}),
        html.Nav([html.Span("Collection"), *chooser], className="collections", **{"aria-label": "Collections"}),
    ]


def protect(app: Dash) -> None:
    """Let the browser load and run nothing but what this server sends."""
    policy = {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", *app.csp_hashes()]),
        "style-src": "'self' 'unsafe-inline'",  # Dash and Plotly style elements from their scripts
        "img-src": "'self' data: blob:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    header = "; ".join(f"{name} {value}" for name, value in policy.items())

    @app.server.after_request
    def add(response: Any) -> Any:
        response.headers["Content-Security-Policy"] = header
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


def listen(app: Dash, port: int) -> Any:
    """A server of `app`, bound to `port` of the loopback address; `run()` serves, `close()` ends it.

    Raises:
        ServiceError: the port is taken or may not be used.
    """
    from waitress import create_server

    try:
        return create_server(app.server, host=HOST, port=port, threads=THREADS, ident=None)
    except OSError as error:
        taken = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise ServiceError(
            "dashboard", f"port {port} {taken}.", "Set DSGO_DASHBOARD_PORT to a free one, or stop what uses it."
        ) from error


def main() -> int:
    """Serve until stopped. Returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        current = settings.load()
        # A server that is down is noticed at once and asked again soon: long retries would only delay the banner.
        os.environ.update(current.child_environment())
        os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="1", MLFLOW_HTTP_REQUEST_TIMEOUT="10")
        server = listen(create_app(current), current.dashboard_port)
    except DSGoError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    log.info("Dashboard at %s", current.dashboard_url)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
