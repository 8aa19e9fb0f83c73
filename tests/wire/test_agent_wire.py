"""What agents and servers say to each other survives the wire."""

import msgspec
import pytest

from arable.domain.errors import BadInput
from arable.domain.ids import HostId, NicId, PoolId, VolumeId
from arable.domain.manifest import HostManifest, ItemKind, LeaseWish, ScrapWish
from arable.wire.agent import Change, Item, OpenConsole, Welcome, apply, encode, from_server

SCRAP = ScrapWish(volume=VolumeId("volume-a"), pool=PoolId("pool-a"))
HOST = HostManifest(HostId("host-a"))


def body(wish: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(wish))


def test_a_change_arrives_with_bodies_and_without() -> None:
    sent = Change(
        base=3,
        generation=4,
        items=[
            Item(kind=ItemKind.SCRAP, id="volume-a", body=body(SCRAP)),
            Item(kind=ItemKind.SCRAP, id="volume-b"),
        ],
    )
    got = from_server(encode(sent))
    assert got == sent
    assert got.items[1].body is None


def test_a_body_that_is_left_out_is_one_that_is_no_longer_wished_for() -> None:
    frame = b'{"type":"change","base":1,"generation":2,"items":[{"kind":"scrap","id":"volume-a"}]}'
    held = apply(HOST, Change(base=None, generation=1, items=[item_of(SCRAP)]))
    assert apply(held, from_server(frame)).scraps == {}


def item_of(wish: ScrapWish) -> Item:
    return Item(kind=ItemKind.SCRAP, id=wish.volume, body=body(wish))


@pytest.mark.parametrize(
    "message", [Welcome(server="server-a"), OpenConsole(ticket="t", machine="machine-a")]
)
def test_other_messages_arrive_as_sent(message) -> None:
    assert from_server(encode(message)) == message


def test_a_change_that_starts_elsewhere_is_refused_and_changes_nothing() -> None:
    with pytest.raises(BadInput):
        apply(HOST, Change(base=7, generation=8, items=[]))
    assert HOST.generation == 0


def test_a_body_of_another_kind_is_refused_with_its_name() -> None:
    wrong = Item(kind=ItemKind.LEASE, id="nic-a", body=body(SCRAP))
    with pytest.raises(BadInput, match="lease nic-a"):
        apply(HOST, Change(base=None, generation=1, items=[wrong]))


def test_a_whole_manifest_replaces_what_was_held() -> None:
    lease = LeaseWish(
        nic=NicId("nic-a"),
        network="network-a",
        mac="02:00:00:00:00:01",
        address="10.1.1.9",
        name="a",
    )
    held = apply(HOST, Change(base=None, generation=5, items=[item_of(SCRAP)]))
    new = Change(
        base=None, generation=2, items=[Item(kind=ItemKind.LEASE, id="nic-a", body=body(lease))]
    )
    got = apply(held, new)
    assert (got.generation, got.scraps, got.leases) == (2, {}, {"nic-a": lease})


@pytest.mark.parametrize("frame", [b"", b"{}", b'{"type":"report"}', b"\xff", b'{"type":"change"}'])
def test_a_frame_that_is_no_message_is_bad_input(frame) -> None:
    with pytest.raises(BadInput):
        from_server(frame)
