"""What processes write to their logs: a line for each unit of work, and no secret, whatever is done and however it ends."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from arable.client.arable import Arable
from arable.client.errors import Refused
from arable.processes import up
from arable.processes.log_option import LOG, VERBOSE
from arable.processes.up import Wanted
from arable.runtime.clock import RealClock
from arable.wire.accounts import AccountIn, FirstUserIn
from arable.wire.alerts import AlertRouteIn, MailIn, WebhookIn
from arable.wire.hosts import JoinTokenIn
from arable.wire.machines import DeployIn
from arable.wire.users import KeyIn, PasswordIn, UserIn


@dataclass
class Story:
    """What was done, and every secret in it."""

    data: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    canaries: dict[str, str] = field(default_factory=dict)
    deployed: str = ""

    def text(self) -> str:
        return "".join(path.read_text() for path in self.data.rglob("*.log"))

    def units(self, of: str) -> list[dict[str, Any]]:
        return [each for each in self.lines if each["logger"] == f"arable.units.{of}"]


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    data = tmp_path_factory.mktemp("cloud")
    topology = up.topology_of(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LOG, "json")
        patch.setenv(VERBOSE, "1")
        made = Story(data)
        wanted = Wanted(data=data, topology=topology, simulated=True, api="127.0.0.1:0")
        with (
            up.cloud(wanted, RealClock(), lambda _said: None) as cloud,
            cloud.operator() as operator,
        ):
            made.canaries["the operator's password"] = _password(cloud.operator_file)
            made.canaries["the operator's key"] = operator.connection.token
            _play(made, operator, cloud.url)
    made.lines = [json.loads(line) for line in made.text().splitlines()]
    return made


def _password(path: Path) -> str:
    found: str = json.loads(path.read_text())["password"]
    return found


def _play(story: Story, operator: Arable, url: str) -> None:
    known = story.canaries
    for name in ("first", "typed", "new", "mail", "data", "wrong"):
        known[f"{name} password"] = f"canary-{name}-password-7531"
    first = FirstUserIn(name="ann", password=known["first password"])
    account = AccountIn(name="acme", user=first)
    operator.accounts.create(account)
    with suppress(Refused):
        operator.accounts.create(account)  # a conflict
    with suppress(Refused):
        operator.users.create(UserIn(name="ann", password=known["typed password"]))
    with Arable(url) as ann:
        with suppress(Refused):
            ann.sign_in("ann", known["wrong password"])
        known["session"] = ann.sign_in("ann", known["first password"]).token
        known["key"] = ann.keys.create(KeyIn(name="k")).secret or ""
        me = ann.users.whoami()
        change = PasswordIn(old=known["first password"], new=known["new password"])
        ann.users.change_password(me.user, change)
        ask = DeployIn(
            name="web",
            offering="tiny",
            image="tiny",
            user_data=f"#cloud-config\npassword: {known['data password']}\n",
            password=True,
        )
        deployed = ann.machines.deploy(ask, idempotency_key="once")
        known["machine password"] = (deployed.passwords or {})[deployed.machines[0].id]
        with suppress(Refused):
            ann.machines.deploy(ask)  # the name is taken
        ann.operations.wait(deployed.operation, seconds=120)
        story.deployed = deployed.operation
        known["ticket"] = ann.machines.console(deployed.machines[0].id).ticket
    with suppress(Refused), Arable(url, "no-such-token-canary-7531") as nobody:
        known["no token"] = "no-such-token-canary-7531"
        nobody.machines.page()
    pod = next(operator.pods.all()).name
    known["join token"] = operator.join_tokens.create(JoinTokenIn(pod=pod)).token or ""
    mail = MailIn(
        server="127.0.0.1",
        port=9,
        user="arable",
        password=known["mail password"],
        sender="a@example.org",
        recipients=("b@example.org",),
    )
    hook = WebhookIn(url="http://127.0.0.1:9/")
    operator.alert_routes.create(AlertRouteIn(name="mail", mail=mail))
    made = operator.alert_routes.create(AlertRouteIn(name="hook", webhook=hook))
    known["webhook secret"] = made.secret or ""
    for route in operator.alert_routes.all():
        operator.alert_routes.test(route.id)
    assert all(known.values()), known


def test_every_line_is_an_object_that_says_when_who_and_how_bad(story: Story) -> None:
    assert len(story.lines) > 20
    for line in story.lines:
        assert {"at", "level", "process", "logger", "text"} <= line.keys()
    assert {line["process"] for line in story.lines} == {"server", "agents"}


def test_no_secret_is_in_any_log(story: Story) -> None:
    text = story.text()
    for what, secret in story.canaries.items():
        assert secret not in text, what


def test_no_secret_is_in_the_database(story: Story) -> None:
    """But what machines are told to do with themselves, which is theirs."""
    raw = b"".join(path.read_bytes() for path in story.data.rglob("arable.sqlite*"))
    for what, secret in story.canaries.items():
        assert (secret.encode() in raw) == (what == "data password"), what


def test_a_call_is_one_line_that_leads_to_what_came_of_it(story: Story) -> None:
    calls = [each for each in story.units("calls") if each.get("operation") == story.deployed]
    assert [(each["text"], each["status"]) for each in calls] == [("POST /v1/machines", 202)]
    assert {"request", "user", "ms", "source"} <= calls[0].keys()
    ends = [each for each in story.units("operations") if each["operation"] == story.deployed]
    assert [each["text"] for each in ends] == ["machine.deploy done"]
    assert {"server", "account", "ms"} <= ends[0].keys()


def test_a_refusal_is_one_line_with_its_kind(story: Story) -> None:
    kinds = {each["problem"].rpartition(":")[2] for each in story.units("calls") if each["status"] >= 400}  # fmt: skip
    assert {"conflict", "unauthenticated"} <= kinds


def test_what_an_agent_did_is_told_with_its_host(story: Story) -> None:
    did = story.units("agent")
    assert did
    assert all({"host", "generation", "actions", "failed", "ms"} <= each.keys() for each in did)


def test_rounds_of_controllers_that_did_something_are_told(story: Story) -> None:
    assert any(each["text"] == "machines" and each["handled"] for each in story.units("rounds"))


def test_libraries_that_would_tell_every_byte_are_quiet_even_when_much_is_asked_for(
    story: Story,
) -> None:
    loud = {each["logger"] for each in story.lines if each["level"] == "debug"}
    assert all(name.startswith("arable.") for name in loud), loud


def test_the_database_is_not_overheard(story: Story) -> None:
    """From INFO on, SQLAlchemy tells each statement; that costs more than the statement."""
    heard = {each["logger"].partition(".")[0] for each in story.lines}
    assert "sqlalchemy" not in heard
    assert "httpx" not in heard
