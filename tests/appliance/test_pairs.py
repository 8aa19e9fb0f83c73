"""What makes a pair of two routers: what they are told, and who gives way to whom."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_wishes import NETWORK

from arable.appliance import heirs, pair
from arable.appliance.nftables import ruleset
from arable.appliance.router import router
from arable.domain.errors import BadInput
from arable.domain.manifest import ApplianceWish
from arable.domain.pair import PAIRS, Pair, next_number

WISH = ApplianceWish(
    network=NETWORK,
    generation=1,
    vlan=100,
    cidr="10.1.1.0/24",
    gateway="10.1.1.1",
    domain="farm.internal",
    pair=Pair(number=3, other=4),
)
MACS = {"eth0": "0a:00:00:00:00:01", "eth2": "0a:00:00:00:00:02"}
FOLDER = PurePosixPath("/appliance")


def paired(number: int = 3, other: int = 4) -> pair.Paired:
    made = router(replace(WISH, pair=Pair(number=number, other=other))).pair
    assert made
    return made


def test_the_two_are_told_the_same_but_for_who_they_are() -> None:
    one, other = (
        ruleset(router(replace(WISH, pair=Pair(number=a, other=b)))) for a, b in ((3, 4), (4, 3))
    )
    assert one == other
    assert "169.254.80.3" in pair.keepalived(paired(), MACS, FOLDER, "nft")
    assert "169.254.80.4" not in pair.keepalived(paired(), MACS, FOLDER, "nft")
    assert "169.254.80.3" in pair.conntrackd(paired(), FOLDER)
    assert "IPv6-ICMP" in pair.conntrackd(paired(), FOLDER)


def test_a_router_that_is_alone_in_its_network_opens_nothing_for_another_one() -> None:
    assert str(PAIRS) not in ruleset(router(replace(WISH, pair=None)))


@pytest.mark.parametrize(
    "said", [(0, 1), (-1, 0), (4095, 0), (4092, 0), (7, 7), (7, -1), (7, 5000)]
)
def test_a_number_that_is_none_is_refused(said: tuple[int, int]) -> None:
    with pytest.raises(BadInput):
        paired(*said)


def test_it_is_silent_everywhere_until_it_leads_and_believes_nobody_but_the_other_one() -> None:
    text = pair.rules(paired(), MACS, leads=False)
    assert 'add element netdev pair muted { "eth0", "eth2" }' in text
    assert "ip saddr != 169.254.80.4 drop" in text
    assert f"ether saddr != {MACS['eth0']} drop" in text
    alone = pair.rules(paired(3, 0), MACS, leads=True)
    assert "add element" not in alone
    assert "ip protocol 112 ip daddr 224.0.0.18 drop" in alone


@given(st.integers(0, 4000), st.integers(0, 4000))
def test_who_is_next_has_a_number_that_nobody_has_and_that_is_one(one: int, other: int) -> None:
    number = next_number(one, other)
    assert number not in (one, other)
    assert paired(number, 0).own in PAIRS
    assert paired(number, 0).own not in pair.LEADS.values()


@given(
    st.integers(0, 60_000), st.integers(0, 60_000), st.integers(0, 60_000), st.integers(0, 60_000)
)
def test_who_begins_to_lead_is_above_all_that_it_heard_of_its_epoch_and_below_the_next(
    epoch: int, own: int, theirs: int, later: int
) -> None:
    heard = heirs.rank(epoch, theirs)
    term = heirs.term_after(epoch, own, heard)
    assert heirs.rank(epoch, term) > max(heard, heirs.rank(epoch, own))
    assert heirs.rank(epoch + 1, later) > heirs.rank(epoch, term)
    assert heirs.term_after(epoch + 1, own, heard) == own + 1, (
        "another epoch's terms are of no account"
    )


@given(st.integers(1, (1 << 32) - 1))
def test_a_rank_is_said_and_heard(rank: int) -> None:
    assert heirs.rank_in(heirs.name_of(rank).hex(":")) == rank
