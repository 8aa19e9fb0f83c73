"""What a request says, read once and strictly: headers we know, the query, the body. Everything else is refused or ignored.

Identity never comes from a header that a client can set: the source is the socket's other end, and forwarding headers
are not looked at.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from arable.api.problems import Fault, of_validation
from arable.domain.errors import BadInput, TooLarge
from arable.domain.image_upload import Piece

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

BODY_LIMIT = 1 << 20
_QUERY_LIMIT = 8192
_QUERY_FIELDS = 64
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_GENERATION = re.compile(r'"(\d{1,15})"')
_KNOWN = {
    b"authorization": "authorization",
    b"content-type": "content_type",
    b"content-length": "content_length",
    b"content-encoding": "content_encoding",
    b"if-match": "if_match",
    b"idempotency-key": "idempotency_key",
    b"last-event-id": "last_event_id",
    b"upload-offset": "upload_offset",
    b"upload-complete": "upload_complete",
}
PARTIAL = "application/partial-upload"
_LONGEST_OFFSET = 16
_MEDIA = ("application/json", "application/merge-patch+json")


class ClientGone(Exception):
    """The other end hung up; nobody waits for an answer."""


@dataclass(slots=True)
class Headers:
    """The headers that mean something here, as text; empty where they are missing."""

    authorization: str = ""
    content_type: str = ""
    content_length: str = ""
    content_encoding: str = ""
    if_match: str = ""
    idempotency_key: str = ""
    last_event_id: str = ""
    upload_offset: str = ""
    upload_complete: str = ""


def headers(scope: Scope) -> Headers:
    """Raises `BadInput` for one of ours that comes twice: whoever is in between may read the other one."""
    found = Headers()
    for name, value in scope["headers"]:
        known = _KNOWN.get(name)
        if known is None:
            continue
        if getattr(found, known):
            raise BadInput("this header is there twice", field=name.decode("latin-1"))
        setattr(found, known, value.decode("latin-1"))
    return found


def query(scope: Scope) -> dict[str, list[str]]:
    """The query's parameters; raises `BadInput` for what is no text."""
    raw: bytes = scope["query_string"]
    if not raw:
        return {}
    if len(raw) > _QUERY_LIMIT:
        raise TooLarge(f"the query is longer than {_QUERY_LIMIT} bytes", field="query")
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_QUERY_FIELDS,
        )
    except (UnicodeError, ValueError) as error:
        raise BadInput("the query is not well formed", field="query") from error
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


class QueryReader:
    """Makes a query's document. Values that may be there several times are tuples or lists in it."""

    def __init__(self, document: type[msgspec.Struct] | None) -> None:
        self._document = document
        self._many: frozenset[str] = frozenset()
        if document is not None:
            self._many = frozenset(
                each.encode_name
                for each in msgspec.structs.fields(document)
                if _is_list(msgspec.inspect.type_info(each.type))
            )

    def read(self, found: Mapping[str, list[str]]) -> msgspec.Struct | None:
        """Raises `BadInput` naming the parameter."""
        if self._document is None:
            for name in found:
                raise BadInput("there is no such parameter", field=name[:64])
            return None
        plain: dict[str, Any] = {}
        for name, values in found.items():
            if name in self._many:
                plain[name] = values
            elif len(values) > 1:
                raise BadInput("this parameter is there twice", field=name[:64])
            else:
                plain[name] = values[0]
        try:
            return msgspec.convert(plain, self._document, strict=False)
        except msgspec.ValidationError as error:
            raise of_validation(error, "query") from error


