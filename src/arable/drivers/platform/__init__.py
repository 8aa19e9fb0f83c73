"""What management servers run on: how the master has one restarted, started or stopped."""
