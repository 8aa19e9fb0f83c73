"""Routing appliances' rules over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import rules
from arable.wire.rules import BetweenIn, FirewallIn, ForwardIn, RuleQuery, StaticNatIn

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/rules",
        does=rules.page,
        permission=Permission.NETWORK_READ,
        writes=False,
        summary="List rules",
        query=RuleQuery,
    ),
    Op(
        method="POST",
        path="/v1/rules/forward",
        does=rules.forward,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Forward ports of a public address to a machine",
        takes=ForwardIn,
        status=202,
        example={
            "address": "address-0mh5z1x2k3q8w7e6r5t4",
            "machine": "machine-0mh5z1x2k3q8w7e6r5t4",
            "first_port": 8080,
            "to_port": 80,
            "open": True,
        },
    ),
    Op(
        method="POST",
        path="/v1/rules/firewall",
        does=rules.firewall,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Let traffic pass the firewall",
        takes=FirewallIn,
        status=202,
        example={
            "direction": "in",
            "address": "address-0mh5z1x2k3q8w7e6r5t4",
            "protocol": "tcp",
            "first_port": 443,
        },
    ),
    Op(
        method="POST",
        path="/v1/rules/static-nat",
        does=rules.static_nat,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Make a public address a machine's own",
        takes=StaticNatIn,
        status=202,
        example={
            "address": "address-0mh5z1x2k3q8w7e6r5t4",
            "machine": "machine-0mh5z1x2k3q8w7e6r5t4",
        },
    ),
    Op(
        method="POST",
        path="/v1/rules/between",
        does=rules.between,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Let machines of one network call those of another",
        takes=BetweenIn,
        status=202,
        example={
            "source": "network-0mh5z1x2k3q8w7e6r5t4",
            "network": "network-0mh5z1x2k3q8w7e6r5t5",
            "protocol": "tcp",
            "first_port": 5432,
        },
    ),
    Op(
        method="GET",
        path="/v1/rules/{rule}",
        does=rules.get,
        permission=Permission.NETWORK_READ,
        writes=False,
        summary="Show a rule",
    ),
    Op(
        method="DELETE",
        path="/v1/rules/{rule}",
        does=rules.delete,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        conditions=False,
        summary="Delete a rule",
        status=202,
    ),
)
