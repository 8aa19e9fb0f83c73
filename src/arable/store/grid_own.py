"""What this region has to say of itself in the grid: read from its own tables, compared with what it said last.

Cheap things (open alerts, accounts) are looked at each time; what takes sums over all hosts, or all images, only when it
is asked for (`kinds`).
"""

from collections.abc import Collection, Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, or_, select

from arable.domain.region import GRID_ONLY, Fact, FactKind, next_version
from arable.domain.settings import GRID_ACCOUNTS, GRID_EVENTS
from arable.store import alerts, capacity, grid_facts, instructions, public_ranges, settings, zones
from arable.store import schema as t
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.many import among
from arable.store.zones import ZoneFilter

Said = dict[str, tuple[Any, str]]
"""By key: body, and audience."""

_MOST_ALERTS = 200
_MOST_ZONES = 1000
_MOST_EVENTS = 100


def facts(
    tx: Tx,
    region: str,
    kinds: Collection[FactKind],
    software: str,
    at: datetime,
    api: str = "",
) -> list[Fact]:
    """What is to be said anew of these kinds: what changed since it was said last, and what is the case no more."""
    changed: list[tuple[FactKind, str, Any, str]] = []
    known: dict[FactKind, Said] = {kind: {} for kind in kinds}
    for fact in grid_facts.of(tx, region, *sorted(kinds)):
        known[fact.kind][fact.key] = (fact.body, fact.audience)
    for kind in sorted(kinds):
        now, before = _now(tx, kind, software, api), known[kind]
        changed += [
            (kind, key, *said) for key, said in sorted(now.items()) if before.get(key) != said
        ]
        changed += [(kind, key, None, "") for key in sorted(before.keys() - now.keys())]
    if not changed:
        return []
    first = next_version(grid_facts.last_version(tx, region), micros(at))
    return [
        Fact(kind=kind, key=key, version=first + place, body=body, audience=audience)
        for place, (kind, key, body, audience) in enumerate(changed)
    ]


def path(domain: str, account: str) -> str:
    """The name of an account that means the same in every region."""
    return f"{domain}/{account}"


def image_key(account: str, image: str, number: int) -> str:
    """What a fact about an image version is called."""
    return f"{account}|{image}|{number}"


def policy_key(account: str, image: str) -> str:
    """What a fact about where an image should be is called."""
    return f"{account}|{image}"


def bill_key(month: str, account: str) -> str:
    """What a fact about a month's bill is called; without an account: that of the whole region."""
    return f"{month}|{account}"


def told_accounts(tx: Tx, which: str) -> dict[str, str]:
    """By path: to whom it is told what accounts hold and owe, as the setting `GRID_ACCOUNTS` says."""
    return {name: audience for _id, name, audience in _told(tx, which)}


def audiences(tx: Tx, ids: Collection[str], which: str) -> dict[str, tuple[str, str]]:
    """The same of some accounts, by id: path, and to whom."""
    return {id_: (name, audience) for id_, name, audience in _told(tx, which, ids)}


def _told(tx: Tx, which: str, ids: Collection[str] | None = None) -> Iterable[tuple[str, str, str]]:
    """Id, path and audience."""
    if which == "none":
        return []
    account, domain = t.account.c, t.domain.c
    query = select(account.id, domain.path, account.name, account.federated, account.enabled).join(
        t.domain, domain.id == account.domain
    )
    if ids is not None:
        query = query.where(among(tx, account.id, ids))
    found = []
    for row in tx.execute(query):
        name = path(row.path, row.name)
        if row.federated:
            found.append((row.id, name, name))
        elif which == "all":
            found.append((row.id, name, GRID_ONLY))
    return found


def _held(tx: Tx) -> Said:
    """What accounts hold, and may hold."""
    which = settings.get(tx, GRID_ACCOUNTS)
    told = {id_: (name, audience) for id_, name, audience in _told(tx, which)}
    if not told:
        return {}
    query = select(t.quota, t.account.c.enabled).join(
        t.account, t.account.c.id == t.quota.c.account
    )
    said: Said = {}
    for row in tx.execute(query.where(among(tx, t.quota.c.account, told))).mappings():
        name, audience = told[row["account"]]
        body = {
            "enabled": row["enabled"],
            "used": {each: row[f"used_{each}"] for each in t.RESOURCES},
            "limits": {each: row[f"max_{each}"] for each in t.RESOURCES},
        }
        said[name] = (body, audience)
    return said


def _now(tx: Tx, kind: FactKind, software: str, api: str) -> Said:
    match kind:
        case FactKind.REGION:
            servers = tx.execute(
                select(func.count()).select_from(t.segment).where(t.segment.c.state == "ready")
            ).scalar()
            body = {"software": software, "servers": servers}
            return {"region": (body | ({"api": api} if api else {}), "")}
        case FactKind.ZONE:
            return _zones(tx)
        case FactKind.ALERT:
            return _alerts(tx)
        case FactKind.ACCOUNT:
            return {name: ({}, "") for name, federated in _accounts(tx) if federated}
        case FactKind.IMAGE:
            return _images(tx)
        case FactKind.POLICY:
            return _policies(tx)
        case FactKind.HELD:
            return _held(tx)
        case FactKind.EVENT:
            return _events(tx)
        case FactKind.INSTRUCTED:
            return instructions.said(tx)
        case FactKind.BILL | FactKind.LIMIT | FactKind.INSTRUCTION:
            raise AssertionError(
                "bills are reckoned by `controllers/grid_bills.py`, limits are not a region's"
            )
        case FactKind.KEY:
            query = select(t.sign_key.c.id, t.sign_key.c.public)
            return {id_: ({"public": public}, "") for id_, public in tx.execute(query)}
        case FactKind.REVOKED:
            rows = tx.execute(select(t.sign_revocation.c.mark, t.sign_revocation.c.before))
            return {mark: ({"before": before.isoformat()}, "") for mark, before in rows}


