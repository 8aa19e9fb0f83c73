"""How the power of hosts is switched. The contract is `PowerSwitch` in `domain/power.py`."""
