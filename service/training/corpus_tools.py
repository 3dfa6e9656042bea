"""Conversations in which tools are offered, called, and answer.

Tools come from tools.yml or are made up on the spot, so that names are copied from what is offered
and not known by heart. A conversation is what corpus.py says: a system turn offers the tools, an
answer may be a call, and a question may be what a tool answered.
"""

import json
import re
from collections.abc import Iterator

from corpus import REFUSAL, SYSTEMS, Conversation, Corpus, Turn
from tool_values import Json, Value, Values
from tools import Tool, Tools, choose
from vocabulary import lay_out_call, lay_out_response, lay_out_tools

OPENINGS = ("please ", "hey, ", "hi, ", "can you ", "could you ", "ok, ", "now ", "and ", "so ")
CLOSINGS = (" please", ", please", " thanks", " now", " for me", " again")
DONE = ("ok", "OK", "done", "success", "Done.", '{"ok": true}', '{"success": true}', "true",
        '{"status": "ok"}', '{"result": "ok"}', "null", '{"done": true}')  # fmt: skip
KEYS = (
    "result value temperature status name count price time text state level id date total".split()
)
GOT = "Here is what I got: "


class ToolCorpus:
    """Draws conversations with tools; its random numbers are those of the corpus."""

    def __init__(self, corpus: Corpus, pieces: list[str]) -> None:
        self.corpus, self.random = corpus, corpus.random
        self.words = words_of(corpus)
        self.values = Values(corpus.random, self.words, pieces)
        self.offers = Tools(self.values)

    def conversations(self, count: int, share: float, copies: float) -> Iterator[Conversation]:
        """Yield `count` conversations, a share of them with tools, and some exercises in copying.

        Without either they are the corpus's own, so that its seeds still write the same weights.
        """
        if not share and not copies:
            yield from self.corpus.conversations(count)
            return
        for plain in self.corpus.conversations(count):
            kind = self.random.random()
            if kind < copies:
                yield [self.copy()]
            else:
                yield self.conversation() if kind < copies + share else plain

    def copy(self) -> Turn:
        """Ask for words to be said again, as they are or quoted: every token of it is copied."""
        draw = self.random.choice((self.values.word, self.values.made_up))
        words = [draw() for _ in range(self.random.randint(3, 24))]
        words = [word.capitalize() if self.random.random() < 0.2 else word for word in words]
        if self.random.random() < 0.5:
            return f"Repeat: {' '.join(words)}", " ".join(words)
        return f"Quote: {' '.join(words)}", json.dumps(words, ensure_ascii=False)

    def conversation(self) -> Conversation:
        """Draw one: a call, a call and its answer, several, or a question that needs no tool."""
        kind = self.random.random()
        tool = self.offers.known() if self.random.random() < 0.6 else self.offers.made_up()
        tools = [tool, *self.offers.others(tool)]
        self.random.shuffle(tools)
        if kind < 0.60:
            turns = [self.call(tool)]
            for _ in range(self.random.choice((0, 1, 3, 5, 7))):
                turns.append(self.call(self.random.choice(tools)))
        elif kind < 0.76:
            turns = self.call_and_answer(tool)
            for _ in range(self.random.choice((0, 1, 2, 3))):
                turns += self.call_and_answer(self.random.choice(tools))
        elif kind < 0.78:
            turns = [self.two_calls(tools)]
        elif kind < 0.85 and tool.group != "sums":
            turns = [(self.question(tool)[0], REFUSAL)]
            tools = [other for other in tools if other is not tool] or [self.offers.made_up()]
        else:
            turns = [self.corpus.turn() for _ in range(self.random.choice((1, 1, 1, 2)))]
            tools = [other for other in tools if not fits(other, turns)] or [self.offers.made_up()]
        system = self.random.choice(SYSTEMS) if self.random.random() < 0.2 else ""
        return [(lay_out_tools(system, [tool.shown for tool in tools]), ""), *turns]

    def call(self, tool: Tool) -> Turn:
        """Ask for what a tool does; the answer calls it."""
        question, arguments = self.question(tool)
        return question, lay_out_call(tool.name, arguments)

    def two_calls(self, tools: list[Tool]) -> Turn:
        """Ask for two things at once."""
        turns = [self.call(self.random.choice(tools)) for _ in range(2)]
        first, second = (question.rstrip("?!. ") for question, _ in turns)
        joined = self.random.choice((" and ", " and then ", ", then ", " and also "))
        return f"{first}{joined}{second}", "\n".join(answer for _, answer in turns)

    def call_and_answer(self, tool: Tool) -> Conversation:
        """Ask, call, and tell what the tool answered."""
        response, answer = self.response()
        return [self.call(tool), (lay_out_response(response), answer)]

    def question(self, tool: Tool) -> tuple[str, dict[str, Json]]:
        """Ask for what a tool does; return the question and the arguments of the call."""
        pattern = choose(self.random, self.random.choice(tool.asks))
        given: dict[str, Value] = {}
        for slot in re.findall(r"\$(\w+)", pattern):
            name, kind = tool.slots[slot]
            if name not in tool.parameters:  # this tool does not take it
                return self.question(tool)
            given[name] = self.values.draw(kind, tool.parameters[name])
            pattern = pattern.replace(f"${slot}", given[name].said, 1)
        text = self.roughen(pattern)
        arguments = {
            n: as_said(given[n], text, tool.parameters[n]) for n in tool.parameters if n in given
        }
        return text, arguments

    def response(self) -> tuple[str, str]:
        """Return what a tool answers, and what is said of it."""
        kind = self.random.random()
        if kind < 0.2:
            return self.random.choice(DONE), "Done."
        if kind < 0.3:
            reason = self.values.phrase()
            shape = self.random.choice(("error: @", "Error: @", '{"error": "@"}'))
            return shape.replace("@", reason), f"That did not work: {reason}."
        if kind < 0.55:
            text = self.fact()
            return text + self.random.choice(("", "", ".")), f"{GOT}{text}."
        if kind < 0.62:
            items = [self.fact() for _ in range(self.random.randint(1, 4))]
            return json.dumps(items, ensure_ascii=False), GOT + ", ".join(items) + "."
        keys = self.random.sample(
            [*KEYS, *self.random.sample(self.words, 8)], self.random.choice((1, 2, 2, 3, 4))
        )
        facts = {key: self.scalar() for key in keys}
        said = ", ".join(f"{key} {as_text(value)}" for key, value in facts.items())
        return json.dumps(facts, ensure_ascii=False), f"{GOT}{said}."

    def fact(self) -> str:
        """Draw a short text of a tool."""
        number = str(self.random.randint(0, 2000))
        word, phrase = self.values.word(), self.values.phrase()
        return self.random.choice(
            (phrase, f"{number} {word}", number, f"{phrase}, {number}", f"{word} {number}", self.values.made_up(),
             f"{self.random.randint(0, 40)} degrees, {word}", f"the {word} is {phrase}")
        )  # fmt: skip

    def scalar(self) -> Json:
        """Draw a value of an answer."""
        kind = self.random.random()
        if kind < 0.4:
            return self.random.choice((self.random.randint(0, 99), self.random.randint(0, 9999)))
        if kind < 0.5:
            return round(self.random.uniform(0, 100), 1)
        if kind < 0.57:
            return self.random.random() < 0.5
        return self.fact()

    def roughen(self, text: str) -> str:
        """Vary politeness, case and punctuation."""
        if self.random.random() < 0.2:
            text = self.random.choice(OPENINGS) + text
        if self.random.random() < 0.12:
            text += self.random.choice(CLOSINGS)
        kind = self.random.random()
        if kind < 0.45:
            text = text[:1].upper() + text[1:]
        elif kind < 0.6:
            text = text.lower()
        return text + self.random.choice(("", "", "", "?", "?", ".", "!"))


