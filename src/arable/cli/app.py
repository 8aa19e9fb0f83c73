"""`arable`: the nouns, and the few commands that are about no noun.

Each is only a name and a sentence until it is used: `arable --help` imports neither the client nor what the processes
need, and `arable zone list` does not pay for `arable server`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from arable.cli.loading import spared
from arable.cli.nouns import BY_FIELD, NOUNS, Noun
from arable.cli.output import Format
from arable.cli.speaking import Defaults

SETTINGS = {"help_option_names": ["-h", "--help"]}
_SUBJECT = "subject_"  # the parameter of verbs that says of which thing (`verbs.py`)
USE, YOU, NOUN, RUN = "From files", "You", "Nouns", "Processes"


class Late(TyperCommand):
    """A command that is made when it is used. `make` gives the real one."""

    make: Callable[[], Any]

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:  # fmt: skip
        """The real one's: from here on nobody sees this one."""
        made = self.make()
        made.name = self.name
        return made.make_context(info_name, args, parent=parent, **extra)


class Top(TyperGroup):
    """`arable` itself: its commands under headings."""

    def invoke(self, ctx: Any) -> Any:
        """What was not said is often the name of something: who is told that is told where to look for it."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            if type(error).__name__ == "MissingParameter" and not error.message:
                error.message = _where_to_look(error)
            raise

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which they were added."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """A heading for each kind."""
        del ctx
        for heading in (USE, NOUN, YOU, RUN):
            rows = [
                (name, command.get_short_help_str(100))
                for name, command in self.commands.items()
                if getattr(command, "rich_help_panel", None) == heading
            ]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def _where_to_look(error: typer.BadParameter) -> str:
    """The list that has what is missing, if it is the name of something that is there."""
    missing = (error.param.name or "") if error.param else ""
    above = error.ctx.parent.info_name if error.ctx and error.ctx.parent else None
    noun = above if missing == _SUBJECT else BY_FIELD.get(missing, "")
    return f"`arable {noun} list` shows what there is." if noun in NOUNS else ""


def late(name: str, about: str, heading: str, make: Callable[[], Any]) -> Late:
    """A command by what is said of it in the list."""
    made = Late(name=name, help=about, rich_help_panel=heading, rich_markup_mode=None)
    made.make = make
    return made


def function(where: str) -> Callable[[], Any]:
    """Makes the command of the function at `module:name`."""

    def make() -> Any:
        app = typer.Typer(rich_markup_mode=None, add_completion=False)
        app.command(context_settings=SETTINGS)(_at(where))
        return get_command(app)

    return make


def group(where: str) -> Callable[[], Any]:
    """Makes the group of the Typer application at `module:name`."""
    return lambda: get_command(_at(where))


def _at(where: str) -> Any:
    module, _, name = where.partition(":")
    with spared():
        return getattr(import_module(module), name)


def _typer(about: str) -> typer.Typer:
    return typer.Typer(
        help=about,
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=False,
        context_settings=SETTINGS,
    )


def noun_group(noun: Noun) -> TyperGroup:
    """`arable NOUN`, with its verbs."""
    from arable.cli.verbs import verbs

    app = _typer(noun.about)
    app.callback()(lambda: None)
    for name, verb in verbs(noun).items():
        app.command(name, context_settings=SETTINGS)(verb())
    made = get_command(app)
    assert isinstance(made, TyperGroup)
    return made


_PROFILE = {
    "list": "arable.cli.signing:list_profiles",
    "use": "arable.cli.signing:use_profile",
    "remove": "arable.cli.signing:remove_profile",
}


def profile_group() -> Any:
    """`arable profile`."""
    app = _typer("Profiles: which clouds there are, and which is used.")
    app.callback()(lambda: None)
    for name, where in _PROFILE.items():
        app.command(name, context_settings=SETTINGS)(_at(where))
    return get_command(app)


def commands() -> list[Late]:
    """All that talk to a cloud."""
    files = [
        late("apply", "Make the cloud as files say.", USE, function("arable.cli.files:apply")),
        late("diff", "Show what `apply` would change.", USE, function("arable.cli.files:diff")),
    ]
    you = [
        late("login", "Sign in, and keep the session in a profile.", YOU, function("arable.cli.signing:login")),
        late("logout", "Sign out.", YOU, function("arable.cli.signing:logout")),
        late("whoami", "Say who you are, and what you may do.", YOU, function("arable.cli.signing:whoami")),
        late("profile", "Profiles: which clouds there are, and which is used.", YOU, profile_group),
    ]  # fmt: skip
    nouns = [
        late(each.name, each.about, NOUN, partial(noun_group, each)) for each in NOUNS.values()
    ]
    return [*files, *nouns, *you]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"arable {metadata.version('arable')}")
        raise typer.Exit


def _before(
    context: typer.Context,
    output: Annotated[
        Format | None,
        typer.Option("--output", "-o", help="How to write answers; may also be said after the verb.", show_default=False),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="Which profile of the configuration file.", metavar="NAME", show_default=False),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="The cloud's address, instead of the profile's.", metavar="URL", show_default=False),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(help="Ask this region of the grid instead: the one that answers passes it on.", metavar="NAME", show_default=False),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print what goes over the wire, without credentials.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True),
    ] = False,
) -> None:  # fmt: skip
    """Arable, a cloud operating system: rooms of servers become private data centres that customers run by themselves.

    Begin with `arable login`, or `arable up` for a cloud of your own on this machine. `arable NOUN --help` lists what
    can be done with a noun, `arable NOUN VERB --help` how.
    """
    del version
    context.obj = Defaults(output, profile, url, debug, region)


def build(more: Sequence[Late] = ()) -> Any:
    """The whole command line; `more` is what the processes add."""
    app = typer.Typer(
        name="arable",
        cls=Top,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=SETTINGS,
    )
    app.callback()(_before)
    made = get_command(app)
    assert isinstance(made, TyperGroup)
    for each in [*commands(), *more]:
        assert each.name
        made.commands[each.name] = each
    return made
