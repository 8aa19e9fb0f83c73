"""Shared disks as files that every host has mounted: who may open which, and what becomes of who did."""
