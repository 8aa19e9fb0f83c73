"""How calls are made: encoding, decoding, errors, pages, streams. What there is to call is in the groups beside."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Any, NotRequired, TypedDict, TypeVar

import httpx
import msgspec

from arable.client.errors import NotArable, Refused, Unreachable, refused
from arable.client.patience import Patience
from arable.wire.common import Page, PageQuery, Problem

T = TypeVar("T")

_PART = re.compile(r"[0-9A-Za-z_-]+")

_DOWN = 30.0  # seconds without any byte, beyond what the call itself waits
_CONNECT = 10.0
_STREAM_SILENCE = 60.0  # four heartbeats
REUSED = (
    5.0  # seconds that a connection may have been idle: the server must not hang up while we ask
)


class How(TypedDict):
    """What may be said with any write."""

    dry_run: NotRequired[bool]  # do everything and take it back
    expects: NotRequired[int]  # only if it is still at this generation
    idempotency_key: NotRequired[str]  # the same key: the same request, done once


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call as it went over the wire, for `--debug`; without the credential."""

    method: str
    url: str
    sent: bytes
    status: int
    received: bytes
    request: str


class RegionPart(msgspec.Struct, frozen=True):
    """Of a list of all regions; `told` is empty: all is well."""

    region: str
    state: str
    as_of: datetime | None
    told: str = ""


class _Item(msgspec.Struct, frozen=True):
    region: str = ""


class _Everywhere(msgspec.Struct, frozen=True):
    items: tuple[_Item, ...] = ()
    regions: tuple[RegionPart, ...] = ()


class Connection:
    """To one cloud, as one caller. `ca`: a file with the authority to trust, or a context; for the rest see httpx."""

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        ca: str | SSLContext | None = None,
        transport: httpx.BaseTransport | None = None,
        on_call: Callable[[Exchange], None] | None = None,
        patience: Patience | None = None,
        region: str = "",
    ) -> None:
        """`region`: whom all calls are for, if not the one that answers at `url`: it passes them on."""
        self._patience = patience or Patience()
        self._http = httpx.Client(
            base_url=url,
            verify=_trust(url, ca),
            transport=transport,
            timeout=httpx.Timeout(_DOWN, connect=_CONNECT),
            limits=httpx.Limits(keepalive_expiry=REUSED),
            follow_redirects=False,
            trust_env=False,  # no proxy of the environment sees a credential
        )
        self._on_call = on_call
        self._region = region
        self.parts: dict[str, RegionPart] = {}
        """With the region `all`: how each region's part of the lists that were read came about."""
        self.whose: list[str] = []
        """And of which region each item was, in their order."""
        self.token = token

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def read(
        self, path: str, gives: type[T], query: msgspec.Struct | None = None, *, waits: int = 0
    ) -> T:
        """GET."""
        answer = self._send("GET", path, _parameters(query), waits=waits)
        if self._region == "all":
            found = self._decoded(answer, _Everywhere)
            self.parts |= {each.region: each for each in found.regions}
            self.whose += [each.region for each in found.items]
        return self._decoded(answer, gives)

    def write(
        self,
        method: str,
        path: str,
        gives: type[T],
        body: msgspec.Struct | None = None,
        *,
        query: msgspec.Struct | None = None,
        how: How | None = None,
    ) -> T:
        """Any other method; `gives` is NoneType where nothing comes back."""
        said = how or {}
        parameters = _parameters(query)
        if said.get("dry_run"):
            parameters.append(("dry_run", "true"))
        headers = {}
        if "expects" in said:
            headers["If-Match"] = f'"{said["expects"]}"'
        if "idempotency_key" in said:
            headers["Idempotency-Key"] = said["idempotency_key"]
        elif self._patience.keys and self.token and not said.get("dry_run"):
            headers["Idempotency-Key"] = self._patience.key()
        content = b"" if body is None else msgspec.json.encode(body)
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._decoded(self._send(method, path, parameters, headers, content), gives)

    def upload(
        self, path: str, gives: type[T], content: Iterable[bytes], query: msgspec.Struct | None
    ) -> T:
        """POST of bytes, piece by piece. Not repeatable: the bytes are gone when it breaks off."""
        headers = {"Content-Type": "application/octet-stream"}
        return self._decoded(self._send("POST", path, _parameters(query), headers, content), gives)

    def append(
        self, path: str, gives: type[T], content: Iterable[bytes], offset: int, *, waits: int = 0
    ) -> T:
        """PATCH of further bytes. Not repeated here: whoever sends them asks where to go on (`client/sending.py`)."""
        headers = {"Content-Type": "application/partial-upload", "Upload-Offset": str(offset)}
        return self._decoded(self._send("PATCH", path, [], headers, content, waits=waits), gives)

    def stream(
        self, path: str, query: msgspec.Struct | None, last: str = ""
    ) -> Iterator[tuple[str, bytes]]:
        """Server-sent events as (id, data), until the server ends the stream."""
        headers = self._credential() | {"Accept": "text/event-stream"}
        if last:
            headers["Last-Event-ID"] = last
        timeout = httpx.Timeout(_STREAM_SILENCE, connect=_CONNECT)
        with (
            _reached(),
            self._http.stream(
                "GET",
                path,
                params=httpx.QueryParams(tuple(_parameters(query))),
                headers=headers,
                timeout=timeout,
            ) as answer,
        ):
            if answer.status_code != 200:
                answer.read()
                raise _refusal(answer)
            name, data = "", ""
            for line in answer.iter_lines():
                field, _, value = line.partition(": ")
                match field:
                    case "id":
                        name = value
                    case "data":
                        data = value
                    case "" if data and not line:
                        yield name, data.encode()
                        data = ""

    def each(self, page: Callable[[Any], Page[T]], query: PageQuery) -> Iterator[T]:
        """The items of all pages, one after the other, each page asked for when it is needed."""
        while True:
            found = page(query)
            yield from found.items
            if found.next is None:
                return
            query = msgspec.structs.replace(query, after=found.next)

    def _credential(self) -> dict[str, str]:
        made = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return made | ({"Arable-Region": self._region} if self._region else {})

    def _send(
        self,
        method: str,
        path: str,
        parameters: list[tuple[str, str]],
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] = b"",
        *,
        waits: int = 0,
    ) -> httpx.Response:
        request = self._http.build_request(
            method,
            path,
            params=httpx.QueryParams(tuple(parameters)) if parameters else None,
            headers={**self._credential(), **(headers or {})},
            content=content or None,
            timeout=httpx.Timeout(_DOWN + waits, connect=_CONNECT),
        )
        repeatable = method == "GET" or "Idempotency-Key" in (headers or {})
        with _reached():
            answer = self._answered(request, repeatable and isinstance(content, bytes))
        if self._on_call is not None:
            sent = content if isinstance(content, bytes) else b"(a stream)"
            self._on_call(
                Exchange(
                    method,
                    str(answer.request.url),
                    sent,
                    answer.status_code,
                    answer.content,
                    answer.headers.get("arable-request", ""),
                )
            )
        if not answer.is_success:
            raise _refusal(answer)
        return answer

    def _answered(self, request: httpx.Request, repeatable: bool) -> httpx.Response:
        tried = 0
        while True:
            tried += 1
            try:
                answer = self._http.send(request)
            except httpx.TransportError as error:
                if not self._patience.after_failure(tried, error, repeatable=repeatable):
                    raise
            else:
                if not self._patience.after_answer(tried, answer, repeatable=repeatable):
                    return answer

    @staticmethod
    def _decoded(answer: httpx.Response, gives: type[T]) -> T:
        if gives is type(None):
            return None
        try:
            return msgspec.json.decode(answer.content, type=gives)
        except msgspec.DecodeError as error:
            raise NotArable(
                f"the answer of {answer.request.url} is not understood: {error}"
            ) from error


