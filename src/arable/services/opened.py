"""Secrets of a wish on their way to the host that needs them: opened here, and nowhere kept open on this side."""

import logging
from typing import Any

import msgspec

from arable.domain import template
from arable.domain.errors import Corrupt
from arable.domain.manifest import Seed
from arable.domain.seed import facts
from arable.runtime.ca import Authority
from arable.runtime.sealed import unseal

log = logging.getLogger(__name__)

_MARK = '"sealed":"'
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def opened(authority: Authority, body: str) -> bytes:
    """The wish as its host gets it. Nearly none has a secret, and those are passed on unread."""
    if _MARK not in body:
        return body.encode()
    wish: dict[str, Any] = _decode(body)
    for balancer in (*wish.get("balancers", ()), *wish.get("inners", ())):
        if sealed := balancer.pop("sealed", ""):
            try:
                balancer["key"] = unseal(authority, sealed, balancer["id"]).reveal()
            except Corrupt as error:  # its network's appliance goes on as it is, and everybody else's as they wish
                log.error("%s: %s", balancer["id"], error.public)  # noqa: TRY400
    for vpn in wish.get("vpns", ()):
        _open_vpn(authority, vpn)
    if secrets := (wish.get("seed") or {}).pop("secrets", ()):
        _fill_in(authority, wish["seed"], secrets)
    password = wish.get("password") or {}
    if sealed := password.pop("sealed", ""):
        try:
            password["hash"] = unseal(authority, sealed, wish["machine"]).reveal()
        except Corrupt as error:
            del wish["password"]
            log.error("%s: %s", wish["machine"], error.public)  # noqa: TRY400
    return _encode(wish)


def word_of(machine: str, name: str) -> str:
    """What a farm's secret is sealed for beside a machine's data: for no other machine, and no other word."""
    return f"{machine} secret {name}"


def _fill_in(authority: Authority, seed: dict[str, Any], secrets: list[dict[str, str]]) -> None:
    """Which machine it is stands in its meta-data, which is of our making. A word that can't be opened stays one."""
    machine = facts(Seed(meta_data=seed["meta_data"], user_data="")).values["instance-id"]
    texts = {}
    for each in secrets:
        name = each["name"]
        try:
            texts[name] = unseal(authority, each["sealed"], word_of(machine, name)).reveal()
        except Corrupt as error:
            log.error("%s: %s: %s", machine, name, error.public)  # noqa: TRY400
    seed["user_data"] = template.revealed(seed["user_data"], texts)


def _open_vpn(authority: Authority, vpn: dict[str, Any]) -> None:
    """Without one of its keys a VPN can't be made, so its network's appliance goes on as it is."""
    try:
        vpn["key"] = unseal(authority, vpn.pop("sealed", ""), vpn["id"]).reveal()
        for peer in vpn.get("peers", ()):
            if sealed := peer.pop("sealed", ""):
                peer["preshared"] = "lost"  # never without what both were to have
                peer["preshared"] = unseal(authority, sealed, shared_with(peer["id"])).reveal()
    except Corrupt as error:
        log.error("%s: %s", vpn["id"], error.public)  # noqa: TRY400


def shared_with(peer: str) -> str:
    """What the key is sealed for that a peer has, too: for nothing else of it."""
    return f"{peer} preshared"
