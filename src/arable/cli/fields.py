"""Options from the wire's structs, and structs from options.

What a field is called, what it means and what it may be stands in `wire` already, for the API's documentation; a
command's help says the same words because they are the same. Everything that the API takes can so be said here, from
the day on which it takes it.
"""

import base64
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import typer
from msgspec import inspect as shapes

from arable.cli.faults import Misused
from arable.cli.nouns import BY_FIELD, NOUNS
from arable.wire.common import Id, Name, NameOrId, in_words
from arable.wire.zones import VlanRange, VniRange


class Form(StrEnum):
    """How a value is typed."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    WORD = "word"  # one of a few
    PARTS = "parts"  # a struct: key=value,key=value


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a struct as an option. `path` leads to it from the struct that is asked for."""

    path: tuple[str, ...]
    form: Form
    many: bool
    required: bool
    nullable: bool
    default: Any
    about: str
    words: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    by_id: bool = False
    counts: bool = False  # a text of digits
    changes: bool = False  # of a change: what is left out stays
    struct: type[msgspec.Struct] | None = None

    @property
    def name(self) -> str:
        """As the function of the command calls it."""
        return "_".join(self.path)

    @property
    def secret(self) -> bool:
        """Never on the command line, where everybody on the machine could read it."""
        return self.path[-1] in _SECRETS and self.form is Form.TEXT

    @property
    def option(self) -> str:
        """As one types it. What may be said several times is said in the singular."""
        words = [_PREFIXES.get(word, word) for word in self.path[:-1]]
        last = self.path[-1]
        words.append(_ALIASES.get(last) or (last.removesuffix("s") if self.many else last))
        return "--" + "-".join(words).replace("_", "-")


_SECRETS = {"password", "old", "new"}
_PREFIXES = {"limits": "limit"}
_ALIASES = {"first_port": "port", "addresses": "addresses", "begin": "from", "end": "to"}
_ALSO = {"first_port": ("--ports",)}
"""What is typed as well, and means the same."""
_FILES = {
    "user_data",
    "ssh_keys",
    "public_key",
    "certificate",
    "private_key",
    "preshared_key",
    "contents",
}
"""Texts that are usually in a file: `@FILE` reads it, `@-` reads standard input."""
_STRIPPED = {"preshared_key", "public_key", "contents"}
_ONLY_FILES = {"private_key", "preshared_key", "contents"}
_GZIP = b"\x1f\x8b\x08"
_NOTHING = "none"
_FEW = 12  # words that fit into a line of help
_ID_PATTERN, _NAME_PATTERN = (
    next(each.pattern for each in get_args(kind) if isinstance(each, msgspec.Meta))
    for kind in (Id, Name)
)
_GENERIC = {
    next(each.description for each in get_args(kind) if isinstance(each, msgspec.Meta))
    for kind in (Id, Name, NameOrId)
}
_MISSING = re.compile(r"missing required field `(\w+)`")
_UNKNOWN = re.compile(r"contains unknown field `([^`]*)`")


def fields_of(struct: type[msgspec.Struct]) -> tuple[Field, ...]:
    """All of a struct, those of structs within it beside them."""
    shape = shapes.type_info(struct)
    assert isinstance(shape, shapes.StructType)
    return tuple(_fields(shape, (), within_optional=False))


def filters_of(query: type[msgspec.Struct]) -> tuple[Field, ...]:
    """Of a list's query what narrows it. Paging is ours to do; where pages begin by number, people may say it."""
    return tuple(
        field
        for field in fields_of(query)
        if field.path != ("limit",) and (field.path != ("after",) or field.counts)
    )


def _fields(
    shape: shapes.StructType, before: tuple[str, ...], *, within_optional: bool
) -> Iterator[Field]:
    for each in shape.fields:
        path = (*before, each.name)
        kind, about, nullable = _bare(each.type)
        if isinstance(kind, shapes.StructType) and kind.cls not in _TEXTS:
            yield from _fields(kind, path, within_optional=within_optional or not each.required)
            continue
        many = isinstance(kind, shapes.VarTupleType | shapes.ListType)
        if isinstance(kind, shapes.VarTupleType | shapes.ListType):
            kind, inner, _ = _bare(kind.item_type)
            about = about or inner
        plain = Field(
            path=path,
            form=Form.TEXT,
            many=many,
            required=each.required and not within_optional,
            nullable=nullable and each.default is msgspec.NODEFAULT and not each.required,
            default=None if each.default is msgspec.NODEFAULT else each.default,
            changes=not each.required and each.default is msgspec.NODEFAULT,
            about=_ABOUT.get(each.name, "") or about or _sentence(path),
        )
        yield _formed(plain, kind)


def _bare(type_: shapes.Type) -> tuple[shapes.Type, str, bool]:
    """What is within descriptions and `| None`: the type, what was said of it, whether null may be said."""
    about, nullable = "", False
    while True:
        if isinstance(type_, shapes.Metadata):
            about = about or (type_.extra_json_schema or {}).get("description", "")
            type_ = type_.type
        elif isinstance(type_, shapes.UnionType):
            rest = [each for each in type_.types if not isinstance(each, shapes.NoneType)]
            nullable = nullable or len(rest) < len(type_.types)
            type_ = rest[0]
        else:
            return type_, about, nullable


