"""Every SQL statement, and nothing else: functions on an open transaction. The one place where truth is kept."""
