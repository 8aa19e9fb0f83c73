"""The console: a page of static files that uses the public API, and nothing that a program could not use as well.

The files are served as they are, from a list that is made when the process starts: what is not in it is not there, so
no path leads anywhere else. The policy allows the page's own files alone, neither inline script nor anything from
elsewhere, and takes from scripts the means to have text read as HTML (`require-trusted-types-for`).
"""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

FILES = Path(__file__).parent / "files"
HOME = "/console/"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
_HEADERS = {
    "content-security-policy": "; ".join(f"{what} {whose}" for what, whose in _POLICY.items()),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def routes() -> list[Route]:
    """The page at `/console/`, its parts beside it, and the ways to it."""
    parts = [path for path in sorted(FILES.iterdir()) if path.name != "index.html"]
    return [
        Route("/", _to_console),
        Route("/console", _to_console),
        Route(HOME, _page(FILES / "index.html")),
        *(Route(HOME + path.name, _part(path)) for path in parts),
    ]


def _page(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """The page itself, which names all else; never kept, so that a new server's page is seen at once."""
    text = path.read_bytes()

    async def serve(_request: Request) -> Response:
        headers = {**_HEADERS, "cache-control": "no-store"}
        return Response(text, media_type=_TYPES[path.suffix], headers=headers)

    return serve


def _part(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """A part of it, which is asked about each time and sent again only when it is another one."""
    text = path.read_bytes()
    tag = f'"{hashlib.sha256(text).hexdigest()[:32]}"'
    headers = {**_HEADERS, "cache-control": "no-cache", "etag": tag}

    async def serve(request: Request) -> Response:
        known = {each.strip() for each in request.headers.get("if-none-match", "").split(",")}
        if tag in known:
            return Response(status_code=304, headers=headers)
        return Response(text, media_type=_TYPES[path.suffix], headers=headers)

    return serve


async def _to_console(_request: Request) -> Response:
    return RedirectResponse(HOME)
