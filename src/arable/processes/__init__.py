"""One module for each process and its command line: wiring, nothing else."""
