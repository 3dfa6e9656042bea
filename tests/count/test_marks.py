"""What was executed between two marks is read from what an emulated program wrote."""

from __future__ import annotations

import json

from tests.count.marks import counted


def test_the_least_of_several_counts_stands_less_what_marks_take() -> None:
    marks = [("nothing", 3), ("layer", 5), ("layer", 7)]
    totals = {3: 100, 4: 130, 5: 1_000, 6: 3_030, 7: 4_000, 8: 6_130}
    errors = "".join(f"counted {number} {total}\n" for number, total in totals.items())
    output = "said before\n" + json.dumps({"marks": marks}) + "\n"
    assert counted(output, f"a warning\n{errors}") == {"layer": 2_000}
