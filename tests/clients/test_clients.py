"""Real clients ask the API: each row of the table in docs/clients.md is a call that works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import SCRIPT_S, SCRIPTS
from tests.pages import ROOT, rows_of

PAGE = ROOT / "docs" / "clients.md"
Verdicts = Callable[[Path], list[dict[str, Any]]]
pytestmark = pytest.mark.timeout(2 * SCRIPT_S)


@pytest.mark.parametrize(
    "script", SCRIPTS, ids=lambda script: f"{script.parent.name}-{script.stem}"
)
def test_every_call_of_a_client_shows_what_the_table_says(script: Path, verdicts: Verdicts) -> None:
    troubles = [
        f"{each['client']}: {each['call']}\n{each['trouble']}"
        for each in verdicts(script)
        if each["trouble"] is not None
    ]
    assert not troubles, "\n".join(troubles)


def test_the_table_has_a_row_for_every_call_and_no_other(verdicts: Verdicts) -> None:
    made = [
        [each["client"], each["call"], each["shows"]]
        for script in SCRIPTS
        for each in verdicts(script)
    ]
    rows = rows_of(PAGE.read_text(encoding="utf-8"), "Tested calls")
    assert sorted(rows) == sorted(made)
