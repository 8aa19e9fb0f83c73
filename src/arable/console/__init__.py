"""The first web page of Arable: farms are provisioned, looked at and changed here, by the public API alone."""