def _formed(field: Field, kind: shapes.Type) -> Field:
    match kind:
        case shapes.BoolType():
            return replace(field, form=Form.FLAG)
        case shapes.IntType():
            return replace(field, form=Form.NUMBER, low=kind.ge, high=kind.le)
        case shapes.LiteralType():
            return replace(field, form=Form.WORD, words=tuple(str(word) for word in kind.values))
        case shapes.EnumType():
            return replace(field, form=Form.WORD, words=tuple(word.value for word in kind.cls))
        case shapes.StructType():
            return replace(field, form=Form.PARTS, struct=kind.cls)
        case shapes.StrType():
            refers = kind.pattern in (_ID_PATTERN, _NAME_PATTERN) and field.about in _GENERIC
            about = _reference(field) if refers else field.about
            counts = (kind.pattern or "").startswith("^[0-9]+")
            return replace(field, about=about, by_id=kind.pattern == _ID_PATTERN, counts=counts)
        case _:
            return field


def _reference(field: Field) -> str:
    """Better than what is said of every name and id: whose it is."""
    what = field.path[-1]
    called = _sentence((what,))[:-1]
    if what == "name" and field.changes:
        return "Another name."
    if what == "name":
        return "Its name: small letters, digits and hyphens." if field.required else "By this name."
    if what in _RAW:
        return f"{called}: an id, or a noun and a name, such as machine/web."
    noun = BY_FIELD.get(what)
    return f"{called}: {NOUNS[noun].named} or id." if noun else f"{called}: its id."


_RAW = {"subject", "target"}


def _sentence(path: tuple[str, ...]) -> str:
    """Where nothing was said of a field, its name has to do."""
    words = " ".join(path).replace("_", " ")
    return words[0].upper() + words[1:] + "."


_ABOUT = {
    "maintenance_stops": "Whether machines that can't leave are stopped, until the maintenance is over.",
    "maintenance": "Whether it is in maintenance: nothing new is placed there, and what can leaves it.",
    "memory_mib": "Memory in MiB.",
    "storage_mib": "Storage in MiB.",
    "snapshot_mib": "What snapshots count, in MiB: each as much as its volume had.",
    "cpus": "How many CPUs.",
    "disks": "A further, blank disk.",
    "files": "A file in the server's image directory.",
    "role": "A role's name; `arable user roles` lists them.",
    "rule": "`apart`: members on different hosts; `together`: all on one.",
}


def parameter(field: Field, *, positional: bool = False) -> Parameter:
    """The option (or argument) for a command's signature."""
    if positional:
        given = typer.Argument(metavar=field.path[-1].upper(), help=field.about, show_default=False)
        return Parameter(
            field.name, Parameter.POSITIONAL_OR_KEYWORD, annotation=Annotated[str, given]
        )
    about = _spoken(field)
    kind: Any = str
    decls = [field.option, *_ALSO.get(field.path[-1], ())]
    more: dict[str, Any] = {}
    match field.form:
        case Form.FLAG:
            kind = bool
            if field.default is not False:
                decls = [f"{field.option}/--no-{field.option[2:]}"]
        case Form.NUMBER if not field.nullable:
            kind = int
            more = {"min": field.low, "max": field.high}
        case Form.NUMBER:
            more = {"metavar": f"NUMBER|{_NOTHING}"}
        case Form.WORD if len(field.words) <= _FEW and field.many:
            more = {"metavar": "|".join(field.words)}
        case Form.WORD if len(field.words) <= _FEW:
            kind = Literal[field.words]
        case Form.PARTS:
            assert field.struct is not None
            more = {"metavar": metavar(field.struct)}
        case _:
            word = field.path[-1].removesuffix("s") if field.many else field.path[-1]
            more = {"metavar": _METAVARS.get(field.path[-1], word.upper())}
    if field.path[-1] in _FILES:
        about += " @FILE reads a file, @- standard input."
    if field.many:
        about += " May be said several times" + ("; '' alone: none." if field.changes else ".")
        kind = list[kind]
    default: Any = Parameter.empty if field.required else None
    if field.form is Form.FLAG and not field.required and field.default is not None:
        default = field.default
    elif not field.many and isinstance(field.default, str | int) and field.default != "":
        about = f"{about.rstrip()} [default: {field.default}]"
    if default is None:
        kind = kind | None
    option = typer.Option(*decls, help=about, show_default=False, **more)
    return Parameter(
        field.name, Parameter.KEYWORD_ONLY, annotation=Annotated[kind, option], default=default
    )


def _spoken(field: Field) -> str:
    """The API's words for a person at a terminal, who types no null and no false."""
    instead = f"{_NOTHING}:" if field.nullable else "left out:"
    about = re.sub(r"\b[Nn]ull:", instead, field.about)
    if field.form is Form.FLAG:
        about = re.sub(r"\b[Ff]alse:", f"--no-{field.option[2:]}:", about)
        about = re.sub(r"^True: ", "", about)
    return about[0].upper() + about[1:]


