"""Networks: a port in, isolated and guarded frames out."""
