"""Dates that are none, which the grammar engine's own formats allow."""

from __future__ import annotations

from typing import Any

_FOURTHS = "(0[48]|[2468][048]|[13579][26])"  # 04, 08 … 96
_YEAR = r"(\d{3}[1-9]|\d{2}[1-9]0|\d[1-9]00|[1-9]000)"
_REAL_DATE = (  # how a text begins whose form the format has checked
    rf"^({_YEAR}-(0[13-9]|1\d|02-([01]\d|2[0-8]))|(\d\d{_FOURTHS}|{_FOURTHS}00)-02-29)"
)


def with_real_dates(kept: dict[str, Any]) -> dict[str, Any]:
    """Leave out 29 February in years that have none, and the year 0: llguidance allows them.

    kept  a schema that is read already; pointers into it stay right
    """
    if kept.get("format") not in ("date", "date-time") or "string" not in kept.get(
        "type", "string"
    ):
        return kept
    if "pattern" not in kept:
        return kept | {"pattern": _REAL_DATE}
    return kept | {"allOf": [*kept.get("allOf", ()), {"pattern": _REAL_DATE}]}
