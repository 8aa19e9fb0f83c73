"""What every command has: a cloud to talk to, a way to answer, and the options that say which and how.

A command is a function `(cli, ...)`; `command` gives it the common options, its errors their words and its exit status.
"""

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from arable.cli import output, profiles
from arable.cli.faults import Misused, say, told
from arable.cli.output import Format

if TYPE_CHECKING:
    from arable.client.arable import Arable
    from arable.client.connection import Exchange, How

_COMMON = "Common options"
_WRITES = "Options of changes"
_LONGEST = 86_400 * 7


@dataclass(slots=True)
class Cli:
    """One command's surroundings."""

    form: Format = Format.TABLE
    profile: str | None = None
    url: str | None = None
    region: str | None = None
    debug: bool = False
    dry_run: bool = False
    waits: bool = True
    timeout: int = 3600
    expects: int | None = None
    key: str | None = None
    _cloud: "Arable | None" = field(default=None, repr=False)
    _place: profiles.Place | None = field(default=None, repr=False)

    @property
    def place(self) -> profiles.Place:
        """Whom we call."""
        if self._place is None:
            kept = profiles.load(profiles.path())
            self._place = profiles.chosen(kept, os.environ, profile=self.profile, url=self.url)
            profiles.origin(self._place.url)
        return self._place

    @property
    def cloud(self) -> "Arable":
        """The client, made when it is first needed."""
        if self._cloud is None:
            self._cloud = self.client(self.place.token or self._signed_on())
        return self._cloud

    def _signed_on(self) -> str:
        """A fresh token of the region that knows us, where the profile says which; it is kept nowhere."""
        place = self.place
        if not place.home:
            return ""
        from arable.wire.sign_on import SignOnIn

        home = Cli(profile=place.home, debug=self.debug)
        home.use(profiles.chosen(profiles.load(profiles.path()), {}, profile=place.home))
        try:
            return home.cloud.regions.sign_on(SignOnIn(region=place.region)).token or ""
        finally:
            home.close()

    def use(self, place: profiles.Place) -> None:
        """Call somebody else from now on."""
        self.close()
        self._cloud, self._place = None, place

    def client(self, token: str) -> "Arable":
        """A client with another credential, or with none."""
        from arable.client.arable import Arable
        from arable.client.patience import Patience

        place = self.place
        try:
            return Arable(
                place.url,
                token,
                ca=place.ca or None,
                on_call=_show if self.debug else None,
                patience=Patience(keys=True),
                region=self.region or "",
            )
        except OSError as error:
            raise Misused(f"{place.ca} is no certificate authority's file: {error}") from error

    @property
    def how(self) -> "How":
        """What is said with any write."""
        made: How = {}
        if self.dry_run:
            made["dry_run"] = True
        if self.expects is not None:
            made["expects"] = self.expects
        if self.key is not None:
            made["idempotency_key"] = self.key
        return made

    def show(self, value: Any, columns: Sequence[str] = ()) -> None:
        """The answer. In tables, what has a name is called by it."""
        if self.form is Format.TABLE and isinstance(value, list | tuple) and value and columns:
            from arable.cli.called import by_names

            value = by_names(self, value, columns)
        elif self.form is Format.TABLE and isinstance(value, msgspec.Struct):
            from arable.cli.called import one_by_names

            value = one_by_names(self, value)
        output.write(value, self.form, columns)

    def note(self, text: str) -> None:
        """Beside the answer, for people."""
        say(text)

    def close(self) -> None:
        """Hang up."""
        if self._cloud is not None:
            self._cloud.close()


