"""What every process needs: time, chance, loops, logs, metrics, configuration, secrets."""
