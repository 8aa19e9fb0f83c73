"""An emulated data centre on one machine: network namespaces for servers and switches, veth pairs for cables.

The agents and daemons in it are those of production; only the building is pretended. It lives as one lab for each
data directory, under a prefix of its own, so that several can run side by side and each can be taken down alone.
"""
