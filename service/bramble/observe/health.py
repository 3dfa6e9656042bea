"""What ails a board, in plain words: too little power, heat, a lowered clock; and what helps."""

from __future__ import annotations

from dataclasses import dataclass

HOT_C = 80  # the firmware begins to lower the clock here
TOO_HOT_C = 85  # and throttles hard here
CARD = (
    "it is fetched anew from the head if the head has it; else put the right file there. If it "
    "happens again, the card or the memory is failing: bramble doctor"
)
LOOK = "look at its node's journal (journalctl -u 'bramble*' -n 50), and run bramble doctor there"
POWER = (
    "use the official 27 W supply (5 V, 5 A) and its cable; take power-hungry USB devices off; "
    "a PoE HAT must give 25 W"
)
COOLING = "fit the active cooler, see that its fan turns, and give the stack air"
UNDER_VOLTAGE, TOO_HOT = "under-voltage", "too hot"  # two of sensors.THROTTLED_NOW


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that ails a board; `level` is "bad" (it is slowed down) or "warning"."""

    level: str
    sentence: str
    advice: str


def judge(temperature_c: float | None, throttled: str | None) -> list[Trouble]:
    """Say what ails a board now, the worst first; nothing of a healthy one.

    temperature_c  °C  of its processor, or None if unknown
    throttled      what `sensors.throttled` returned
    """
    causes = throttled or ""
    found = []
    if UNDER_VOLTAGE in causes:
        found.append(Trouble("bad", "too little power, so it is slowed down", POWER))
    celsius = -1.0 if temperature_c is None else temperature_c
    degrees = "" if temperature_c is None else f" ({celsius:.0f} °C)"
    if TOO_HOT in causes or celsius >= TOO_HOT_C or (causes and not found and celsius >= HOT_C):
        found.append(Trouble("bad", f"too hot{degrees}, so it is slowed down", COOLING))
    elif celsius >= HOT_C:
        found.append(Trouble("warning", f"hot{degrees}, soon it is slowed down", COOLING))
    if causes and not any(trouble.level == "bad" for trouble in found):
        sentence = f"slowed down by its firmware ({causes}): too little power, or heat"
        found.append(Trouble("bad", sentence, f"{POWER}; {COOLING}"))
    return found


def judge_files(damaged: str) -> list[Trouble]:
    """Say which file of the model is not what it should be, though nothing computes with it."""
    return [Trouble("warning", damaged, CARD)] if damaged else []


def judge_restarts(words: str) -> list[Trouble]:
    """Say how often a service had to start anew, since when and why."""
    return [Trouble("warning", words, LOOK)] if words else []
