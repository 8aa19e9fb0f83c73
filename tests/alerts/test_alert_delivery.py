"""Mail and webhooks to real servers, which go away and come back while there is something to tell."""

import hashlib
import hmac
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hook_server import HookServer
from mail_server import MailServer

from arable.controllers.delivery import AGAIN, GIVE_UP, SELDOM, Deliverer, pause
from arable.domain.access import EVERYTHING
from arable.domain.alert import (
    Alert,
    AlertKind,
    AlertRoute,
    RouteKind,
    Security,
    Severity,
    Target,
    Told,
)
from arable.domain.errors import Conflict
from arable.domain.ids import AlertId, AlertRouteId
from arable.drivers.alerts.mail import Mail
from arable.drivers.alerts.webhook import Webhooks
from arable.runtime.ca import Authority, IdentityKind, new_request
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy
from arable.runtime.sealed import seal, unseal
from arable.runtime.secret import Secret
from arable.store import alert_routes, events
from arable.store.database import Database
from arable.store.events import EventFilter
from arable.store.writer import Writer

PASSWORD = "the mail server's"
SECRET = "what both ends know"


@dataclass
class Desk:
    """A deliverer over a database, and the ends that it tells."""

    database: Database
    writer: Writer
    clock: VirtualClock
    deliverer: Deliverer
    authority: Authority
    mail: MailServer
    hook: HookServer
    leads: list[bool] = field(default_factory=lambda: [True])
    fenced: list[bool] = field(default_factory=lambda: [False])

    def route(self, name: str, kind: RouteKind, target: Target, secret: str) -> AlertRoute:
        id_ = AlertRouteId(f"alertroute-{name}")
        sealed = seal(self.authority, Entropy("seal"), Secret(secret), id_)
        made = AlertRoute(
            id=id_, name=name, kind=kind, target=target, sealed=sealed, created_at=self.clock.now()
        )
        with self.database.write() as tx:
            alert_routes.add(tx, made)
        return made

    def by_mail(self, **but: Any) -> AlertRoute:
        usual: dict[str, Any] = {
            "server": "127.0.0.1",
            "port": self.mail.port,
            "user": "arable",
            "sender": "arable@example.org",
            "recipients": ("ops@example.org", "boss@example.org"),
        }
        return self.route("mail", RouteKind.MAIL, Target(**usual | but), PASSWORD)

    def by_webhook(self, url: str = "") -> AlertRoute:
        return self.route("hook", RouteKind.WEBHOOK, Target(url=url or self.hook.url), SECRET)

    def tell(self, name: str, what: Told = Told.OPENED) -> Alert:
        at = self.clock.now()
        alert = Alert(
            id=AlertId(f"alert-{name}"),
            kind=AlertKind.HOST_SILENT,
            subject=f"host-{name}",
            name=name,
            severity=Severity.WARNING,
            text=f"host {name} was not heard",
            since=at,
            opened_at=at,
        )
        with self.database.write() as tx:
            alert_routes.tell(tx, alert, what, at)
        return alert

    def waiting(self) -> int:
        with self.database.read() as tx:
            return sum(alert_routes.waiting(tx).values())

    def state(self, route: AlertRoute) -> AlertRoute:
        with self.database.read() as tx:
            return alert_routes.get(tx, route.id)

    def posted(self) -> list[dict[str, Any]]:
        return [json.loads(each.body) for each in self.hook.posts]


def certified(authority: Authority, directory: Path) -> ssl.SSLContext:
    made = new_request("server")
    signed = authority.sign(made.request, "server", IdentityKind.SERVER, 1, ["127.0.0.1"])
    pem = directory / "server.pem"
    pem.write_text(signed + made.key.reveal())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@pytest.fixture
def desk(database, tmp_path) -> Iterator[Desk]:
    from arable.runtime.clock import RealClock

    authority = Authority.create(tmp_path / "ca", RealClock(), Entropy.system())
    trusting = ssl.create_default_context(cadata=authority.pem)
    clock = VirtualClock(RealClock().now())
    writer = Writer(database)
    leads, fenced = [True], [False]

    def fence(_tx: Any) -> None:
        if fenced[0]:
            raise Conflict("another server acts by now")

    deliverer = Deliverer(
        database,
        writer,
        clock,
        Entropy("delivery"),
        {RouteKind.MAIL: Mail(clock, trusting), RouteKind.WEBHOOK: Webhooks(clock, trusting)},
        lambda route: unseal(authority, route.sealed, route.id),
        lambda: fence if leads[0] else None,
    )
    with ExitStack() as stack:
        writer.start()
        stack.callback(writer.stop)
        tls = certified(authority, tmp_path)
        mail = stack.enter_context(MailServer(tls, PASSWORD))
        hook = stack.enter_context(HookServer(tls))
        stack.callback(deliverer.stop)
        yield Desk(database, writer, clock, deliverer, authority, mail, hook, leads, fenced)


