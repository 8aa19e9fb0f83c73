"""How operators are told of alerts."""
