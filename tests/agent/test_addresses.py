"""A server's name is looked up each time, and all of its addresses have their turn."""

import asyncio
from collections import Counter

import pytest

from arable.agent.addresses import Addresses, resolved
from arable.runtime.entropy import Entropy


def looked_up(*answers: list[str]):
    left = list(answers)

    async def resolve(_host: str, _port: int) -> list[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


def test_each_address_is_the_first_in_its_turn_and_all_are_named() -> None:
    every = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    turns = Addresses(Entropy("a"), looked_up(every[::-1]))
    found = [asyncio.run(turns.of("mgmt.example:8443")) for _ in range(6)]
    assert all(sorted(each) == [(address, 8443) for address in every] for each in found)
    assert Counter(each[0][0] for each in found) == dict.fromkeys(every, 2)


def test_nothing_is_remembered() -> None:
    turns = Addresses(Entropy("a"), looked_up(["192.0.2.1"], ["192.0.2.9"]))
    assert asyncio.run(turns.of("mgmt.example:1")) == [("192.0.2.1", 1)]
    assert asyncio.run(turns.of("mgmt.example:1")) == [("192.0.2.9", 1)]


def test_agents_are_spread_from_the_beginning() -> None:
    every = [f"192.0.2.{number}" for number in range(4)]
    firsts = Counter(
        asyncio.run(Addresses(Entropy(f"{number}"), looked_up(every)).of("x:1"))[0][0]
        for number in range(400)
    )
    assert set(firsts) == set(every)
    assert min(firsts.values()) > 60


@pytest.mark.parametrize(
    ("server", "found"), [("127.0.0.1:8443", "127.0.0.1"), ("[::1]:8443", "::1")]
)
def test_an_address_is_its_own_name(server: str, found: str) -> None:
    turns = Addresses(Entropy("a"), resolved)
    assert asyncio.run(turns.of(server)) == [(found, 8443)]
