"""How the lab's own switches are set up: arguments for `ovs-vsctl`, made from the plan. Pure.

Each device with a switch has an Open vSwitch of its own (`boot.py`), in user space as kernels without the module
need it: a switch process opens only the interfaces of its own namespace. A host's bridge is not made here but as
the network driver wants it (`OvsDaemon.lay_host_bridge`), and the agent looks after it from then on.
"""

from collections.abc import Iterator

from arable.lab.plan import Port, Switch


def arguments(switch: Switch) -> list[str]:
    """What makes the bridge and its ports so, in one transaction."""
    words = ["add-br", switch.bridge, "--", "set", "Bridge", switch.bridge, "datapath_type=netdev"]
    for port in switch.ports:
        words += ["--", *adding(switch, port)]
    return words


def adding(switch: Switch, port: Port) -> list[str]:
    """What adds one port, configured, in one transaction."""
    return ["add-port", switch.bridge, port.interface, "--", *_port(port)]


def removing(interface: str) -> list[str]:
    """What takes a port away. A switch in user space holds on to a device that was replaced under the same name."""
    return ["--if-exists", "del-port", interface]


def _port(port: Port) -> Iterator[str]:
    yield from ("set", "Port", port.interface, f"tag={port.native}")
    if port.trunks:
        # A trunk that lists nothing carries everything, so all of them are named.
        carried = ",".join(str(vlan) for vlan in sorted({port.native, *port.trunks}))
        yield from ("vlan_mode=native-untagged", f"trunks={carried}")
    else:
        yield "vlan_mode=access"
    if port.address:
        yield from ("--", "set", "Interface", port.interface, "type=internal")
