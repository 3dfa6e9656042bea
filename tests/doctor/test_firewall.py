"""Rules in force and not, from what nft and Bramble's own program say."""

from __future__ import annotations

import json

from bramble.doctor.firewall import PROGRAM, firewall
from bramble.doctor.machine import Output

from tests.doctor.written_machine import WrittenMachine

CHECK = f"{PROGRAM} check"
GONE = "Bramble's rules are not in force, so nothing is shut: somebody removed the table"


def chains(*rows: tuple[str, str, str, str]) -> str:
    names = ("family", "table", "hook", "policy")
    return json.dumps({"nftables": [{"chain": dict(zip(names, row, strict=True))} for row in rows]})


def test_rules_in_force_are_well() -> None:
    listed = chains(("inet", "bramble", "input", "drop"), ("ip", "nat", "input", "accept"))
    programs: dict[str, str | Output] = {CHECK: "", "nft --json list chains": listed}
    (finding,) = firewall(WrittenMachine(programs=programs))
    assert (finding.level, finding.sentence) == ("ok", "Bramble's rules are in force")


def test_rules_that_were_flushed_are_an_error() -> None:
    (finding,) = firewall(WrittenMachine(programs={CHECK: Output(1, f"{GONE}\n")}))
    assert (finding.level, finding.sentence) == ("error", GONE)
    assert "reload-or-restart bramble-firewall" in finding.advice


def test_another_table_that_drops_is_named() -> None:
    listed = chains(("inet", "bramble", "input", "drop"), ("inet", "filter", "input", "drop"))
    programs: dict[str, str | Output] = {CHECK: "", "nft --json list chains": listed}
    _, other = firewall(WrittenMachine(programs=programs))
    assert other.level == "warning" and other.sentence.startswith("the table inet filter drops")


def test_where_it_cannot_look_it_says_so() -> None:
    assert all(finding.is_absent for finding in firewall(WrittenMachine()))
    said = "the rules in force can be read by root alone"
    (finding,) = firewall(WrittenMachine(programs={CHECK: Output(2, said)}))
    assert finding.is_absent and said in finding.sentence