def _zones(tx: Tx) -> Said:
    used = dict(_load(tx))
    said: Said = {}
    for zone in zones.page(tx, ZoneFilter(), limit=_MOST_ZONES):
        hosts, amounts = capacity.of_zone(tx, zone.id)
        addresses = public_ranges.use_in(tx, zone.id)
        body = {
            "name": zone.name,
            "enabled": zone.enabled,
            "hosts": hosts.total,
            "hosts_up": hosts.up,
            "machines": hosts.machines,
            "used_millicpus": used.get(zone.id, 0),
            "addresses": {"total": addresses.total, "free": addresses.free},
            **{name: asdict(amount) for name, amount in amounts.items()},
        }
        said[zone.id] = (body, "")
    return said


def _load(tx: Tx) -> Iterable[tuple[str, int]]:
    machine, usage = t.machine.c, t.machine_usage.c
    query = (
        select(machine.zone, func.sum(usage.millicpus))
        .join(t.machine_usage, usage.machine == machine.id)
        .where(machine.host.is_not(None))
        .group_by(machine.zone)
    )
    return [(zone, int(used or 0)) for zone, used in tx.execute(query)]


def _alerts(tx: Tx) -> Said:
    """Open ones. Their names and texts are operators' matters, and so are those who read them elsewhere."""
    found = alerts.page(tx, alerts.AlertFilter(is_open=True), limit=_MOST_ALERTS)
    return {
        alert.id: (
            {
                "kind": str(alert.kind),
                "severity": str(alert.severity),
                "name": _plain(alert.name, 255),
                "text": _plain(alert.text, 4096),
                "since": alert.since.isoformat(),
            },
            "",
        )
        for alert in found
    }


def _events(tx: Tx) -> Said:
    """The newest that are nobody's: operators'. None, unless this region's operators said so."""
    if settings.get(tx, GRID_EVENTS) != "yes":
        return {}
    event = t.event.c
    query = select(event.number, event.at, event.kind, event.subject, event.text)
    rows = tx.execute(
        query.where(event.account.is_(None)).order_by(event.number.desc()).limit(_MOST_EVENTS)
    )
    return {
        f"{row.number:015d}": (
            {
                "at": row.at.isoformat(),
                "kind": _plain(row.kind, 255),
                "subject": _plain(row.subject, 255),
                "text": _plain(row.text, 4096),
            },
            GRID_ONLY,
        )
        for row in rows
    }


def _plain(text: str, most: int) -> str:
    """One line, as the grid manager takes it: an alert may hold what some program said."""
    return "".join(each if each.isprintable() else " " for each in text)[:most]


def _accounts(tx: Tx) -> list[tuple[str, tuple[str, ...]]]:
    """Those that may be asked for from elsewhere."""
    account, domain = t.account.c, t.domain.c
    query = (
        select(domain.path, account.name, account.federated)
        .join(t.domain, domain.id == account.domain)
        .where(account.enabled, account.federated.is_not(None))
    )
    return [(path(row[0], row[1]), tuple(row[2])) for row in tx.execute(query)]


def _policies(tx: Tx) -> Said:
    """As images: public ones', and those of accounts that may be asked for from elsewhere."""
    image, policy = t.image.c, t.image_policy.c
    account, domain = t.account.c, t.domain.c
    names = dict(_accounts(tx))
    query = (
        select(t.image_policy, domain.path, account.name, image.name, image.public)
        .join(t.image, image.id == policy.image)
        .join(t.account, account.id == image.account)
        .join(t.domain, domain.id == account.domain)
        .where(or_(image.public, account.enabled))
    )
    said: Said = {}
    for row in tx.execute(query):
        owner, name = path(row.path, row[-3]), row[-2]
        if not row.public and not names.get(owner):
            continue
        body = {
            "account": owner,
            "image": name,
            "public": row.public,
            "at": list(row.at),
            "labels": list(row.labels),
            "versions": row.versions,
            "upto": row.upto,
        }
        said[policy_key(owner, name)] = (body, "" if row.public else owner)
    return said


def _images(tx: Tx) -> Said:
    """Public ones that are here; of others only those of accounts that may be asked for from elsewhere."""
    image, version = t.image.c, t.image_version.c
    account, domain = t.account.c, t.domain.c
    names = dict(_accounts(tx))
    query = (
        select(
            *(domain.path, account.name, image.name, version.number, version.digest, version.parts),
            *(image.public, image.command_line, image.minimum_memory_mib, version.created_at),
        )
        .join(t.image, image.id == version.image)
        .join(t.account, account.id == image.account)
        .join(t.domain, domain.id == account.domain)
        .where(or_(image.public, account.enabled), ~version.arriving, image.home == "")
    )
    said: Said = {}
    for row in tx.execute(query):
        owner = path(row[0], row[1])
        if not row.public and not names.get(owner):
            continue
        body = {
            "account": owner,
            "image": row[2],
            "number": row.number,
            "digest": row.digest,
            "parts": msgspec.to_builtins(row.parts),
            "public": row.public,
            "command_line": row.command_line,
            "minimum_memory_mib": row.minimum_memory_mib,
            "created_at": row.created_at.isoformat(),
        }
        said[image_key(owner, row[2], row.number)] = (body, "" if row.public else owner)
    return said
