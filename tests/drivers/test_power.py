"""One contract for whatever switches a machine's power; real HTTPS to a BMC that others wrote."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redfish_emulator import PASSWORD, USER, Emulator, emulator

from arable.domain.errors import BadInput, CloudError, Forbidden, NotFound, Unavailable
from arable.domain.ids import HostId
from arable.domain.power import Bmc, PowerState, PowerSwitch, split
from arable.drivers.faults import Faults, every_failure
from arable.drivers.power.none import NoPower
from arable.drivers.power.redfish import RedfishPower
from arable.drivers.power.sim import SimPower
from arable.lab import bmc as lab
from arable.runtime.ca import Authority, IdentityKind, new_request
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret

CLOCK = RealClock()
A, B = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.fixture(scope="module")
def bmcs(tmp_path_factory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("bmcs"), [(A, "On"), (B, "Off")]) as made:
        yield made


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("bmc"), [(A, "On")]) as made:
        yield made


def bmc(url: str, **but) -> Bmc:
    usual = {"host": HostId("host-a"), "url": url, "user": USER, "sealed": ""}
    return Bmc(**usual | but, created_at=datetime(2030, 1, 1, tzinfo=UTC))


def redfish(url: str, password: str = PASSWORD, **but) -> RedfishPower:
    return RedfishPower(bmc(url, **but), Secret(password))


@dataclass
class Machine:
    on: bool = True
    switched: int = 0

    def switch(self, on: bool) -> None:
        self.on = on
        self.switched += 1


@contextmanager
def lab_bmc(directory: Path, machine: Machine) -> Iterator[str]:
    """A lab's controllers, of a machine `a1`; the URL."""
    authority = Authority.open(directory / "authority", CLOCK, Entropy("bmc"))
    made = new_request("bmc")
    signed = authority.sign(made.request, "bmc", IdentityKind.SERVER, 24, ["127.0.0.1"])
    (directory / "cert.pem").write_text(signed)
    (directory / "key.pem").write_text(made.key.reveal())
    rack = lab.Rack(("a1",), lambda _host: machine.on, lambda _host, on: machine.switch(on))
    server = lab.serve(rack, Secret(PASSWORD), directory / "cert.pem", directory / "key.pem")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def lab_power(tmp_path) -> Iterator[RedfishPower]:
    with lab_bmc(tmp_path, Machine()) as url:
        pem = Authority.open(tmp_path / "authority", CLOCK, Entropy("bmc")).pem
        yield redfish(url, authority=pem, user=lab.USER)


@pytest.fixture(params=["sim", "redfish", "lab"])
def switch(request) -> PowerSwitch:
    """Of a machine."""
    if request.param == "sim":
        machine = Machine()
        return SimPower(lambda: machine.on, machine.switch, slow=2)
    if request.param == "lab":
        made: PowerSwitch = request.getfixturevalue("lab_power")
        return made
    known = request.getfixturevalue("bmcs")
    return redfish(known.system(A), authority=known.authority)


def becomes(switch: PowerSwitch, wanted: PowerState) -> None:
    """Within a minute: machines take their time."""
    end = CLOCK.monotonic() + 60
    while switch.state() is not wanted:
        assert CLOCK.monotonic() < end, f"it is not {wanted}"
        os.sched_yield()


def test_what_is_switched_off_is_seen_off_and_on_again_and_may_be_said_twice(switch):
    for _ in range(2):
        switch.off()
    becomes(switch, PowerState.OFF)
    switch.off()
    assert switch.state() is PowerState.OFF
    for _ in range(2):
        switch.on()
    becomes(switch, PowerState.ON)
    switch.on()
    assert switch.state() is PowerState.ON


def test_a_simulated_machine_ends_without_power_wherever_one_call_fails():
    def fence(faults: Faults) -> None:
        machine = Machine()
        power = SimPower(lambda: machine.on, machine.switch, faults, slow=1)
        for _ in range(10):
            try:
                if power.state() is PowerState.OFF:
                    break
                power.off()
            except Unavailable:
                continue
        assert not machine.on
        assert machine.switched == 1

    for faults in every_failure(fence):
        fence(faults)


