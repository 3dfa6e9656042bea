"""Tools to offer: those of tools.yml in many names, and some made up on the spot.

Names, parameters and descriptions vary, so that a call copies them and knows none by heart.
"""

import random
import re
from dataclasses import dataclass

import yaml
from corpus import HERE
from tool_values import Values

VERBS = (
    "get find read show start stop open close check count book order play measure list delete "
    "create rename lock unlock print scan send track move copy clean feed water paint fix test buy "
    "sell rent park load save draw build pause resume mute ring wash cook bake charge"
).split()
ASK_OF = (  # @ is the thing, then its values
    "(what is|what's|tell me|show me|I need|give me|how is|which is) the @|@|the @ please|"
    "(what about|I want) the @"
)
DO_IT = "! the @|! (my|a|this|our|) @|(I want to|I need to|you should|let us) ! the @"
PREPOSITIONS = ("of", "for", "in", "with", "to", "at", "by", "from", "on")
PARAMETERS = {  # name of a made-up parameter → its kind
    "rooms": "room area place zone where".split(),
    "cities": "city town location country region".split(),
    "people": "name person user owner customer author".split(),
    "items": "item thing product object kind type model".split(),
    "phrases": "title text query topic subject comment".split(),
    "hosts": "id key code host device number".split(),
    "small": "count amount level size number speed limit age days minutes percent".split(),
    "clock": "time start end when".split(),
    "days": "day date when".split(),
    "switch": "on state enabled active power".split(),
}


@dataclass(frozen=True, slots=True)
class Tool:
    """One that is offered: kinds are those of its parameters, by the slot of the questions."""

    name: str
    description: str
    parameters: dict[str, str]  # name → type as the layout says it
    slots: dict[str, tuple[str, str]]  # slot → parameter's name, kind
    asks: list[str]
    group: str

    @property
    def shown(self) -> dict[str, object]:
        """As the layout wants it."""
        about = {"description": self.description} if self.description else {}
        return {**about, "name": self.name, "arguments": self.parameters}


class Tools:
    """Draws tools; one stream of random numbers."""

    def __init__(self, values: Values) -> None:
        self.random, self.values = values.random, values
        self.kinds = yaml.safe_load((HERE / "tools.yml").read_text())

    def known(self) -> Tool:
        """Draw a tool of tools.yml: its names, parameters and description varied."""
        kind = self.random.choice(self.kinds)
        slots = {s: (choose(self.random, names), of) for s, (names, of) in kind["slots"].items()}
        if len({name for name, _ in slots.values()}) < len(slots):
            return self.known()
        needed = [s for s in slots if any(f"${s}" in ask for ask in kind["ask"])]
        if len(needed) > 1 and self.random.random() < 0.25:  # one that questions can do without
            spared = [s for s in needed if any(f"${s}" not in ask for ask in kind["ask"])]
            needed = [s for s in needed if s not in spared[:1]]
        self.random.shuffle(needed)
        parameters = {slots[s][0]: self.values.type_of(slots[s][1]) for s in needed}
        name = self.style(choose(self.random, kind["names"]))
        group = kind.get("group", kind["names"])
        return Tool(
            name, choose(self.random, kind["describe"]), parameters, slots, kind["ask"], group
        )

    def made_up(self) -> Tool:
        """Draw a tool that nobody has: a verb, a thing, up to three parameters."""
        verb, thing = self.random.choice(VERBS), self.thing()
        if self.random.random() < 0.5:
            verb, asks = self.random.choice(("get", "get", "show", "read", verb)), ASK_OF
        else:
            asks = DO_IT.replace("!", verb)
        slots: dict[str, tuple[str, str]] = {}
        for number in range(self.random.choice((0, 1, 1, 1, 2, 2, 3))):
            kind = self.random.choice(list(PARAMETERS))
            name = self.random.choice((*PARAMETERS[kind], self.values.word()))
            if all(name != other for other, _ in slots.values()):
                slots[f"s{number}"] = (name, kind)
        ask = f"({asks})".replace("@", thing)
        for slot, (name, _) in slots.items():
            preposition = self.random.choice(PREPOSITIONS) if len(slots) == 1 else ""
            ask += f" ({preposition or name}|{name}|with {name}) ${slot}"
        describe = f"({verb.capitalize()} (the|a) {thing}|The {thing}|{verb} {thing})"
        if slots:
            describe += f" ((of|for|by) a {next(iter(slots.values()))[0]}|)"
        words = f"{verb} {thing}".split()
        thing_name = "_".join(words[1:])
        names = f"({verb}_{thing_name}|{verb}_{thing_name}|{thing_name}|{thing_name}_{verb})"
        name = choose(self.random, names)
        parameters = {name: self.values.type_of(kind) for name, kind in slots.values()}
        describe = "" if self.random.random() < 0.2 else choose(self.random, describe)
        return Tool(self.style(name), describe, parameters, slots, [ask], f"{verb} {thing}")

    def thing(self) -> str:
        """Draw what a made-up tool is about: one word or two."""
        words = [self.random.choice((self.values.word, self.values.word, self.values.made_up))()]
        if self.random.random() < 0.2:
            words.insert(0, self.values.word())
        return " ".join(words)

    def others(self, tool: Tool) -> list[Tool]:
        """Draw what is offered beside a tool: nothing that does the same."""
        count = self.random.choice((0, 1, 1, 2, 2))
        if self.random.random() < 0.03:
            count = self.random.randint(4, 12)
        found: list[Tool] = []
        for _ in range(count):
            other = self.known() if self.random.random() < 0.6 else self.made_up()
            taken = [tool, *found]
            if all(other.name != t.name and other.group != t.group for t in taken):
                found.append(other)
        return found

    def style(self, name: str) -> str:
        """Write a name as programmers do."""
        kind, words = self.random.random(), name.split("_")
        if kind < 0.15:
            return words[0] + "".join(word.capitalize() for word in words[1:])
        if kind < 0.2:
            return "".join(word.capitalize() for word in words)
        if kind < 0.25:
            return "-".join(words)
        if kind < 0.35:
            return f"{self.random.choice(('home', 'tool', 'my', self.values.made_up()))}_{name}"
        return name


def choose(stream: random.Random, pattern: str) -> str:
    """Choose among the (a|b) of a pattern."""
    pattern = f"({pattern})"
    while match := re.search(r"\(([^()]*)\)", pattern):
        choice = stream.choice(match[1].split("|"))
        pattern = pattern[: match.start()] + choice + pattern[match.end() :]
    return " ".join(pattern.split())
