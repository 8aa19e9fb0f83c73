"""Signing in and out, and the profiles that remember it."""

import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from arable.cli import names, profiles, secrets
from arable.cli.faults import Failed, Misused
from arable.cli.nouns import NOUNS
from arable.cli.output import Format
from arable.cli.speaking import Cli, command

Stdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from the first line of standard input."),
]  # fmt: skip


def _login(
    cli: Cli,
    user: Annotated[
        str | None,
        typer.Argument(metavar="USER", help="Who you are; asked for if left out.", show_default=False),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Who you are, too.", metavar="USER", show_default=False),
    ] = None,
    password_stdin: Stdin = False,
    credentials: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Take name and password from this file, such as the one that `arable up` writes; where its server answers, too, unless --url says so.",
            show_default=False,
        ),
    ] = None,
    key_stdin: Annotated[
        bool,
        typer.Option("--key-stdin", help="Keep an API key, read from standard input, instead of signing in."),
    ] = False,
    ca: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The certificate authority to trust for this cloud.", show_default=False),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help="With --region: where its API is, if the region does not say so.", show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """Sign in, and keep the session in the profile.

    The password is asked for at a prompt, or read from standard input or a file; it is kept nowhere. With --region one
    signs on at another region of the grid by the profile that is in use; the new profile is called like that region, and
    has each command's token from the first.
    """
    if cli.region:
        _sign_on(cli, cli.region, address, ca)
        return
    file = profiles.path()
    kept = profiles.load(file)
    profile = cli.profile or os.environ.get("ARABLE_PROFILE") or kept.profile
    found = kept.profiles.get(profile, profiles.Profile())
    told = _beside(credentials) if credentials else ""
    url = cli.url or os.environ.get("ARABLE_URL") or told or found.url or profiles.DEFAULT_URL
    same = bool(found.url) and profiles.origin(url) == profiles.origin(found.url)
    trusted = os.path.realpath(ca) if ca else (found.ca if same else "")
    cli.use(profiles.Place(profile, url, "", trusted))
    if key_stdin:
        token = secrets.asked("API key", stdin=True)
    elif credentials is not None:
        token = cli.cloud.sign_in(*_credentials(credentials)).token
    else:
        who = user or name or (found.user if password_stdin else "")
        if not who and password_stdin:
            raise Misused("say who you are", field="USER")
        who = who or typer.prompt("User", default=found.user or None, err=True)
        token = cli.cloud.sign_in(who, secrets.asked("Password", stdin=password_stdin)).token
    cli.use(profiles.Place(profile, url, token, trusted))
    me = cli.cloud.users.whoami()
    kept.profiles[profile] = profiles.Profile(url=url, token=token, ca=trusted, user=me.name)
    if not any(each.token for key, each in kept.profiles.items() if key != profile):
        kept.profile = profile
    profiles.save(file, kept)
    cli.note(f"signed in to {url} as {me.name} ({me.role}); profile {profile} in {file}")


def _sign_on(cli: Cli, region: str, address: str | None, ca: str | None) -> None:
    from arable.wire.sign_on import SignOnIn

    file = profiles.path()
    kept = profiles.load(file)
    home, cli.region = cli.place, None
    if home.home or home.profile == region:
        raise Misused("sign on from the profile of the region that knows you", field="--profile")
    answer = cli.cloud.regions.sign_on(SignOnIn(region=region))
    url = address or answer.address
    if not url:
        raise Misused(f"{region} does not say where its API is", todo="give --address URL")
    before = kept.profiles.get(region)
    if before is not None and before.token:
        raise Misused(f"there is a profile {region} of another kind", todo=f"`arable profile remove {region}`")  # fmt: skip
    trusted = os.path.realpath(ca) if ca else (before.ca if before else "")
    cli.use(profiles.Place(region, url, answer.token or "", trusted))
    me = cli.cloud.users.whoami()
    kept.profiles[region] = profiles.Profile(
        url=url, ca=trusted, user=me.name, home=home.profile, region=region
    )
    profiles.save(file, kept)
    cli.note(f"signed on at {region} ({url}) as {me.name}; profile {region} in {file}")


class _Credentials(msgspec.Struct):
    name: str
    password: str


class _Server(msgspec.Struct):
    api: str


def _beside(credentials: Path) -> str:
    """Where the server answers that wrote this file, as it says beside it; empty where that is not said."""
    for name in ("server.json", "grid.json"):
        try:
            told = credentials.with_name(name).read_bytes()
            return msgspec.json.decode(told, type=_Server).api
        except (OSError, msgspec.DecodeError):
            continue
    return ""


def _credentials(file: Path) -> tuple[str, str]:
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_Credentials)
    except (OSError, msgspec.DecodeError) as error:
        raise Failed(f"{file} holds no credentials: {error}") from error
    return found.name, found.password


def _logout(cli: Cli) -> None:
    """Sign out: the session ends, and the profile forgets it. An API key only is forgotten."""
    from arable.client import errors

    file = profiles.path()
    kept = profiles.load(file)
    place = cli.place
    found = kept.profiles.get(place.profile)
    if not place.token:
        raise Failed("you are not signed in", todo="`arable profile list` shows the profiles")
    try:
        if cli.cloud.users.whoami().via.startswith("session-"):
            cli.cloud.sessions.end()
    except errors.Unauthenticated:
        cli.note("the session had ended already")
    if found is not None and found.token == place.token:
        found.token = ""
        profiles.save(file, kept)
    cli.note(f"signed out of {place.url}")


def _whoami(cli: Cli) -> None:
    """Say who this credential is, and what it may do."""
    me = cli.cloud.users.whoami()
    if cli.form is not Format.TABLE:
        cli.show(me)
        return
    cli.show(
        {
            "user": me.name,
            "account": me.account_name,
            "domain": me.path,
            "role": me.role,
            "permissions": me.permissions,
            "via": me.via,
        }
    )


def _change_password(
    cli: Cli,
    user: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Whose. [default: one's own]", show_default=False),
    ] = None,
    password_stdin: Annotated[
        bool,
        typer.Option(
            "--password-stdin",
            help="Read from standard input: one's old password (only for one's own) and the new one, a line each.",
        ),
    ] = False,
) -> None:  # fmt: skip
    """Change a password: one's own with the old one, or, for administrators, another's."""
    from arable.cli.fields import built
    from arable.wire.users import PasswordIn

    me = cli.cloud.users.whoami()
    whose = me.user if user is None else names.id_of(cli, NOUNS["user"], user)
    said = {}
    if whose == me.user:
        said["old"] = secrets.asked("Old password", stdin=password_stdin)
    said["new"] = secrets.asked("New password", stdin=password_stdin, confirm=True)
    ask = built(PasswordIn, said, ())
    cli.show(cli.cloud.users.change_password(whose, ask, **cli.how))


def _profiles(cli: Cli) -> None:
    """List the profiles; the one in use is marked."""
    kept = profiles.load(profiles.path())
    used = profiles.chosen(kept, os.environ, profile=cli.profile, url=cli.url).profile
    rows = [
        {
            "name": name,
            "used": name == used,
            "url": each.url,
            "user": each.user,
            "signed_in": bool(each.token),
            "ca": each.ca,
        }
        for name, each in kept.profiles.items()
    ]
    cli.show(rows, ("name", "used", "url", "user", "signed_in"))


def _use(
    cli: Cli, name: Annotated[str, typer.Argument(metavar="NAME", help="The profile.")]
) -> None:
    """Use a profile from now on."""
    file = profiles.path()
    kept = profiles.load(file)
    profiles.chosen(kept, {}, profile=name)
    kept.profile = name
    profiles.save(file, kept)
    cli.note(f"profile {name} is used from now on")


def _forget(
    cli: Cli, name: Annotated[str, typer.Argument(metavar="NAME", help="The profile.")]
) -> None:
    """Remove a profile with its credential. `arable logout` ends the session, too."""
    file = profiles.path()
    kept = profiles.load(file)
    profiles.chosen(kept, {}, profile=name)
    del kept.profiles[name]
    profiles.save(file, kept)
    cli.note(f"profile {name} is removed")


login = command(_login)
logout = command(_logout)
whoami = command(_whoami)
change_password = command(_change_password, tries=True, repeats=True)
list_profiles = command(_profiles)
use_profile = command(_use)
remove_profile = command(_forget)