class BodyReader:
    """Makes a body's document from JSON. A document without required fields may be left out altogether."""

    def __init__(self, document: Any) -> None:
        self._takes = document is not None
        self._decoder = msgspec.json.Decoder(document) if document is not None else None
        self._absent: Any = None
        self._may_be_absent = False
        if document is not None:
            try:
                self._absent = msgspec.convert({}, document)
            except msgspec.ValidationError:
                return
            self._may_be_absent = True

    def read(self, body: bytes, said: Headers) -> Any:
        """Raises `BadInput` naming the field, or `Fault` for another media type."""
        if self._decoder is None:
            if body:
                raise BadInput("this call takes no body", field="body")
            return None
        if not body and self._may_be_absent:
            return self._absent
        _check_media(said)
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise of_validation(error, "body") from error
        except UnicodeDecodeError as error:
            raise BadInput("the body is not UTF-8", field="body") from error
        except (msgspec.DecodeError, RecursionError) as error:
            told = "the body ends too early" if "truncated" in str(error) else str(error)
            raise BadInput(f"not JSON: {told[:200]}", field="body") from error


async def body(receive: Receive, said: Headers, limit: int = BODY_LIMIT) -> bytes:
    """All of it; raises `TooLarge` as early as it can be known."""
    length = announced(said)
    if length is not None and length > limit:
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    first: bytes = message.get("body", b"")
    if len(first) > limit:
        raise _too_large(limit)
    if not message.get("more_body", False):
        return first
    pieces = [first]
    size = len(first)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    return b"".join(pieces)


def announced(said: Headers) -> int | None:
    """How long the body says it is."""
    if not said.content_length:
        return None
    if not said.content_length.isascii() or not said.content_length.isdigit():
        raise BadInput("not a number", field="content-length")
    return int(said.content_length[:20])


def piece(said: Headers) -> Piece:
    """Where the body goes on, as the IETF's draft of resumable uploads has it said. Raises `BadInput`, or `Fault`."""
    if said.content_type.partition(";")[0].strip().lower() != PARTIAL:
        raise Fault(415, "unsupported-media-type", f"the body must be {PARTIAL}")
    offset = said.upload_offset
    if not offset:
        raise BadInput("say where the bytes begin", field="upload-offset")
    if not offset.isascii() or not offset.isdigit() or len(offset) > _LONGEST_OFFSET:
        raise BadInput("not a number", field="upload-offset")
    if said.upload_complete not in ("", "?0", "?1"):
        raise BadInput("either ?0 or ?1", field="upload-complete")
    last = said.upload_complete == "?1" if said.upload_complete else None
    return Piece(int(offset), last)


def dry_run(found: dict[str, list[str]]) -> bool:
    """Takes the parameter out of the query, since it belongs to no document."""
    match found.pop("dry_run", None):
        case None | ["false"]:
            return False
        case ["true"]:
            return True
        case _:
            raise BadInput("either true or false", field="dry_run")


def expected(said: Headers) -> int | None:
    """The generation in `If-Match`; None when there is no condition, or `*`, which every lookup holds anyway."""
    if not said.if_match or said.if_match == "*":
        return None
    found = _GENERATION.fullmatch(said.if_match)
    if not found:
        raise BadInput('one generation in quotes, as an ETag was given: "3"', field="if-match")
    return int(found[1])


def idempotency_key(said: Headers) -> str:
    """Empty when there is none."""
    key = said.idempotency_key
    if key and not _KEY.fullmatch(key):
        raise BadInput("1 to 255 visible ASCII characters", field="idempotency-key")
    return key


def _check_media(said: Headers) -> None:
    media, _, parameters = said.content_type.partition(";")
    charset = parameters.strip().lower()
    if media.strip().lower() not in _MEDIA or charset not in (
        "",
        "charset=utf-8",
        'charset="utf-8"',
    ):
        raise Fault(415, "unsupported-media-type", "the body must be application/json, in UTF-8")
    if said.content_encoding not in ("", "identity"):
        raise Fault(415, "unsupported-media-type", "the body must not be compressed")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes", field="body")


def _is_list(info: msgspec.inspect.Type) -> bool:
    inner = msgspec.inspect
    if isinstance(info, inner.UnionType):
        return any(_is_list(each) for each in info.types)
    return isinstance(
        info, inner.ListType | inner.VarTupleType | inner.SetType | inner.FrozenSetType
    )
