"""VPNs to sites over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import vpns
from arable.wire.vpns import VpnChange, VpnIn, VpnQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/vpns",
        does=vpns.page,
        permission=Permission.NETWORK_READ,
        writes=False,
        summary="List VPNs",
        query=VpnQuery,
    ),
    Op(
        method="POST",
        path="/v1/vpns",
        does=vpns.create,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Join a network to one elsewhere",
        about="By WireGuard, from the router of the network to a gateway that speaks it, or to another network's router. The firewall lets the tunnel's own packets pass by itself; what may begin from the other end, `allow` says.",
        takes=VpnIn,
        status=202,
        example={
            "name": "office",
            "address": "address-0mh5z1x2k3q8w7e6r5t4",
            "peer_key": "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=",
            "peer_endpoint": "198.51.100.7:51820",
            "peer_cidrs": ["172.30.0.0/24"],
            "allow": [{"protocol": "tcp", "first_port": 22}],
        },
    ),
    Op(
        method="GET",
        path="/v1/vpns/{vpn}",
        does=vpns.get,
        permission=Permission.NETWORK_READ,
        writes=False,
        summary="Show a VPN",
        about="With what its router saw of the peer last.",
    ),
    Op(
        method="PATCH",
        path="/v1/vpns/{vpn}",
        does=vpns.update,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Change a VPN",
        about="Connections go on that are still allowed.",
        takes=VpnChange,
        status=202,
        example={"peer_key": "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="},
    ),
    Op(
        method="POST",
        path="/v1/vpns/{vpn}/rotate",
        does=vpns.rotate,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Make another key for a VPN",
        about="The tunnel rests until its peer knows the new public key.",
        status=202,
    ),
    Op(
        method="DELETE",
        path="/v1/vpns/{vpn}",
        does=vpns.delete,
        permission=Permission.NETWORK_WRITE,
        writes=True,
        summary="Delete a VPN",
        status=202,
    ),
)
