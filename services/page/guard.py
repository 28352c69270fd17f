"""Who may talk to the page: loopback needs nothing, elsewhere a token; plus the headers that keep scripts out."""

from __future__ import annotations

import ipaddress
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "braggwatch_token"
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A supervisor's probes carry no token, and these say nothing about samples.
_OPEN_PATHS = frozenset({"/livez", "/readyz", "/login", "/static/style.css", "/static/icon.svg", "/static/theme.js"})
_LOGIN_BODY_LIMIT = 4096

LOGIN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Braggwatch</title>
<link rel="stylesheet" href="/static/style.css"><script src="/static/theme.js"></script>
<body class="login"><form method="post" action="/login" class="panel"><h1>Braggwatch</h1>
<label>Access token <input name="token" type="password" autocomplete="current-password" autofocus required></label>
<button class="quiet">Open</button></form></body></html>"""


def is_loopback(host: str) -> bool:
    """Return whether listening on ``host`` can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def usable_tokens(*tokens: SecretStr | None) -> tuple[str, ...]:
    """Return the tokens that can keep anyone out: a blank one is none, as a request without a token would match it."""
    texts = (token.get_secret_value() for token in tokens if token is not None)
    return tuple(text for text in texts if text.strip())


class Guard:
    """ASGI middleware: checks the token and the Host header, and adds the security headers to every answer.

    Parameters
    ----------
    tokens
        Any of them lets in; none at all lets everyone in: only for loopback.
    loopback_only
        Refuse a Host header that names another machine, so that a web page elsewhere can't reach us through a DNS name
        that it points at 127.0.0.1.
    """

    def __init__(self, app: ASGIApp, *, tokens: tuple[str, ...], loopback_only: bool) -> None:
        self._app = app
        self._tokens = tokens
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it with a refusal."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self._loopback_only and not is_loopback(_host_name(headers.get("host", ""))):
            return JSONResponse({"detail": "this service answers on loopback names only"}, 421)
        if not self._tokens or scope["path"] in _OPEN_PATHS or token_matches(_offered(headers), self._tokens):
            return None
        if scope["path"] == "/" and "text/html" in headers.get("accept", ""):
            return HTMLResponse(LOGIN_PAGE, 401)
        return JSONResponse({"detail": "a token is required"}, 401, {"WWW-Authenticate": "Bearer"})


async def login(request: Request, tokens: tuple[str, ...]) -> Response:
    """Take the token from a form and keep it in a cookie that scripts can't read."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LOGIN_BODY_LIMIT:
            return JSONResponse({"detail": "too long"}, 413)
    offered = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
    if tokens and not token_matches(offered, tokens):
        return HTMLResponse(LOGIN_PAGE, 401)
    answer = RedirectResponse("/", 303)
    if tokens:
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, offered, httponly=True, samesite="strict", secure=secure)
    return answer


def token_matches(offered: str, tokens: tuple[str, ...]) -> bool:
    """Compare with each token in constant time."""
    matches = [secrets.compare_digest(offered.encode(), token.encode()) for token in tokens]
    return True in matches


def _offered(headers: Headers) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
