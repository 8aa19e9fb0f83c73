"""Hypervisors: a guest in, a running machine out."""
