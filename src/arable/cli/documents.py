"""Files that say what should be: YAML or JSON, one document for each thing, as many in a file as one likes.

    kind: machine            # what it is
    name: web                # who it is: applied again, it is the same one
    offering: tiny           # from here on: what `POST /v1/machines` takes, in the same words
    image: tiny
    networks: [{network: default}]
    ---
    kind: address            # a public address
    name: front
    network: default
    ---
    kind: forward            # a rule is who it says it is: this protocol and port of this address
    address: front
    first_port: 80
    machine: web
    open: true

Kinds: farm, storage-zone, blueprint, network, group, machine, address, forward, static-nat, balancer, vpn, remote-access, firewall, between; for those who may,
also zone, pod, public-range, ipv6-range, offering, disk-offering, image, plan, domain, account, user, limits, settings. References are by name, to things in the files or in
the cloud, in any order; an id is as good. Only what is written is compared: what a document leaves out is nobody's
wish. Secrets do not belong into files, so passwords are refused.

Errors say the file, the document's number, what it is about, and the field.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from arable.cli.faults import Misused
from arable.cli.kinds import KINDS, Kind
from arable.wire.common import NAME_PATTERN

_NAME = re.compile(NAME_PATTERN)
_SUFFIXES = {".yaml", ".yml", ".json"}
_LARGEST = 4 << 20  # bytes of a file
_MOST = 5000  # documents


@dataclass(frozen=True, slots=True)
class Document:
    """One thing that should be. `fields` holds what was written, `ask` the same as the API takes it.

    What refers to something by id in the API stands in `ask` as a placeholder, and by name in `fields`.
    """

    kind: Kind
    name: str
    fields: Mapping[str, Any]
    ask: Any
    where: str

    def __str__(self) -> str:
        return f"{self.kind.name}/{self.name}"


def read(paths: Iterable[Path]) -> list[Document]:
    """All documents of files and of directories' files; raises `Misused` for the first that is wrong."""
    made: list[Document] = []
    seen: dict[str, str] = {}
    for file in _files(paths):
        for number, value in enumerate(_values(file), 1):
            where = f"{file}, document {number}"
            document = _document(value, where)
            if document is None:
                continue
            for each in _counted(document):
                if str(each) in seen:
                    raise Misused(f"{where}: {each} was said already in {seen[str(each)]}")
                seen[str(each)] = where
                made.append(each)
            if len(made) > _MOST:
                raise Misused(f"more than {_MOST} documents at once are too many")
    if not made:
        raise Misused("there is no document in these files")
    return made


def _counted(document: Document) -> list[Document]:
    """`count: 3` is three documents: each of them may be there already."""
    count = getattr(document.ask, "count", 1)
    if count == 1:
        return [document]
    made = []
    for number in range(1, count + 1):
        name = f"{document.name}-{number}"
        fields = {**document.fields, "name": name, "count": 1}
        ask = msgspec.structs.replace(document.ask, name=name, count=1)
        made.append(Document(document.kind, name, fields, ask, document.where))
    return made


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES)
            if not found:
                raise Misused(f"{path} holds no *.yaml, *.yml or *.json")
            yield from found
        else:
            yield path


def _values(file: Path) -> Iterator[Any]:
    try:
        text = sys.stdin.read() if str(file) == "-" else _text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"{file} can't be read: {error}") from error
    import yaml

    try:
        yield from yaml.load_all(text, Loader=_loader())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise Misused(f"{file}{line}: {problem}") from error
    except RecursionError as error:
        raise Misused(f"{file} is nested too deeply") from error


def _text(file: Path) -> str:
    if file.stat().st_size > _LARGEST:
        raise OSError(f"it is larger than {_LARGEST >> 20} MiB")
    return file.read_text()


def _loader() -> Any:
    """YAML's safe loader, for which a key said twice and a reference to another node are errors.

    The last of two keys would win in silence; nodes that hold each other's copies grow without end.
    """
    import yaml

    class Strict(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                event = self.peek_event()  # type: ignore[no-untyped-call]
                raise yaml.composer.ComposerError(
                    None, None, "aliases (*name) are not taken here", event.start_mark
                )
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = set()
            for key, _ in node.value:
                if key.value in keys:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} is said twice", key.start_mark
                    )
                keys.add(key.value)
            return super().construct_mapping(node, deep=deep)

    return Strict


def _document(value: Any, where: str) -> Document | None:
    if value is None:
        return None  # nothing between two lines of hyphens
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise Misused(f"{where}: it must be a mapping with a `kind`")
    said = dict(value)
    word = said.pop("kind", None)
    if word is None:
        raise Misused(f"{where}: `kind` is missing; it is one of {', '.join(KINDS)}")
    kind = KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        raise Misused(f"{where}: there is no kind {word!r}; it is one of {', '.join(KINDS)}")
    where = f"{where} ({word} {said.get('name', '')}".rstrip() + ")"
    ask = _ask(kind, said, where)
    return Document(kind, kind.called(said), said, ask, where)


def _ask(kind: Kind, said: dict[str, Any], where: str) -> Any:
    """What the API takes, checked as the API would; raises `Misused` with the field."""
    known = [each.name for each in msgspec.structs.fields(kind.struct)] + list(kind.extra)
    for field in said:
        if field not in known:
            raise Misused(f"{where}: unknown field; known are {', '.join(known)}", field=field)
    for secret in kind.secrets:
        if _has(said, secret):
            raise Misused(
                f"{where}: secrets do not belong into files",
                field=".".join(secret),
                todo=f"leave it out, and set it with `{kind.instead}`",
            )
    for field in kind.extra:
        if field == "name" and not isinstance(said.get(field), str):
            raise Misused(f"{where}: is missing, or no text", field=field)
        if field in kind.refers and not isinstance(said.get(field, ""), str):
            raise Misused(f"{where}: must be a name", field=field)
    plain = {key: each for key, each in said.items() if key not in kind.extra}
    if kind.freely and _NAME.fullmatch(said["name"]):
        plain["name"] = said["name"]
    for field, noun in kind.by_id.items():
        if isinstance(plain.get(field), str):
            plain[field] = f"{noun.replace('-', '')}-0"
    try:
        return msgspec.convert(plain, type=kind.struct)
    except msgspec.ValidationError as error:
        from arable.cli.fields import path_of

        what, path = path_of(error)
        raise Misused(f"{where}: {what}", field=path) from error


def _has(value: Any, path: tuple[str, ...]) -> bool:
    for step in path:
        if not isinstance(value, dict) or value.get(step) is None:
            return False
        value = value[step]
    return not isinstance(value, bool)
