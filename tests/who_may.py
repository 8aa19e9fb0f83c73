"""Who may ask for what, said a second time and by hand: the server's own rows can't vouch for themselves.

An operation that is in no row, or in two, fails a test, so that each new one is thought about here. Whether somebody
may touch *this* machine or *that* user is another question, which strangers' tests ask.
"""

ANYBODY = "anybody"
READERS = "read-only"
CUSTOMERS = "customer"
ADMINS = "domain-admin"
OPERATORS = "operator"
SIGNED_IN = "signed in"

LADDER = (READERS, CUSTOMERS, ADMINS, OPERATORS)
"""Each may what those before it may."""

FROM: dict[str, tuple[str, ...]] = {
    ANYBODY: ("sessions.create",),
    SIGNED_IN: (
        "users.whoami",
        "users.change_password",
        "keys.page",
        "keys.get",
        "keys.delete",
        "sessions.page",
        "sessions.end",
        "sessions.delete",
    ),
    READERS: (
        "users.roles",
        "users.page",
        "users.get",
        "domains.page",
        "domains.get",
        "accounts.page",
        "accounts.get",
        "limits.get",
        "operations.page",
        "operations.get",
        "events.page",
        "events.stream",
        "zones.page",
        "zones.get",
        "offerings.page",
        "offerings.get",
        "disk_offerings.page",
        "disk_offerings.get",
        "images.page",
        "images.get",
        "machines.page",
        "machines.get",
        "machines.explain",
        "machines.usage",
        "networks.page",
        "networks.get",
        "addresses.page",
        "addresses.get",
        "rules.page",
        "rules.get",
        "groups.page",
        "groups.get",
        "volumes.page",
        "volumes.get",
        "farms.page",
        "farms.get",
    ),
    CUSTOMERS: (
        "keys.create",
        "images.create",
        "images.update",
        "images.delete",
        "images.upload_version",
        "images.delete_version",
        "images.create_from_parts",
        "image_parts.upload",
        "machines.console",
        "machines.deploy",
        "machines.update",
        "machines.start",
        "machines.stop",
        "machines.reboot",
        "machines.destroy",
        "machines.recover",
        "machines.expunge",
        "machines.resize",
        "networks.create",
        "networks.update",
        "networks.delete",
        "addresses.acquire",
        "addresses.update",
        "addresses.associate",
        "addresses.release",
        "rules.forward",
        "rules.firewall",
        "rules.delete",
        "groups.create",
        "groups.delete",
    ),
    ADMINS: (
        "users.create",
        "users.update",
        "users.delete",
        "domains.create",
        "domains.delete",
        "accounts.create",
        "accounts.update",
        "accounts.delete",
        "limits.update",
        "audit.page",
    ),
    OPERATORS: (
        "zones.create",
        "zones.update",
        "zones.delete",
        "zones.add_vlans",
        "zones.capacity",
        "pods.page",
        "pods.create",
        "pods.get",
        "pods.update",
        "pods.delete",
        "public_ranges.page",
        "public_ranges.create",
        "public_ranges.get",
        "public_ranges.delete",
        "hosts.page",
        "hosts.get",
        "hosts.update",
        "hosts.delete",
        "join_tokens.page",
        "join_tokens.create",
        "join_tokens.delete",
        "pools.page",
        "pools.get",
        "alerts.page",
        "alerts.get",
        "alerts.acknowledge",
        "alert_routes.page",
        "alert_routes.create",
        "alert_routes.get",
        "alert_routes.update",
        "alert_routes.delete",
        "alert_routes.test",
        "control.status",
        "settings.get",
        "settings.update",
        "offerings.create",
        "offerings.update",
        "offerings.delete",
        "disk_offerings.create",
        "disk_offerings.update",
        "disk_offerings.delete",
        "images.create_from_files",
    ),
}

NAMED = tuple(name for names in FROM.values() for name in names)


def may(role: str, name: str) -> bool:
    """Whether a user of this role may ask; no role stands for no credential at all."""
    (least,) = (least for least, names in FROM.items() if name in names)
    if least == ANYBODY or not role:
        return least == ANYBODY
    return least == SIGNED_IN or LADDER.index(role) >= LADDER.index(least)
