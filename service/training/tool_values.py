"""Values that tools are called with: what a user says, what the call holds, and the type."""

import random
from dataclasses import dataclass

Json = str | int | float | bool

NAMED = {
    "rooms": "kitchen|living room|bedroom|bathroom|hall|garage|cellar|attic|office|garden|nursery|"
    "dining room|guest room|study|balcony|terrace|workshop|stairs|entrance|hallway|kids room",
    "cities": "Berlin|Paris|London|Madrid|Rome|Vienna|Hamburg|Oslo|New York|Tokyo|Lisbon|Warsaw|Prague|"
    "Dublin|Athens|Cairo|Nairobi|Boston|Chicago|Lima|Munich|Zurich|Milan|Kyoto|Delhi|Sydney|Toronto",
    "items": "milk|bread|eggs|butter|apples|coffee|tea|rice|cheese|soap|flour|sugar|pasta|onions|salt|"
    "potatoes|the cake|the oven|pizza|paper towels|cat food|orange juice|two lemons|batteries",
    "lists": "shopping|todo|party|holiday|books|garden|work|school|gift|packing|food|project|tools",
    "people": "Anna|Ben|Carla|Emma|Felix|Grace|Henry|Jonas|Karen|Leo|Maria|Nina|Oscar|Paul|Rosa|Sam|"
    "Tina|Walter|Alice|Bob|Charlie|Diana|Erik|Fiona|George|mum|dad|grandma|Mr Miller|the doctor",
    "days": "today|tomorrow|monday|tuesday|wednesday|thursday|friday|saturday|sunday|next week|"
    "Friday|Monday|2026-03-14|2027-01-02|this week|next month",
}  # fmt: skip
PAIRS = {  # two words that users say → what the call holds: truth, or one of two words
    "switch": (("on", True), ("off", False)),
    "openings": (("open", True), ("close", False)),
}
UNITS = (("celsius", "fahrenheit"), ("metric", "imperial"), ("kelvin", "celsius"), ("C", "F"))
PHRASES_JOIN = ("of", "for", "in", "with", "and", "without", "on", "about", "near", "or", "against")
MADE_UP = {"rooms": 0.4, "cities": 0.5, "items": 0.5, "lists": 0.4, "people": 0.5, "days": 0.1}


@dataclass(frozen=True, slots=True)
class Value:
    """said: as in the question; given: as in the call, and copied from the question if a str."""

    said: str
    given: Json


class Values:
    """Draws values; one stream of random numbers.

    words   what people say
    pieces  beginnings of made-up words: of every token of the vocabulary, so that all are copied
    """

    def __init__(self, stream: random.Random, words: list[str], pieces: list[str]) -> None:
        self.random, self.words, self.pieces = stream, words, pieces

    def type_of(self, kind: str) -> str:
        """Choose the type that a tool declares for a parameter of a kind."""
        choose = self.random.choice
        if kind in PAIRS:
            return choose(("boolean", "|".join(word for word, _ in PAIRS[kind])))
        if kind == "units":
            return "|".join(choose(UNITS))
        if kind == "small":
            return choose(("integer", "integer", "number"))
        if kind == "lists" and self.random.random() < 0.3:
            return "|".join(
                self.random.sample(NAMED["lists"].split("|"), self.random.randint(2, 4))
            )
        return "string"

    def draw(self, kind: str, declared: str) -> Value:
        """Draw a value of a kind for a parameter declared so."""
        if kind in PAIRS:
            said, truth = self.random.choice(PAIRS[kind])
            return Value(said, truth if declared == "boolean" else said)
        if "|" in declared:
            said = self.random.choice(declared.split("|"))
            return Value(said, said)
        if kind == "small":
            number = self.random.choice((self.random.randint(1, 30), self.random.randint(1, 120)))
            return Value(str(number), number)
        said = self.text(kind)
        return Value(said, said)

    def text(self, kind: str) -> str:
        """Draw a text of a kind."""
        choose, number = self.random.choice, self.random.randint
        if kind == "clock":
            minutes = choose(("00", "15", "30", "45", f"{number(0, 59):02}"))
            return choose((f"{number(0, 23)}:{minutes}", f"{number(5, 12)} {choose(('am', 'pm'))}"))
        if kind == "sums":
            return self.sum()
        if kind == "phrases":
            return self.phrase()
        if kind == "hosts":
            return choose(
                (f"pi{number(1, 9)}", f"{self.made_up()}-{number(1, 20)}", self.made_up())
            )
        if kind == "files":
            folder = choose(("", "", f"/{self.word()}/", f"{self.word()}/", "/etc/", "docs/"))
            return (
                f"{folder}{self.word()}.{choose(('txt', 'md', 'py', 'yml', 'json', 'log', 'csv'))}"
            )
        if self.random.random() < MADE_UP[kind]:
            word = choose((self.word, self.made_up, self.made_up))()
            return word.capitalize() if kind in ("cities", "people") else word
        return choose(NAMED[kind].split("|"))

    def sum(self) -> str:
        """Draw a sum as people type it."""
        choose, number = self.random.choice, self.random.randint
        sign = choose((" + ", " - ", " * ", " / ", "+", "-", "*", "/"))
        terms = [str(choose((number(1, 99), number(1, 9999)))) for _ in range(choose((2, 2, 2, 3)))]
        return sign.join(terms)

    def phrase(self) -> str:
        """Draw a few words."""
        words = [self.word() for _ in range(self.random.choice((1, 1, 2, 2, 3)))]
        if len(words) > 1 and self.random.random() < 0.4:
            words.insert(-1, self.random.choice(PHRASES_JOIN))
        return " ".join(words)

    def word(self) -> str:
        """Draw a word that is one."""
        return self.random.choice(self.words)

    def made_up(self) -> str:
        """Draw a word that is none."""
        parts = self.random.choice((1, 2, 2))
        return "".join(self.random.choice(self.pieces) for _ in range(parts))[:10]
