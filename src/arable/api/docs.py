"""The documentation of the API, to read and to try, from this server alone: no other host is asked for anything.

One small page of our own over `/openapi.json`, rather than one of the known viewers: those are a megabyte and more of
other people's script on the origin where operators type their passwords, and need `unsafe-inline` or worse. This one
runs under a policy that allows its own three files and nothing else, and writes text, never HTML.
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

_PAGES = Path(__file__).parent / "pages"
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


def routes() -> list[Route]:
    """`/docs` and its parts."""
    return [
        Route("/", _to_docs),
        _file("/docs", "docs.html"),
        _file("/docs/docs.js", "docs.js"),
        _file("/docs/docs.css", "docs.css"),
    ]


def _file(path: str, name: str) -> Route:
    """A file of this package, read once."""
    text = (_PAGES / name).read_bytes()
    media_type = _TYPES[Path(name).suffix]

    async def serve(_request: Request) -> Response:
        return Response(text, media_type=media_type, headers=_HEADERS)

    return Route(path, serve)


async def _to_docs(_request: Request) -> Response:
    return RedirectResponse("/docs")
