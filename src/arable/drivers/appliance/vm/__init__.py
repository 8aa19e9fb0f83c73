"""Routing appliances as virtual machines: `driver.py` on the host, `resident.py` within, and the line between them."""
