"""What the browser may do with the dashboard's pages, and who may see them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from dash import Dash
from flask import Response, request

from dsgo.settings import Settings

PING = "/ping"
"""Says that the server runs, and nothing else: open to everybody."""


def protect(app: Dash, settings: Settings, inline: str) -> None:
    """Let the browser load and run nothing but what this server sends, and ask for the password if one is set.

    Args:
        inline: the script that the page has in its head.
    """
    own = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    policy = {
        "default-src": "'self'",
        "script-src": " ".join(["'self'", f"'sha256-{own}'", *app.csp_hashes()]),
        "style-src": "'self' 'unsafe-inline'",  # Dash, Plotly and Mantine add style elements from their scripts
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "font-src": "'self'",
        "object-src": "'none'",
        "worker-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    headers = {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }

    @app.server.get(PING)
    def ping() -> str:
        return "ok"

    @app.server.before_request
    def ask_for_password() -> Response | None:
        if not settings.dashboard_user or request.path == PING or _known(settings):
            return None
        return Response(
            "This dashboard asks for a user and a password.",
            401,
            {"WWW-Authenticate": 'Basic realm="DSGo", charset="UTF-8"'},
            mimetype="text/plain",
        )

    @app.server.after_request
    def add(response: Any) -> Any:
        response.headers.update(headers)
        if settings.dashboard_user and not request.path.startswith("/_dash-component-suites/"):
            response.headers["Cache-Control"] = "no-store"
        return response


def _known(settings: Settings) -> bool:
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    # Both are compared, each in a time that does not depend on how much of it is right.
    user = _equal(given.username or "", settings.dashboard_user)
    password = _equal(given.password or "", settings.dashboard_password)
    return user and password


def _equal(given: str, wanted: str) -> bool:
    digests = (hashlib.sha256(text.encode()).digest() for text in (given, wanted))  # of one length, whatever was given
    return hmac.compare_digest(*digests)
