"""The whole cloud as one object: `Arable(url, token).machines.deploy(...)`. A group for each noun of the API."""

from collections.abc import Callable
from ssl import SSLContext
from types import TracebackType
from typing import Self

import httpx

from arable.client.accounts import Accounts, Domains, Limits
from arable.client.addresses import Addresses
from arable.client.alerts import AlertRoutes, Alerts
from arable.client.balancers import Balancers
from arable.client.billing import Bills, Credit, Prices, Usage
from arable.client.blueprints import Blueprints
from arable.client.connection import Connection, Exchange
from arable.client.control import Control
from arable.client.elements import Elements
from arable.client.farms import Farms
from arable.client.grid import Grid, Regions
from arable.client.groups import Groups
from arable.client.hosts import Hosts, JoinTokens
from arable.client.images import ImageParts, Images
from arable.client.machines import Machines
from arable.client.networks import Networks
from arable.client.nics import Nics
from arable.client.offerings import DiskOfferings, Offerings
from arable.client.operations import Audit, Events, Operations
from arable.client.orders import Orders, Plans
from arable.client.patience import Patience
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
from arable.wire.users import NewSessionOut, SessionIn


class Arable:
    """A client. Not for several threads at once; cheap enough to have one in each."""

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
        to = self._to = Connection(
            url,
            token,
            ca=ca,
            transport=transport,
            on_call=on_call,
            patience=patience,
            region=region,
        )
        self.connection = to
        self.users = Users(to)
        self.keys = Keys(to)
        self.sessions = Sessions(to)
        self.domains = Domains(to)
        self.accounts = Accounts(to)
        self.limits = Limits(to)
        self.operations = Operations(to)
        self.events = Events(to)
        self.audit = Audit(to)
        self.zones = Zones(to)
        self.pods = Pods(to)
        self.public_ranges = PublicRanges(to)
        self.hosts = Hosts(to)
        self.join_tokens = JoinTokens(to)
        self.pools = Pools(to)
        self.alerts = Alerts(to)
        self.alert_routes = AlertRoutes(to)
        self.settings = Settings(to)
        self.control = Control(to)
        self.regions = Regions(to)
        self.grid = Grid(to)
        self.offerings = Offerings(to)
        self.disk_offerings = DiskOfferings(to)
        self.images = Images(to)
        self.image_parts = ImageParts(to)
        self.machines = Machines(to)
        self.networks = Networks(to)
        self.nics = Nics(to)
        self.addresses = Addresses(to)
        self.rules = Rules(to)
        self.balancers = Balancers(to)
        self.vpns = Vpns(to)
        self.remote_accesses = RemoteAccesses(to)
        self.vpn_clients = VpnClients(to)
        self.groups = Groups(to)
        self.ssh_keys = SshKeys(to)
        self.storage_zones = StorageZones(to)
        self.volumes = Volumes(to)
        self.snapshots = Snapshots(to)
        self.farms = Farms(to)
        self.tiers = Tiers(to)
        self.rollouts = Rollouts(to)
        self.releases = Releases(to)
        self.elements = Elements(to)
        self.secrets = Secrets(to)
        self.blueprints = Blueprints(to)
        self.usage = Usage(to)
        self.bills = Bills(to)
        self.prices = Prices(to)
        self.credit = Credit(to)
        self.orders = Orders(to)
        self.plans = Plans(to)

    def sign_in(self, name: str, password: str) -> NewSessionOut:
        """Sign in, and be that user from now on."""
        session = self.sessions.create(SessionIn(name=name, password=password))
        self._to.token = session.token
        return session

    def close(self) -> None:
        """Hang up."""
        self._to.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
