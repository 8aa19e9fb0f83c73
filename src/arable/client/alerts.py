"""Alerts, and whom to tell of them, as the API offers them."""

from collections.abc import Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.alerts import (
    AlertOut,
    AlertQuery,
    AlertRouteChange,
    AlertRouteIn,
    AlertRouteOut,
    AlertRouteQuery,
    NewAlertRouteOut,
)
from arable.wire.common import Page


class Alerts(Group):
    """Alerts."""

    def page(self, query: AlertQuery | None = None) -> Page[AlertOut]:
        """List alerts, the newest first."""
        return self._to.read("/v1/alerts", Page[AlertOut], query)

    def all(self, query: AlertQuery | None = None) -> Iterator[AlertOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or AlertQuery())

    def get(self, alert: str) -> AlertOut:
        """Show an alert."""
        return self._to.read(f"/v1/alerts/{part(alert)}", AlertOut)

    def acknowledge(self, alert: str, **how: Unpack[How]) -> AlertOut:
        """Say that one looks after an alert."""
        return self._to.write("POST", f"/v1/alerts/{part(alert)}/acknowledge", AlertOut, how=how)


class AlertRoutes(Group):
    """Alert routes."""

    def page(self, query: AlertRouteQuery | None = None) -> Page[AlertRouteOut]:
        """List alert routes."""
        return self._to.read("/v1/alert-routes", Page[AlertRouteOut], query)

    def all(self, query: AlertRouteQuery | None = None) -> Iterator[AlertRouteOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or AlertRouteQuery())

    def create(self, ask: AlertRouteIn, **how: Unpack[How]) -> NewAlertRouteOut:
        """Create an alert route."""
        return self._to.write("POST", "/v1/alert-routes", NewAlertRouteOut, ask, how=how)

    def get(self, alertroute: str) -> AlertRouteOut:
        """Show an alert route."""
        return self._to.read(f"/v1/alert-routes/{part(alertroute)}", AlertRouteOut)

    def update(self, alertroute: str, ask: AlertRouteChange, **how: Unpack[How]) -> AlertRouteOut:
        """Change an alert route."""
        path = f"/v1/alert-routes/{part(alertroute)}"
        return self._to.write("PATCH", path, AlertRouteOut, ask, how=how)

    def delete(self, alertroute: str, **how: Unpack[How]) -> None:
        """Delete an alert route, and what it was not told yet."""
        self._to.write("DELETE", f"/v1/alert-routes/{part(alertroute)}", type(None), how=how)

    def test(self, alertroute: str, **how: Unpack[How]) -> AlertRouteOut:
        """Send a test notice by an alert route."""
        path = f"/v1/alert-routes/{part(alertroute)}/test"
        return self._to.write("POST", path, AlertRouteOut, how=how)