def _show(exchange: "Exchange") -> None:
    """A call as it went over the wire, without what must not be seen."""
    from arable.cli.secrets import hidden

    say(f"> {exchange.method} {exchange.url}")
    if exchange.sent:
        say(f"> {hidden(exchange.sent)}")
    say(f"< {exchange.status} (request {exchange.request or 'unknown'})")
    if exchange.received:
        say(f"< {hidden(exchange.received)}")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What was said before the noun: `arable --output json machine list`."""

    output: Format | None = None
    profile: str | None = None
    url: str | None = None
    debug: bool = False
    region: str | None = None


def _option(
    name: str, kind: Any, default: Any, *names: str, about: str, panel: str, **more: Any
) -> Parameter:
    option = typer.Option(*names, help=about, rich_help_panel=panel, show_default=False, **more)
    return Parameter(
        name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


FORM = _option("form_", Format | None, None, "--output", "-o", about="How to write the answer. [default: table]", panel=_COMMON)  # fmt: skip
PROFILE = _option("profile_", str | None, None, "--profile", about="Which profile of the configuration file. [env: ARABLE_PROFILE]", panel=_COMMON, metavar="NAME")  # fmt: skip
URL = _option("url_", str | None, None, "--url", about="The cloud's address, instead of the profile's. [env: ARABLE_URL]", panel=_COMMON, metavar="URL")  # fmt: skip
DEBUG = _option("debug_", bool, False, "--debug", about="Print what goes over the wire, without credentials.", panel=_COMMON)  # fmt: skip
REGION = _option("region_", str | None, None, "--region", about="Ask this region of the grid instead: the one that answers passes it on.", panel=_COMMON, metavar="NAME")  # fmt: skip
COMMON = (FORM, PROFILE, URL, DEBUG)

DRY_RUN = _option("dry_run_", bool, False, "--dry-run", about="Do everything and take it back: the answer says what would happen.", panel=_WRITES)  # fmt: skip
EXPECTS = _option("expects_", int | None, None, "--if-generation", about="Only if it is still at this generation.", panel=_WRITES, metavar="NUMBER", min=0)  # fmt: skip
KEY = _option("key_", str | None, None, "--idempotency-key", about="Repeated with the same key, it is done once.", panel=_WRITES, metavar="KEY")  # fmt: skip

WAIT = _option("waits_", bool, True, "--wait/--no-wait", about="Wait until it is done, with its progress. [default: wait]", panel=_WRITES)  # fmt: skip
TIMEOUT = _option("timeout_", int, 3600, "--timeout", about="How many seconds to wait at most. [default: 3600]", panel=_WRITES, metavar="SECONDS", min=0, max=_LONGEST)  # fmt: skip
WAITS = (WAIT, TIMEOUT)
NO_WAIT = _option("waits_", bool, True, "--wait/--no-wait", about="Nothing is left to wait for when it returns.", panel=_WRITES, hidden=True)  # fmt: skip
"""Where there is nothing to wait for: taken all the same, as others of its kind take it."""


def command(
    act: Callable[..., None],
    parameters: Sequence[Parameter] | None = None,
    *,
    tries: bool = False,
    repeats: bool = False,
    expects: bool = False,
    waits: bool = False,
) -> Callable[..., None]:
    """`act(cli, ...)` as the function of a command, with the options that every command has.

    What changes something can be tried (`--dry-run`), be repeated with a key, and expect a generation of what it
    changes; what goes on afterwards can be waited for.
    """
    own = list(inspect.signature(act).parameters.values())[1:] if parameters is None else parameters
    more = (
        *((DRY_RUN,) if tries else ()),
        *((EXPECTS,) if expects else ()),
        *((KEY,) if repeats else ()),
        *(WAITS if waits else (NO_WAIT,) if repeats else ()),
        *(() if any(_is_region(each) for each in own) else (REGION,)),
        *COMMON,
    )

    @functools.wraps(act)
    def run(context_: typer.Context, **given: Any) -> None:
        taken = {each.name: given.pop(each.name) for each in more}
        with told(), speaking(context_.obj, taken) as cli:
            act(cli, **given)
            if cli.dry_run:
                cli.note("dry run: nothing was changed")

    context = Parameter("context_", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    ordered = sorted([*own, *more], key=lambda each: each.default is not Parameter.empty)
    keywords = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in ordered]
    vars(run).pop("__wrapped__", None)
    run.__signature__ = inspect.Signature([context, *keywords])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in [context, *keywords]}
    return run


def _is_region(own: Parameter) -> bool:
    """Whether a command has an option of its own that is called so."""
    said = getattr(own.annotation, "__metadata__", ())
    return any("--region" in (getattr(each, "param_decls", None) or ()) for each in said) or (
        own.name == "region"
    )


@contextmanager
def speaking(before: object, taken: dict[str, Any]) -> Iterator[Cli]:
    """The surroundings by what was said, after the verb or before the noun."""
    defaults = before if isinstance(before, Defaults) else Defaults()
    cli = Cli(
        form=taken["form_"] or defaults.output or Format.TABLE,
        profile=taken["profile_"] or defaults.profile,
        url=taken["url_"] or defaults.url,
        region=taken.get("region_") or defaults.region,
        debug=taken["debug_"] or defaults.debug,
        dry_run=taken.get("dry_run_", False),
        waits=taken.get("waits_", True),
        timeout=taken.get("timeout_", 3600),
        expects=taken.get("expects_"),
        key=taken.get("key_"),
    )
    try:
        yield cli
    finally:
        cli.close()
