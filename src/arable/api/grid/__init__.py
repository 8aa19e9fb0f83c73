"""The grid port: what other regions and the grid manager may ask of this region, and nobody else."""
