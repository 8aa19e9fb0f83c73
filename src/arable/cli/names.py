"""From a name to an id: the API's paths take ids, people remember names.

A name that several things have (an operator sees all accounts') means one's own; if that does not decide, the
command stops and says what there is, rather than guessing which machine to destroy.
"""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from arable.cli.faults import Failed, Misused
from arable.cli.nouns import BY_FIELD, NOUNS, Noun, group_class, query_of

if TYPE_CHECKING:
    from arable.cli.speaking import Cli

_ID = re.compile(r"[a-z]{1,15}-[0-9a-z]{16,32}")
_GONE = {"destroyed", "expunging"}
_MANY = 5


def id_of(cli: "Cli", noun: Noun, text: str, *, gone: bool = False) -> str:
    """The id of the noun that is called so. With `gone`, of one that was destroyed."""
    if is_id(noun, text):
        return text
    if not noun.named:
        raise Misused(
            f"{text!r} is not an id; a {noun.name} has no name",
            todo=f"`arable {noun.name} list` shows the ids",
        )
    outer, _, name = text.rpartition("/") if noun.within else ("", "", text)
    found = [each for each in _called(cli, noun, name) if (_is_gone(each)) == gone]
    if outer:
        where = id_of(cli, NOUNS[noun.within], outer)
        found = [each for each in found if getattr(each, noun.within) == where]
    if len(found) > 1:
        found = _own(cli, found)
    if not found:
        which = "no destroyed" if gone else "no"
        raise Failed(
            f"there is {which} {noun.name} called {text!r}",
            todo=f"`arable {noun.name} list` shows what there is",
        )
    if len(found) > 1:
        some = ", ".join(each.id for each in found[:_MANY])
        or_ = f", or {noun.within.upper()}/{name}" if noun.within else ""
        raise Failed(f"{len(found)} of them are called {text!r}: {some}", todo=f"say the id{or_}")
    return str(found[0].id)


def is_id(noun: Noun, text: str) -> bool:
    """Whether it is an id of that noun, rather than a name."""
    return bool(_ID.fullmatch(text)) and text.partition("-")[0] == noun.kind


def resolve(cli: "Cli", field: str, text: str) -> str:
    """For a field of a struct that takes ids only; `machine/web` where the field could be about anything."""
    named, slash, rest = text.partition("/")
    if slash and named in NOUNS:
        return id_of(cli, NOUNS[named], rest)
    noun = BY_FIELD.get(field)
    return text if noun is None else id_of(cli, NOUNS[noun], text)


def _called(cli: "Cli", noun: Noun, name: str) -> list[Any]:
    """Those that are called so, by the field that people know the noun by, or else by the other one."""
    found: list[Any] = []
    for field in (noun.named, noun.other):
        if field and not found:
            found = _with(cli, noun, field, name)
    return found


def _with(cli: "Cli", noun: Noun, field: str, name: str) -> list[Any]:
    group = getattr(cli.cloud, noun.group)
    query = query_of(group_class(noun))
    known = {each.name for each in msgspec.structs.fields(query)}
    if field in known:
        try:
            asked = msgspec.convert({field: name}, type=query)
        except msgspec.ValidationError:
            return []
        found: Iterable[Any] = group.all(asked)
    else:
        found = group.all(query(limit=1000))
    return [each for each in found if getattr(each, field) == name]


def _is_gone(thing: Any) -> bool:
    return getattr(thing, "state", None) in _GONE


def _own(cli: "Cli", found: list[Any]) -> list[Any]:
    if not hasattr(found[0], "account"):
        return found
    me = cli.cloud.users.whoami().account
    return [each for each in found if each.account == me] or found


def completion(noun: Noun) -> Callable[[typer.Context, str], list[str]]:
    """For the shell: the names that begin so. What goes wrong is not said in the middle of somebody's typing."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from arable.cli.speaking import speaking

        taken = {name: ctx.params.get(name) for name in ("profile_", "url_", "region_")}
        try:
            with speaking(ctx.obj, {**taken, "form_": None, "debug_": False}) as cli:
                query = query_of(group_class(noun))
                items = getattr(cli.cloud, noun.group).page(query(limit=1000)).items
        except Exception:  # noqa: BLE001 - the shell completes nothing then
            return []
        fields = (noun.named or "id", *([noun.other] if noun.other else ()))
        every = (getattr(each, field) for each in items for field in fields)
        return sorted({str(name) for name in every if name and str(name).startswith(incomplete)})

    return complete
