"""The whole cloud as one object: `Arable(url, token).machines.deploy(...)`. A group for each noun of the API."""

from collections.abc import Callable
from importlib import import_module
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from arable.client.connection import Connection, Exchange
from arable.client.patience import Patience
from arable.wire.users import NewSessionOut, SessionIn

if TYPE_CHECKING:
    from arable.client.accounts import Accounts, Domains, Limits
    from arable.client.addresses import Addresses
    from arable.client.alerts import AlertRoutes, Alerts
    from arable.client.balancers import Balancers
    from arable.client.billing import Bills, Credit, Prices, Usage
    from arable.client.blueprints import Blueprints
    from arable.client.control import Control
    from arable.client.elements import Elements
    from arable.client.farms import Farms
    from arable.client.grid import Grid, Regions
    from arable.client.groups import Groups
    from arable.client.hosts import Hosts, JoinTokens
    from arable.client.images import ImageParts, Images, ImageUploads
    from arable.client.ipv6_ranges import Ipv6Ranges
    from arable.client.machines import Machines
    from arable.client.networks import Networks
    from arable.client.nics import Nics
    from arable.client.offerings import DiskOfferings, Offerings
    from arable.client.operations import Audit, Events, Operations
    from arable.client.orders import Orders, Plans
    from arable.client.pods import Pods
    from arable.client.pools import Pools
    from arable.client.public_ranges import PublicRanges
    from arable.client.remote_accesses import RemoteAccesses, VpnClients
    from arable.client.rollouts import Releases, Rollouts
    from arable.client.rules import Rules
    from arable.client.secrets import Secrets
    from arable.client.settings import Settings
    from arable.client.snapshots import Snapshots
    from arable.client.ssh_keys import SshKeys
    from arable.client.storage_zones import StorageZones
    from arable.client.tiers import Tiers
    from arable.client.users import Keys, Sessions, Users
    from arable.client.volumes import Volumes
    from arable.client.vpns import Vpns
    from arable.client.zones import Zones

_ELSEWHERE = {
    "keys": "users",
    "sessions": "users",
    "domains": "accounts",
    "limits": "accounts",
    "events": "operations",
    "audit": "operations",
    "join_tokens": "hosts",
    "alert_routes": "alerts",
    "regions": "grid",
    "disk_offerings": "offerings",
    "image_parts": "images",
    "image_uploads": "images",
    "vpn_clients": "remote_accesses",
    "releases": "rollouts",
    "usage": "billing",
    "bills": "billing",
    "prices": "billing",
    "credit": "billing",
    "plans": "orders",
}
"""The modules of groups that are not called like theirs."""


class Arable:
    """A client. Not for several threads at once; cheap enough to have one in each.

    A group is imported when it is first asked for: a command needs one or two of them, and all take longer than it.
    """

    users: "Users"
    keys: "Keys"
    sessions: "Sessions"
    domains: "Domains"
    accounts: "Accounts"
    limits: "Limits"
    operations: "Operations"
    events: "Events"
    audit: "Audit"
    zones: "Zones"
    pods: "Pods"
    public_ranges: "PublicRanges"
    ipv6_ranges: "Ipv6Ranges"
    hosts: "Hosts"
    join_tokens: "JoinTokens"
    pools: "Pools"
    alerts: "Alerts"
    alert_routes: "AlertRoutes"
    settings: "Settings"
    control: "Control"
    regions: "Regions"
    grid: "Grid"
    offerings: "Offerings"
    disk_offerings: "DiskOfferings"
    images: "Images"
    image_parts: "ImageParts"
    image_uploads: "ImageUploads"
    machines: "Machines"
    networks: "Networks"
    nics: "Nics"
    addresses: "Addresses"
    rules: "Rules"
    balancers: "Balancers"
    vpns: "Vpns"
    remote_accesses: "RemoteAccesses"
    vpn_clients: "VpnClients"
    groups: "Groups"
    ssh_keys: "SshKeys"
    storage_zones: "StorageZones"
    volumes: "Volumes"
    snapshots: "Snapshots"
    farms: "Farms"
    tiers: "Tiers"
    rollouts: "Rollouts"
    releases: "Releases"
    elements: "Elements"
    secrets: "Secrets"
    blueprints: "Blueprints"
    usage: "Usage"
    bills: "Bills"
    prices: "Prices"
    credit: "Credit"
    orders: "Orders"
    plans: "Plans"

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        ca: str | SSLContext | None = None,
        transport: httpx.BaseTransport | None = None,
        on_call: Callable[[Exchange], None] | None = None,
        patience: Patience | None = None,
        region: str = "",
    ) -> None:
        self.connection = Connection(
            url,
            token,
            ca=ca,
            transport=transport,
            on_call=on_call,
            patience=patience,
            region=region,
        )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The group of that name; from then on it is an attribute like any other."""
            called = type(self).__annotations__.get(name)
            if called is None:
                raise AttributeError(f"{type(self).__name__!r} has no group {name!r}")
            module = import_module(f"arable.client.{_ELSEWHERE.get(name, name)}")
            made = getattr(module, called)(self.connection)
            setattr(self, name, made)
            return made

    def sign_in(self, name: str, password: str) -> NewSessionOut:
        """Sign in, and be that user from now on."""
        session = self.sessions.create(SessionIn(name=name, password=password))
        self.connection.token = session.token
        return session

    def close(self) -> None:
        """Hang up."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
