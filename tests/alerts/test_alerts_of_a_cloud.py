"""The whole way, in the processes of production: hosts fall silent, operators are told, and told when it is over."""

import json
import signal

import pytest
from hook_server import HookServer

from arable.processes import up
from arable.processes.up import Wanted
from arable.runtime.clock import RealClock
from arable.wire.alerts import AlertQuery, AlertRouteIn, WebhookIn
from arable.wire.settings import SettingsChange

CLOCK = RealClock()
WITHIN = 120.0


@pytest.fixture
def hook():
    with HookServer() as made:
        yield made


def test_silent_hosts_are_told_once_each(tmp_path, hook: HookServer) -> None:
    wanted = Wanted(data=tmp_path, topology=up.topology_of(None), simulated=True, api="127.0.0.1:0")
    with up.cloud(wanted, CLOCK, lambda _said: None) as cloud, cloud.operator() as operator:
        operator.settings.update(SettingsChange(values={"host_silent_seconds": 10}))
        route = AlertRouteIn(name="pager", webhook=WebhookIn(url=hook.url))
        operator.alert_routes.create(route)
        names = {host.name for host in operator.hosts.all()}
        agents = cloud.children["the agents of home"]
        agents.send_signal(signal.SIGSTOP)
        try:
            with hook.taken:
                assert hook.taken.wait_for(lambda: len(hook.posts) >= len(names), timeout=WITHIN)
            found = list(operator.alerts.all(AlertQuery(state="open", kind="host-silent")))
        finally:
            agents.send_signal(signal.SIGCONT)
        assert sorted(each.name for each in found) == sorted(names)
        told = [json.loads(post.body) for post in hook.posts]
        assert {(each["what"], each["alert"]["name"]) for each in told} == {
            ("opened", name) for name in names
        }
        by = operator.alerts.acknowledge(found[0].id).acknowledged_by
        assert by == operator.users.whoami().name
