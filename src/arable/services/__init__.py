"""What one may ask: functions `(call, …) -> answer`, one transaction each. They store wishes and never wait for a host."""
