"""What holds for all commands: each can be found, says what it is for, and takes no secret where others can read it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from arable.api.routes import OPERATIONS
from arable.cli.app import Late, build, noun_group
from arable.cli.nouns import NOUNS, group_class
from arable.client import sending
from arable.client.arable import Arable
from arable.client.connection import Group

TOP = build()
_SENT = {"image_uploads"}  # by the client's own sending of files
_IN_ONE_STREAM = {
    "images.upload_version",
    "image_parts.upload",
}  # commands send files so that they go on
_NOT_CALLS = {"all", "wait"}  # made of other calls


def commands() -> dict[str, Any]:
    """Every command that does something, by the words that one types."""
    found = {}
    for late in TOP.commands.values():
        assert isinstance(late, Late)
        made = late.make()
        verbs = getattr(made, "commands", None)
        if verbs is None:
            found[late.name] = made
        else:
            found |= {f"{late.name} {name}": each for name, each in verbs.items()}
    return found


COMMANDS = commands()


def client_groups() -> dict[str, type[Group]]:
    client = Arable("http://127.0.0.1:1")
    groups = {n: type(getattr(client, n)) for n in Arable.__annotations__}
    client.close()
    return groups


@pytest.mark.parametrize("words", sorted(COMMANDS))
def test_a_command_says_what_it_is_for_and_what_its_options_mean(words: str) -> None:
    command = COMMANDS[words]
    assert (command.help or "").strip(), words
    for parameter in command.params:
        assert getattr(parameter, "help", "x"), f"{words}: {parameter.name}"


@pytest.mark.parametrize("words", sorted(COMMANDS))
def test_help_is_printed(words: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        TOP(args=[*words.split(), "--help"], prog_name="arable")
    assert ended.value.code == 0
    assert "Usage: arable " + words in capsys.readouterr().out


def test_every_group_of_the_client_is_a_noun() -> None:
    assert {noun.group: group_class(noun) for noun in NOUNS.values()} == client_groups()


@pytest.mark.parametrize("noun", sorted(NOUNS))
def test_every_call_of_the_client_can_be_made(noun: str) -> None:
    row = NOUNS[noun]
    group = group_class(row)
    calls = {n for n in vars(group) if not n.startswith("_")} - _NOT_CALLS
    assert set(row.instead) <= calls, "a call is replaced that does not exist"
    verbs = set(noun_group(row).commands)
    derived = {{"page": "list", "get": "show", "import_key": "import"}.get(c, c.replace("_", "-")) for c in calls - set(row.instead)}  # fmt: skip
    assert derived <= verbs
    assert set(row.special) <= verbs
    assert verbs == derived | set(row.special)


def test_special_verbs_make_the_calls_that_they_stand_for() -> None:
    """What replaces a call names it: the sources are read, so that a row can't lie."""
    from arable.cli import (
        catalogue,
        console,
        farm_files,
        grid_sums,
        hosts,
        orders,
        pool_plans,
        regions,
        settings,
        signing,
        uploads,
        watching,
    )

    modules = {"catalogue": catalogue, "console": console, "farm_files": farm_files, "grid_sums": grid_sums, "hosts": hosts, "orders": orders, "pool_plans": pool_plans, "regions": regions, "settings": settings, "signing": signing, "uploads": uploads, "watching": watching}  # fmt: skip
    for row in NOUNS.values():
        sources = ""
        for where in row.special.values():
            if (module := modules.get(where.partition(":")[0])) is not None:
                sources += Path(module.__file__).read_text()
        if row.group in _SENT:
            sources += Path(sending.__file__).read_text()
        for call in row.instead:
            if f"{row.group}.{call}" in _IN_ONE_STREAM:
                continue
            said = "sign_in(" if (row.name, call) == ("session", "create") else f"{row.group}.{call}("  # fmt: skip
            assert said in sources, f"nothing calls {row.group}.{call}"


def test_every_operation_of_the_api_has_a_call_of_the_client_behind_a_command() -> None:
    """The client's own tests say that it calls all operations; here only that no noun of the API is left out."""
    nouns = {op.path.split("/")[2] for op in OPERATIONS} - {"whoami", "roles", "version"}
    nouns -= {"image-catalogue"}  # images, wherever they are: calls of that noun
    assert nouns <= {noun.group.replace("_", "-") for noun in NOUNS.values()}


@pytest.mark.parametrize("words", sorted(COMMANDS))
def test_no_secret_is_taken_from_the_command_line(words: str) -> None:
    for parameter in COMMANDS[words].params:
        name = (parameter.name or "").lower()
        if name.endswith("_file"):  # where a secret is, which is none
            continue
        if any(word in name for word in ("password", "secret", "token")) or name in ("old", "new"):
            assert getattr(parameter, "is_flag", False), f"{words}: {parameter.name} takes a value"


def test_help_at_the_top_imports_neither_the_client_nor_a_server() -> None:
    asked = (
        "import sys; from arable.processes import main\n"
        "try: main.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'httpx','sqlalchemy','uvicorn','numpy','rich.console','yaml'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked, "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for name in ("machine", "apply", "login", "up", "server", "agent", "lab", "doctor"):
        assert f"\n  {name} " in done.stdout
