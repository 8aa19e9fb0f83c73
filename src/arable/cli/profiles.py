"""Where the clouds are and who one is there: a small file of named profiles, readable for its owner alone.

    profile: home
    profiles:
      home: {url: "http://127.0.0.1:8480", token: "..."}
      work: {url: "https://cloud.example.org", ca: /etc/ssl/work.pem, token: "..."}

What is said on the command line counts most, then the environment (`ARABLE_URL`, `ARABLE_TOKEN`, `ARABLE_CA`,
`ARABLE_PROFILE`), then the file. A token goes to the address it was given for and to no other: with another `--url`
the profile's token stays at home.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from arable.cli.faults import Failed, say

DEFAULT = "default"
DEFAULT_URL = "http://127.0.0.1:8480"


class Profile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A cloud, and who one is there."""

    url: str = ""
    token: str = ""
    ca: str = ""
    user: str = ""
    home: str = ""  # the profile that signs on here: no credential of this region is kept
    region: str = ""  # what this one is called there


class Profiles(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    profile: str = DEFAULT
    profiles: dict[str, Profile] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Whom to call, and as whom."""

    profile: str
    url: str
    token: str = field(repr=False)
    ca: str = ""
    home: str = ""
    region: str = ""


def path(environment: Mapping[str, str] | None = None) -> Path:
    """Where the file is."""
    environment = os.environ if environment is None else environment
    home = environment.get("XDG_CONFIG_HOME") or ""
    directory = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    return directory / "arable" / "config.yaml"


def load(file: Path) -> Profiles:
    """The file's profiles; none where there is no file."""
    try:
        text = file.read_bytes()
        if file.stat().st_mode & 0o077:
            say(f"warning: others can read {file}, which may hold credentials; `chmod 600` it")
    except FileNotFoundError:
        return Profiles()
    except OSError as error:
        raise Failed(f"{file} can't be read: {error.strerror}") from error
    import yaml

    try:
        return msgspec.convert(yaml.safe_load(text) or {}, type=Profiles)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        first = str(error).partition("\n")[0]
        raise Failed(f"{file} is not understood: {first}", todo="mend it or remove it") from error


def save(file: Path, profiles: Profiles) -> None:
    """Whole or not at all, and for nobody else's eyes from its first moment on."""
    import yaml

    text = yaml.safe_dump(msgspec.to_builtins(profiles), sort_keys=False)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(fresh, flags, 0o600), "w") as out:
            out.write(text)
        fresh.replace(file)
    except OSError as error:
        raise Failed(f"{file} can't be written: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)


def chosen(
    profiles: Profiles,
    environment: Mapping[str, str],
    *,
    profile: str | None = None,
    url: str | None = None,
) -> Place:
    """Whom to call by what was said, in the order of this module's first lines."""
    asked = profile or environment.get("ARABLE_PROFILE")
    name = asked or profiles.profile
    found = profiles.profiles.get(name)
    said = url or environment.get("ARABLE_URL")
    if found is None:
        if asked and profile and not said:
            known = ", ".join(profiles.profiles) or "none yet"
            raise Failed(
                f"there is no profile {name!r}; there are: {known}",
                todo=f"`arable login --profile {name} --url URL` makes it",
            )
        found = Profile()
    where = said or found.url or DEFAULT_URL
    at_home = bool(found.url) and origin(where) == origin(found.url)
    token = environment.get("ARABLE_TOKEN") or (found.token if at_home else "")
    ca = environment.get("ARABLE_CA") or (found.ca if at_home else "")
    home = found.home if at_home and not token else ""
    return Place(name, where, token, ca, home, found.region)


def origin(url: str) -> tuple[str, str, int | None]:
    """What decides whether two addresses lead to the same server; raises `Failed` for what is no address."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port is None:
        raise Failed(
            f"{url!r} is no address of a cloud", todo="it looks like http://127.0.0.1:8480"
        )
    return parts.scheme, parts.hostname, port
