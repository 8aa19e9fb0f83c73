"""Commands against the API: what they print for people and for programs, and how they fail."""

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import yaml

from cli.command_line import Arable
from serving import Served

CALLS = ("zone list", "zone show east", "offering list", "image show tiny", "whoami", "user roles", "operation list", "event list", "limit show", "address list", "farm list", "network list")  # fmt: skip


@pytest.mark.parametrize("words", CALLS)
def test_json_and_yaml_say_the_same(customer: Arable, words: str) -> None:
    customer("network", "create", "back", "--cidr", "10.2.0.0/24")
    as_json = json.loads(customer(*words.split(), "-o", "json").out)
    as_yaml = yaml.safe_load(customer(*words.split(), "-o", "yaml").out)
    assert as_json == json.loads(json.dumps(as_yaml, default=str))
    assert as_json or words in ("operation list", "address list")


def test_what_is_said_before_the_noun_counts_too(customer: Arable) -> None:
    assert customer("--output", "json", "zone", "list").json[0]["name"] == "east"


def test_a_table_has_headings_and_names_instead_of_ids(customer: Arable) -> None:
    customer("machine", "deploy", "web", "--image", "tiny", "--offering", "small", "--no-wait")
    head, line = customer("machine", "list").out.splitlines()
    assert head.split() == ["NAME", "ID", "STATE", "OFFERING", "ADDRESSES", "IMAGE"]
    name, id_, state, offering, _, image = line.split()
    assert (name, state, offering, image) == ("web", "waiting", "small", "tiny")
    assert id_.startswith("machine-")


def test_a_thing_is_found_by_name_and_by_id(customer: Arable) -> None:
    made = customer.json("network", "create", "back", "--cidr", "10.2.0.0/24")
    assert customer.json("network", "show", "back") == customer.json("network", "show", made["id"])


def test_what_is_not_there_is_said_with_what_to_do(customer: Arable) -> None:
    ran = customer("machine", "show", "nix", status=1)
    assert ran.out == ""
    assert "there is no machine called 'nix'" in ran.err
    assert "arable machine list" in ran.err


def test_a_name_that_several_have_means_ones_own_or_nothing(
    furnished: Served, customer: Arable, operator: Arable
) -> None:
    furnished.customer("other").networks.create(_network("back"))
    own = customer.json("network", "create", "back")
    assert customer.json("network", "show", "back")["id"] == own["id"]
    ran = operator("network", "show", "back", status=1)
    assert "2 of them are called 'back'" in ran.err
    assert own["id"] in ran.err
    mine = operator.json("network", "create", "back")
    assert operator.json("network", "show", "back")["id"] == mine["id"]


def _network(name: str):
    from arable.wire.networks import NetworkIn

    return NetworkIn(name=name)


def test_options_take_names_where_the_api_takes_ids(customer: Arable, operator: Arable) -> None:
    customer("network", "create", "back", "--cidr", "10.2.0.0/24")
    customer("network", "create", "front", "--cidr", "10.3.0.0/24")
    deploy = ("--image", "tiny", "--offering", "tiny", "--no-wait")
    customer("machine", "deploy", "a", "--network", "back", *deploy)
    customer("machine", "deploy", "b", "--network", "front,address=10.3.0.9", *deploy)
    (found,) = customer.json("machine", "list", "--network", "front")
    assert (found["name"], found["nics"][0]["address"]) == ("b", "10.3.0.9")
    assert len(operator.json("machine", "list", "--account", "acme")) == 2
    about = customer.json("event", "list", "--subject", "machine/a")
    assert about
    assert {each["subject"] for each in about} == {customer.json("machine", "show", "a")["id"]}


def test_a_refusal_says_what_which_field_and_the_request(customer: Arable) -> None:
    ran = customer("network", "create", "back", "--cidr", "10.2.0.1/24", status=1)
    assert ran.err.startswith("error: ")
    assert "cidr" in ran.err
    assert "request: " in ran.err


def test_what_can_not_be_meant_ends_with_status_2_and_the_option(customer: Arable) -> None:
    for words, said in (
        (("machine", "deploy", "web"), "Missing option '--offering'. `arable offering list` shows what there is."),
        (("machine", "show"), "Missing argument 'NAME'. `arable machine list` shows what there is."),
        (("machine", "deploy"), "Missing argument 'NAME'."),
        (("machine", "deploy", "web", "--image", "a_b", "--offering", "tiny"), "image: is not of the right form"),
        (("machine", "deploy", "web", "--image", "i", "--offering", "o", "--disk", "fast,size=3"), "'size' is not known there"),
        (("machine", "deploy", "web", "--image", "i", "--offering", "o", "--user-data", "@/nope"), "can't be read"),
        (("zone", "list", "--nope"), "No such option"),
        (("nope",), "No such command"),
        (("rule", "show", "web"), "is not an id"),
    ):  # fmt: skip
        ran = customer(*words, status=2)
        assert said in ran.err, (words, ran.err)


def test_a_change_must_say_what_to_change(customer: Arable) -> None:
    customer("network", "create", "back")
    assert "--name" in customer("network", "update", "back", status=2).err


def test_a_dry_run_changes_nothing(customer: Arable) -> None:
    ran = customer("network", "create", "back", "--dry-run", "-o", "json")
    assert ran.json["name"] == "back"
    assert "nothing was changed" in ran.err
    assert customer.json("network", "list") == []
    deploy = customer("machine", "deploy", "web", "--image", "tiny", "--offering", "tiny", "--dry-run")  # fmt: skip
    assert "web" in deploy.out, "it does not wait for what does not happen"


def test_several_things_are_done_at_once(operator: Arable, furnished: Served) -> None:
    operator("offering", "delete", "tiny", "small")
    assert operator.json("offering", "list") == []


