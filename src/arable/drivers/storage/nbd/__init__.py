"""Shared disks over NBD: a pool in a directory of a storage host, and the processes that serve its volumes."""