def as_said(value: Value, text: str, declared: str) -> Json:
    """Return what the call holds: a text that is not one of a choice, as the question writes it."""
    if not isinstance(value.given, str) or "|" in declared:
        return value.given
    match = re.search(re.escape(value.said), text, re.IGNORECASE)
    return match[0] if match else value.given


def as_text(value: Json) -> str:
    """Return a value as a sentence says it."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def fits(tool: Tool, turns: list[Turn]) -> bool:
    """Tell whether a tool may be what a question asks for: they share a word, or are sums."""
    text = " ".join(question.lower() for question, _ in turns)
    if any(" = " in answer for _, answer in turns) and tool.group == "sums":
        return True
    return any(word in text for word in re.findall(r"[a-z]{4,}", tool.name.lower()))


def words_of(corpus: Corpus) -> list[str]:
    """Return the words of three to nine letters that topics and other questions are made of."""
    texts = [text for entry in corpus.topics.values() for text in entry["ask"]]
    for group in corpus.outside["groups"]:
        texts += [str(text) for text in (*group["frames"], *group["subjects"])]
    found = {word for text in texts for word in re.findall(r"(?<![$\w])[a-z]{3,9}\b", text)}
    return sorted(found)


def pieces_of(vocabulary: list[str]) -> list[str]:
    """Return the tokens that begin a word, without their space."""
    return sorted(
        token[1:].lower() for token in vocabulary if re.fullmatch("Ġ[A-Za-z]{1,7}", token)
    )