def part(id_: str) -> str:
    """An id as one part of a path: what holds a slash or dots would make another call of this one."""
    if not _PART.fullmatch(id_):
        raise ValueError(f"not an id: {id_!r}")
    return id_


class Group:
    """Calls of one noun."""

    def __init__(self, to: Connection) -> None:
        self._to = to


def _trust(url: str, ca: str | SSLContext | None) -> SSLContext:
    """Reading the world's authorities takes longer than most calls: a server without TLS needs none of them."""
    if isinstance(ca, SSLContext):
        return ca
    if ca is None and url.startswith("http:"):
        return SSLContext(PROTOCOL_TLS_CLIENT)
    made = httpx.create_ssl_context()
    if ca is not None:
        made.load_verify_locations(cafile=ca)
    return made


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise Unreachable(f"the server{_where(error)} can't be reached: {error}") from error


def _where(error: httpx.TransportError) -> str:
    try:
        url = error.request.url
    except RuntimeError:  # it failed before there was a request
        return ""
    return f" at {url.scheme}://{url.netloc.decode()}"


def _refusal(answer: httpx.Response) -> Refused | NotArable:
    try:
        return refused(msgspec.json.decode(answer.content, type=Problem))
    except msgspec.DecodeError:
        return NotArable(
            f"{answer.request.url} answered {answer.status_code}, and not as Arable does"
        )


def _parameters(query: msgspec.Struct | None) -> list[tuple[str, str]]:
    if query is None:
        return []
    made: list[tuple[str, str]] = []
    for name, value in msgspec.to_builtins(query).items():
        values = value if isinstance(value, list | tuple) else [value]
        made += [(name, _text(each)) for each in values if each is not None]
    return made


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
