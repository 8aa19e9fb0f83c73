"""How fast, how small: each benchmark measures the product as it is run, beside the limit of what it stands on.

`python -m bench NAME` (or `make bench NAME=…`) prints tables with a ratio against a baseline of the same run, and ends
with lines that a program can read: `RESULT <metric> <value> <unit> goal <goal>`. Machines differ by factors, and one
machine from hour to hour; ratios are what can be compared.
"""