def test_the_bmcs_of_a_lab_want_a_password_and_know_their_hosts_alone(tmp_path):
    machine = Machine()
    with lab_bmc(tmp_path, machine) as url:
        pem = Authority.open(tmp_path / "authority", CLOCK, Entropy("bmc")).pem
        with pytest.raises(Forbidden):
            redfish(url, "wrong", authority=pem, user=lab.USER).off()
        stranger = redfish(f"{url}/redfish/v1/Systems/b9", authority=pem, user=lab.USER)
        with pytest.raises(NotFound):
            stranger.off()
        assert machine.on
        # One that connects and says nothing holds up nobody.
        host, _, port = url.removeprefix("https://").rpartition(":")
        with socket.create_connection((host, int(port))):
            assert redfish(url, authority=pem, user=lab.USER).state() is PowerState.ON


def test_nothing_is_known_and_nothing_done_where_nobody_switches():
    power = NoPower()
    for call in (power.state, power.off, power.on):
        with pytest.raises(Unavailable, match="arable host power"):
            call()


def test_the_only_system_of_a_bmc_need_not_be_named(one, bmcs):
    assert redfish(one.url, authority=one.authority).state() is PowerState.ON
    with pytest.raises(BadInput, match="manages 2 systems"):
        redfish(bmcs.url, authority=bmcs.authority).state()


def test_a_bmc_is_believed_by_its_authority_or_by_its_fingerprint_and_not_without(one):
    assert redfish(one.url, authority=one.authority).state() is PowerState.ON
    assert redfish(one.url, fingerprint=one.fingerprint).state() is PowerState.ON


@pytest.mark.parametrize("whom", ["the machine's", "another's", "another fingerprint"])
def test_a_bmc_that_is_not_who_it_should_be_gets_no_password(one, whom, bmcs):
    known = {
        "the machine's": {},
        "another's": {"authority": bmcs.authority},
        "another fingerprint": {"fingerprint": "00" * 32},
    }[whom]
    with pytest.raises(Unavailable):
        redfish(one.url, **known).state()


def test_a_name_that_is_not_in_the_certificate_is_not_believed(one):
    with pytest.raises(Unavailable):
        redfish(one.url.replace("127.0.0.1", "localhost"), authority=one.authority).state()


def test_what_a_bmc_refuses_is_told_for_what_it_is(one):
    power = bmc(one.url, authority=one.authority)
    with pytest.raises(Forbidden, match="refuses this user or password"):
        RedfishPower(power, Secret("wrong")).off()
    with pytest.raises(Forbidden):
        RedfishPower(replace(power, user="nobody"), Secret(PASSWORD)).off()
    with pytest.raises(NotFound):
        redfish(one.system(B), authority=one.authority).state()
    assert redfish(one.url, authority=one.authority).state() is PowerState.ON


def test_no_secret_is_in_what_is_told(one, caplog):
    caplog.set_level("DEBUG")
    told = []
    for url, password in ((one.url, PASSWORD + "x"), ("https://127.0.0.1:1", PASSWORD)):
        with pytest.raises(CloudError) as refused:
            redfish(url, password, authority=one.authority).state()
        told.append(repr(refused.value) + str(refused.value.__cause__))
    assert PASSWORD not in "".join(told) + caplog.text


def test_a_bmc_that_does_not_answer_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unavailable):
        redfish(f"https://127.0.0.1:{port}").off()


@pytest.mark.parametrize(
    "url",
    [
        "http://bmc.example.org", "bmc.example.org", "https://", "https://u:p@bmc", "https://bmc/redfish/v1/Chassis/1",
        "https://bmc/?x=1", "https://bmc:99999", "ftp://bmc", "https://bmc/etc#x",
    ],
)  # fmt: skip
def test_what_is_no_bmc_is_refused(url):
    with pytest.raises(BadInput):
        split(url)


@pytest.mark.parametrize(
    ("url", "base", "system"),
    [
        ("https://bmc", "https://bmc", ""),
        ("https://bmc:8000/redfish/v1/", "https://bmc:8000", ""),
        ("https://[2001:db8::1]/", "https://[2001:db8::1]", ""),
        ("https://b/redfish/v1/Systems/437XR1138R2", "https://b", "/redfish/v1/Systems/437XR1138R2"),
    ],
)  # fmt: skip
def test_a_url_says_where_the_bmc_is_and_which_system_is_meant(url, base, system):
    assert split(url) == (base, system)
