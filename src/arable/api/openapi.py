"""The description of the API (OpenAPI 3.1), made from the same rows and documents that serve it.

So it can't be wrong about paths, fields or bounds, only about words. It is made once, when somebody first asks for it: that
takes longer than all else of the API at a server's start.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from arable.api.incoming import PARTIAL
from arable.api.operation import Access, Op
from arable.domain.access import Permission
from arable.wire.common import Problem

_REF = "#/components/schemas/{name}"
_PROBLEM = {"$ref": "#/components/responses/Problem"}
_ABOUT = """
Everything is an operation under `/v1`. Send an API key or a session's token as `Authorization: Bearer …`.

* **Errors** are RFC 9457 problems: `type` is for programs, `detail` says what to do, `errors` names fields.
* **Lists** come in pages by key: pass `next` as `after`.
* **Asynchronous** calls answer 202 with an operation; follow it with `GET /v1/operations/{operation}?wait=30`.
* **Trying**: `?dry_run=true` on a write does everything and takes it back; the answer says `Arable-Dry-Run`.
* **Repeating**: with an `Idempotency-Key`, the same request within 24 hours gets the same answer (`Arable-Repeated`)
  and is done once. Secrets are not kept: a repeated answer has null in their place and names them in
  `Arable-Withheld`. Another request with the same key is a conflict.
* **Conditions**: an `ETag` is a generation; send it as `If-Match` to change only what you saw.
* Every answer has an `Arable-Request`, which the audit and the log have too.
* In JSON objects with a field twice, the last one counts; unknown fields are refused.
"""


def document(operations: Sequence[Op]) -> dict[str, Any]:
    """The whole description."""
    documents: list[Any] = [Problem]
    for op in operations:
        given = op.gives if op.stream is None else op.stream
        documents += [each for each in (op.takes, given) if each is not None]
    unique = list(dict.fromkeys(documents))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    by_document = dict(zip(unique, schemas, strict=True))
    parameters = _Parameters(components)
    paths: dict[str, dict[str, Any]] = {}
    for op in operations:
        paths.setdefault(op.path, {})[op.method.lower()] = _operation(op, by_document, parameters)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Arable",
            "version": version("arable"),
            "summary": "Private data centres that customers create, grow and shrink by themselves",
            "description": _ABOUT.strip(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(op.tag for op in operations)],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                "Problem": {
                    "description": "Refused, and why",
                    "content": {
                        "application/problem+json": {"schema": by_document[Problem]},
                    },
                }
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`ak_…`) or a session's token (`as_…`)",
                }
            },
        },
    }


def routes(operations: Sequence[Op]) -> list[Route]:
    """`/openapi.json`."""

    @cache
    def text() -> bytes:
        return msgspec.json.encode(document(operations))

    async def openapi(_request: Request) -> Response:
        return Response(await asyncio.to_thread(text), media_type="application/json")

    return [Route("/openapi.json", openapi)]


class _Parameters:
    """Queries as parameters: their documents' own fields, with whatever those refer to."""

    def __init__(self, components: dict[str, Any]) -> None:
        self._components = components

    def of(self, query: type[msgspec.Struct]) -> list[dict[str, Any]]:
        (schema,), more = msgspec.json.schema_components([query], ref_template=_REF)
        name = schema["$ref"].rpartition("/")[2]
        own = more.pop(name)
        self._components.update(more)
        required = own.get("required", ())
        return [
            {
                "name": field,
                "in": "query",
                "required": field in required,
                "schema": _without_null(said),
                **({"description": said["description"]} if "description" in said else {}),
            }
            for field, said in own["properties"].items()
        ]


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter that is left out is null; nobody can write null in a query."""
    made = {key: value for key, value in schema.items() if key != "default" or value is not None}
    if "anyOf" in made:
        kept = [each for each in made["anyOf"] if each != {"type": "null"}]
        if len(kept) == 1:
            del made["anyOf"]
            return {**kept[0], **made}
        made["anyOf"] = kept
    return made


def _operation(op: Op, by_document: Mapping[Any, Any], parameters: _Parameters) -> dict[str, Any]:
    policy = op.permission
    about = [op.about] if op.about else []
    if isinstance(policy, Permission):
        about.append(f"Needs the permission `{policy}`.")
    if op.secrets:
        about.append(
            "Secret and shown once: " + ", ".join(f"`{each}`" for each in op.secrets) + "."
        )
    made: dict[str, Any] = {
        "operationId": op.name,
        "summary": op.summary,
        "description": "\n\n".join(about),
        "tags": [op.tag],
        "parameters": [_path_parameter(kind) for kind in op.parameters],
        "responses": {str(204 if op.gives is None else op.status): _answer(op, by_document)},
    }
    made["responses"]["default"] = _PROBLEM
    if op.query is not None:
        made["parameters"] += parameters.of(op.query)
    if op.writes:
        made["parameters"] += _of_writes(op)
    if policy is Access.PUBLIC:
        made["security"] = []
    if op.takes is not None:
        content: dict[str, Any] = {"schema": by_document[op.takes]}
        if op.example is not None:
            content["example"] = op.example
        made["requestBody"] = {
            "required": not _may_be_absent(op.takes),
            "content": {"application/json": content},
        }
    elif op.receive is not None:
        made["requestBody"] = {
            "required": True,
            "content": {PARTIAL if op.appends else "application/octet-stream": {"schema": {}}},
        }
    return made


def _answer(op: Op, by_document: Mapping[Any, Any]) -> dict[str, Any]:
    headers: dict[str, Any] = {
        "Arable-Request": {"description": "The request's id", "schema": {"type": "string"}}
    }
    if op.stream is not None:
        return {
            "description": "Events without end; `data` of each is such a document",
            "headers": headers,
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    if op.gives is None:
        return {"description": "Done", "headers": headers}
    if "generation" in getattr(op.gives, "__struct_fields__", ()):
        headers["ETag"] = {"description": "Its generation", "schema": {"type": "string"}}
    return {
        "description": "Accepted" if op.status == 202 else "Done",
        "headers": headers,
        "content": {"application/json": {"schema": by_document[op.gives]}},
    }


def _path_parameter(kind: str) -> dict[str, Any]:
    return {
        "name": kind,
        "in": "path",
        "required": True,
        "description": f"The id of a {kind}",
        "schema": {"type": "string", "pattern": f"^{kind}-[0-9a-z]{{1,32}}$"},
        "example": f"{kind}-0mh5z1x2k3q8w7e6r5t4",
    }


def _of_writes(op: Op) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    if op.dry_run:
        made.append(
            {
                "name": "dry_run",
                "in": "query",
                "required": False,
                "description": "Do everything and take it back",
                "schema": {"type": "boolean", "default": False},
            }
        )
    if op.permission is not Access.PUBLIC and op.receive is None:
        made.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same request with the same key is done once",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            }
        )
    if op.appends:
        made += [
            {
                "name": "Upload-Offset",
                "in": "header",
                "required": True,
                "description": "Where the bytes begin: as many as are there",
                "schema": {"type": "integer", "minimum": 0},
            },
            {
                "name": "Upload-Complete",
                "in": "header",
                "required": False,
                "description": "?1: they are the last ones; refused if they are not",
                "schema": {"type": "string", "enum": ["?0", "?1"]},
            },
        ]
    if op.conditional:
        made.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": False,
                "description": "Only if it still has this ETag",
                "schema": {"type": "string", "pattern": '^("[0-9]{1,15}"|\\*)$'},
            }
        )
    return made


def _may_be_absent(document: Any) -> bool:
    try:
        msgspec.convert({}, document)
    except msgspec.ValidationError:
        return False
    return True