def test_a_webhook_is_signed_and_says_what_is_the_matter(desk: Desk) -> None:
    desk.by_webhook()
    desk.tell("a1")
    desk.deliverer.step()
    (post,) = desk.hook.posts
    seconds, _, signature = post.headers["arable-signature"].partition(",v1=")
    said = seconds.removeprefix("t=").encode() + b"." + post.body
    assert hmac.new(SECRET.encode(), said, hashlib.sha256).hexdigest() == signature
    assert int(seconds.removeprefix("t=")) == int(desk.clock.now().timestamp())
    notice = json.loads(post.body)
    assert notice["id"] == post.headers["arable-delivery"]
    assert (notice["what"], notice["alert"]["name"]) == ("opened", "a1")
    assert post.path == "/arable"
    assert SECRET.encode() not in post.body
    assert desk.waiting() == 0


def test_mail_is_encrypted_and_says_what_is_the_matter(desk: Desk) -> None:
    desk.by_mail()
    desk.tell("a1")
    desk.deliverer.step()
    (mail,) = desk.mail.mails
    assert mail["Subject"] == "[arable] warning host-silent a1: opened"
    assert mail["To"] == "ops@example.org, boss@example.org"
    assert "host a1 was not heard" in str(mail.get_payload())
    assert desk.mail.commands[:3] == ["EHLO", "STARTTLS", "EHLO"]
    assert desk.waiting() == 0


def test_servers_that_are_killed_in_the_middle_hear_of_everything_when_they_are_back(
    desk: Desk,
) -> None:
    routes = [desk.by_mail(), desk.by_webhook()]
    desk.tell("a1")
    desk.deliverer.step()
    desk.mail.down()
    desk.hook.down()
    for name in ("a2", "a3"):
        desk.clock.wait(AGAIN)
        desk.tell(name)
    for _ in range(4):
        desk.deliverer.step()
        desk.clock.wait(SELDOM)
    assert desk.waiting() == 4
    assert all("can't be reached" in desk.state(route).told for route in routes)
    assert all(desk.state(route).failing_since for route in routes)
    desk.mail.up()
    desk.hook.up()
    desk.deliverer.step()
    assert desk.waiting() == 0
    assert [each["alert"]["name"] for each in desk.posted()] == ["a1", "a2", "a3"]
    subjects = desk.mail.subjects()
    assert len(subjects) == 2, "what waited goes in one mail"
    assert subjects[1].endswith("a2: opened (and 1 more)")
    assert not any(desk.state(route).failing_since for route in routes)


def test_a_receiver_that_dies_before_it_says_so_gets_the_same_again(desk: Desk) -> None:
    desk.by_mail()
    desk.by_webhook()
    desk.tell("a1")
    desk.mail.fails = desk.hook.hangs_up = True
    desk.deliverer.step()
    desk.mail.fails = desk.hook.hangs_up = False
    desk.clock.wait(SELDOM)
    desk.deliverer.step()
    first, second = desk.posted()
    assert first["id"] == second["id"]
    one, again = desk.mail.mails
    assert one["Message-ID"] == again["Message-ID"]
    assert desk.waiting() == 0


def test_a_server_that_does_not_act_any_more_leaves_it_to_the_next_one(desk: Desk) -> None:
    desk.by_webhook()
    desk.tell("a1")
    desk.leads[0] = False
    desk.deliverer.step()
    assert desk.hook.posts == []
    desk.leads[0] = desk.fenced[0] = True
    desk.deliverer.step()
    assert (len(desk.hook.posts), desk.waiting()) == (1, 1), "sent, and nobody could note it"
    desk.fenced[0] = False
    desk.deliverer.step()
    first, second = desk.posted()
    assert first["id"] == second["id"]
    assert desk.waiting() == 0