def test_none_takes_a_limit_away(operator: Arable, customer: Arable) -> None:
    operator("limit", "update", "acme", "--machines", "5")
    assert customer.json("limit", "show")["machines"]["limit"] == 5
    operator("limit", "update", "acme", "--machines", "none")
    assert customer.json("limit", "show")["machines"]["limit"] is None


def test_settings_are_set_by_name_and_brought_back(operator: Arable) -> None:
    before = operator.json("setting", "show", "expunge_seconds")
    operator("setting", "set", "expunge_seconds=77", "placement_strategy=pack")
    assert operator.json("setting", "show", "expunge_seconds")["value"] == 77
    operator("setting", "set", "expunge_seconds=")
    assert operator.json("setting", "show", "expunge_seconds")["value"] == before["default"]
    assert "placement_strategy" in operator("setting", "list").out
    assert "nope" in operator("setting", "set", "nope=1", status=1).err


def test_a_list_ends_where_it_is_told_and_says_so(operator: Arable) -> None:
    for number in range(5):
        operator("domain", "create", f"d{number}")
    ran = operator("domain", "list", "--limit", "3", "-o", "json")
    assert len(ran.json) == 3
    assert "more than these 3" in ran.err
    assert len(operator.json("domain", "list")) == 6


def test_what_goes_over_the_wire_is_shown_without_secrets(operator: Arable) -> None:
    password = "a secret nobody sees"
    ran = operator(
        "account", "create", "acme", "--user-name", "ann", "--password-stdin", "--debug",
        stdin=f"{password}\n",
    )  # fmt: skip
    assert "> POST http://" in ran.err
    assert '"name":"ann"' in ran.err
    assert password not in ran.err + ran.out
    token = operator.environment["ARABLE_TOKEN"]
    ran = operator("key", "create", "script", "--debug", "-o", "json")
    assert ran.json["secret"] not in ran.err
    assert token not in ran.err
    assert '"secret":"(hidden)"' in ran.err


def test_a_password_is_never_asked_where_nobody_can_answer(operator: Arable) -> None:
    operator("account", "create", "acme")
    ran = operator("user", "create", "ann", "--account", "acme", "--ask-password", status=2)
    assert "--password-stdin" in ran.err
    assert operator.json("user", "list", "--name", "ann") == []


def test_text_from_elsewhere_can_not_steer_the_terminal() -> None:
    from arable.cli.output import table

    told = table([{"name": "a\x1b[2Jb\r", "at": None}], ("name", "at"))
    assert "\x1b" not in told
    assert "\r" not in told


def test_a_server_that_is_not_there_is_said_so(customer: Arable) -> None:
    ran = customer("zone", "list", "--url", "http://127.0.0.1:9", status=1)
    assert "can't be reached" in ran.err


def test_an_image_is_uploaded_with_its_digest(customer: Arable, tmp_path) -> None:
    kernel, initrd = tmp_path / "vmlinuz", tmp_path / "initrd"
    kernel.write_bytes(b"\x7fELF a kernel of my own" * 1000)
    initrd.write_bytes(b"070701 an initrd of my own")
    told = customer.json("image", "upload", "mine", "--create", "--kernel", str(kernel), "--initrd", str(initrd))  # fmt: skip
    assert {part["role"] for part in told["parts"]} == {"kernel", "initrd"}
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(1 << 20))
    told = customer.json("image", "upload", "mine", str(disk))
    assert (told["number"], told["parts"][0]["format"]) == (2, "raw")
    odd = tmp_path / "odd"
    odd.write_bytes(b"what is this")
    assert "--format" in customer("image", "upload", "mine", str(odd), status=2).err
    assert "say which file" in customer("image", "upload", "mine", status=2).err


def test_a_host_is_invited(operator: Arable, furnished: Served) -> None:
    told = operator.json("host", "invite", "--pod", "pod-a", "--role", "compute", "--role", "routing")  # fmt: skip
    assert told["token"].startswith("join.")
    assert told["roles"] == ["compute", "routing"]
    (kept,) = operator.json("join-token", "list", "--pod", "pod-a")
    assert "token" not in kept


def test_what_was_done_before_a_refusal_is_said(operator: Arable, customer: Arable) -> None:
    customer("machine", "deploy", "web", "--image", "tiny", "--offering", "small", "--no-wait")
    customer("network", "create", "free", "--cidr", "10.8.0.0/24")
    ran = customer("network", "delete", "free", "default", "--no-wait", status=1)
    assert "done before that: free" in ran.err


def test_a_server_that_comes_back_is_waited_for(customer: Arable) -> None:
    """The client repeats a call five times by itself; only after that the command says so, and goes on."""
    taken = customer.json("address", "acquire")
    released = customer.json("address", "release", taken["id"], "--no-wait")
    with away_at_first(customer.environment["ARABLE_URL"], refuses=6) as url:
        ran = customer(
            "operation", "wait", released["id"], "--timeout", "60", "--url", url, "-o", "json"
        )
    assert ran.json["state"] == "done"
    assert ran.err.count("trying again") == 1


@contextmanager
def away_at_first(url: str, *, refuses: int) -> Iterator[str]:
    """Another address of the same server, where the first connections are cut."""
    host, _, port = url.removeprefix("http://").partition(":")

    class Relay(socketserver.BaseRequestHandler):
        left = refuses

        def handle(self) -> None:
            if Relay.left:
                Relay.left -= 1
                return
            with socket.create_connection((host, int(port))) as there:
                back = threading.Thread(target=carry, args=(there, self.request))
                back.start()
                carry(self.request, there)
                back.join()

    def carry(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{relay.server_address[1]}"
        finally:
            relay.shutdown()
            thread.join()
