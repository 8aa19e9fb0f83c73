"""Shared volumes as logical units of iSCSI targets."""