def test_a_crash_loses_nothing(desk: Desk) -> None:
    desk.by_webhook()
    desk.hook.down()
    desk.tell("a1")
    desk.deliverer.step()
    after = replace(desk.deliverer, _busy=set())  # another process: nothing but the store
    desk.hook.up()
    desk.clock.wait(SELDOM)
    after.step()
    assert len(desk.hook.posts) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 500])
def test_what_is_not_taken_is_tried_again_and_redirects_are_not_followed(
    desk: Desk, status: int
) -> None:
    with HookServer(desk.hook.tls) as elsewhere:
        desk.hook.status, desk.hook.location = status, elsewhere.url
        route = desk.by_webhook()
        desk.tell("a1")
        desk.deliverer.step()
        assert elsewhere.posts == []
    assert desk.waiting() == 1
    assert str(status) in desk.state(route).told


def test_a_route_that_does_not_work_holds_up_no_other(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes calls and says nothing
        route = desk.by_mail(port=mute.getsockname()[1])
        desk.by_webhook()
        desk.tell("a1")
        futures = desk.deliverer.begin()
        with desk.hook.taken:
            assert desk.hook.taken.wait_for(lambda: desk.hook.posts, timeout=60)
        assert not all(future.done() for future in futures)
    for future in futures:  # hung up on
        future.result()
    assert desk.state(route).failing_since


def test_what_is_being_sent_is_not_sent_once_more(desk: Desk) -> None:
    desk.by_webhook()
    desk.tell("a1")
    desk.hook.goes_on.clear()
    first = desk.deliverer.begin()
    with desk.hook.taken:
        assert desk.hook.taken.wait_for(lambda: desk.hook.posts, timeout=60)
    assert desk.deliverer.begin() == []
    desk.hook.goes_on.set()
    for future in first:
        future.result()
    assert len(desk.hook.posts) == 1
    desk.tell("a2")
    desk.deliverer.step()
    assert len(desk.hook.posts) == 2


def test_a_mail_server_without_encryption_gets_nothing(desk: Desk, tmp_path) -> None:
    other = Authority.create(tmp_path / "other", desk.clock, Entropy.system())
    with MailServer(certified(other, tmp_path), PASSWORD) as stranger:
        route = desk.by_mail(port=stranger.port)
        desk.tell("a1")
        desk.deliverer.step()
        assert stranger.mails == []
        assert "AUTH" not in stranger.commands
    assert "can't be reached" in desk.state(route).told


def test_a_password_that_is_wrong_is_said_and_not_shown(desk: Desk) -> None:
    desk.mail.password = "another"
    route = desk.by_mail()
    desk.tell("a1")
    desk.deliverer.step()
    told = desk.state(route).told
    assert "535" in told
    assert PASSWORD not in told


def test_what_nobody_takes_for_days_is_given_up_and_said(desk: Desk) -> None:
    desk.by_webhook()
    desk.hook.down()
    desk.tell("a1")
    desk.deliverer.step()
    desk.clock.wait(GIVE_UP + timedelta(hours=1))
    desk.deliverer.step()
    assert desk.waiting() == 0
    with desk.database.read() as tx:
        (event,) = events.page(tx, EVERYTHING, EventFilter(kind="alert"))
    assert event.kind == "alert.undelivered"


def test_tries_become_rare_and_never_stop_for_long() -> None:
    spans = [pause(tries) for tries in range(20)]
    assert spans[0] == AGAIN
    assert spans == sorted(spans)
    assert spans[-1] == SELDOM


def test_a_sealed_secret_opens_for_its_own_route_alone(desk: Desk, tmp_path) -> None:
    route = desk.by_webhook()
    assert SECRET not in route.sealed
    assert unseal(desk.authority, route.sealed, route.id).reveal() == SECRET
    other = Authority.create(tmp_path / "other", desk.clock, Entropy.system())
    for authority, about in ((desk.authority, "another"), (other, route.id)):
        with pytest.raises(Exception, match="another authority"):
            unseal(authority, route.sealed, about)


def test_a_plain_server_on_this_machine_will_do(desk: Desk) -> None:
    with HookServer() as plain, MailServer(desk.mail.tls) as relay:
        desk.by_webhook(plain.url)
        desk.by_mail(port=relay.port, security=Security.NONE, user="")
        desk.tell("a1")
        desk.deliverer.step()
        assert len(plain.posts) == len(relay.mails) == 1
    assert desk.waiting() == 0