_METAVARS = {"user_data": "TEXT|@FILE", "ssh_keys": "NAME|KEY|@FILE", "public_key": "KEY|@FILE", "cidr": "CIDR", "certificate": "PEM|@FILE", "private_key": "@FILE", "preshared_key": "@FILE", "contents": "@FILE"}  # fmt: skip


def metavar(struct: type[msgspec.Struct]) -> str:
    """How a struct is typed in one word."""
    if struct in _TEXTS:
        return _TEXTS[struct][0]
    first, *rest = msgspec.structs.fields(struct)
    return "".join([first.name.upper(), *(f"[,{each.name}={each.name.upper()}]" for each in rest)])


def _vlans(text: str) -> dict[str, Any]:
    first, dash, last = text.partition("-")
    return {"first": first, "last": last if dash else first}


_TEXTS: dict[type[msgspec.Struct], tuple[str, Callable[[str], dict[str, Any]]]] = {
    VlanRange: ("FIRST-LAST", _vlans),
    VniRange: ("FIRST-LAST", _vlans),
}


def collected(
    fields: tuple[Field, ...],
    given: Mapping[str, Any],
    resolve: Callable[[str, str], str],
) -> dict[str, Any]:
    """What was said, in the form of the struct. `resolve(field, text)` makes an id of a name."""
    made: dict[str, Any] = {}
    for field in fields:
        said = given.get(field.name)
        if said is None or (field.many and not said):
            continue
        if field.many and field.changes and list(said) == [""]:
            said = []  # said, and nothing in it
        value = (
            [_value(field, each, resolve) for each in said]
            if field.many
            else _value(field, said, resolve)
        )
        if field.path[-1] == "ssh_keys":
            value = [line for text in value for line in text.splitlines() if line.strip()]
        if len(field.path) == 1 and field.form is Form.FLAG and said == field.default:
            continue
        place = made
        for step in field.path[:-1]:
            place = place.setdefault(step, {})
        place[field.path[-1]] = value
    return made


def _value(field: Field, said: Any, resolve: Callable[[str, str], str]) -> Any:
    if not isinstance(said, str):
        return said
    if field.nullable and said == _NOTHING:
        return None
    if field.path[-1] in _ONLY_FILES and not said.startswith("@"):
        raise Misused(
            "say @FILE: what stands on the command line can be read by everybody on the machine",
            field=field.option,
        )
    if field.path[-1] in _FILES and said.startswith("@"):
        if field.path[-1] == "user_data":
            return read_packed(said[1:], field.option)
        text = read_file(said[1:], field.option)
        return text.strip() if field.path[-1] in _STRIPPED else text
    if field.struct is not None:
        return _parts(field, field.struct, said)
    if field.by_id:
        return resolve(field.path[-1], said)
    return said


def read_file(name: str, option: str) -> str:
    """A text that is in a file, or on standard input."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise Misused(f"{name} can't be read: {why}", field=option) from error


def read_packed(name: str, option: str) -> str:
    """The same of a text that may be packed by gzip: then it goes as base64."""
    try:
        found = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return base64.b64encode(found).decode() if found[:3] == _GZIP else found.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise Misused(f"{name} can't be read: {why}", field=option) from error


def _parts(field: Field, struct: type[msgspec.Struct], text: str) -> dict[str, Any]:
    if struct in _TEXTS:
        return _TEXTS[struct][1](text)
    known = [each.name for each in msgspec.structs.fields(struct)]
    made: dict[str, Any] = {}
    for at, part in enumerate(text.split(",")):
        key, equals, value = part.partition("=")
        if not equals and at == 0:
            key, value = known[0], part
        if key not in known:
            raise Misused(
                f"{key!r} is not known there; known are {', '.join(known)}", field=field.option
            )
        made[key] = value
    return made


def built(
    struct: type[msgspec.Struct], values: Mapping[str, Any], fields: tuple[Field, ...]
) -> Any:
    """The struct, checked as the server will check it; raises `Misused` with the option that is wrong."""
    try:
        return msgspec.convert(values, type=struct, strict=False)
    except msgspec.ValidationError as error:
        what, path = path_of(error)
        raise Misused(what, field=_option_at(tuple(path.split(".")), fields)) from error


def path_of(error: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, and where: a dotted path."""
    what, at, where = str(error).rpartition(" - at `$")
    if not at:
        what, where = where, ""
    path = where.rstrip("`").replace("[", ".").replace("]", "").strip(".")
    if (found := _MISSING.search(what)) is not None:
        return "is missing", f"{path}.{found[1]}".strip(".")
    if (found := _UNKNOWN.search(what)) is not None:
        return "unknown field", f"{path}.{found[1]}".strip(".")
    if "matching regex" in what:
        words = in_words(what)
        return f"is not of the right form{f': {words}' if words else ''}", path
    return what.replace("Expected `", "must be `"), path


def _option_at(path: tuple[str, ...], fields: tuple[Field, ...]) -> str:
    for field in fields:
        if path[: len(field.path)] == field.path:
            return field.option if not field.required else field.path[-1]
    return ".".join(path)
