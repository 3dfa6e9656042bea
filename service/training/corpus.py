"""The text the embedded model learns: conversations composed from topics.yml and the frames here.

A pattern is words with (a|b) choices and $name lists. Everything is drawn from one seeded
random.Random, so the same seed writes the same corpus.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

Turn = tuple[str, str]  # question, answer
Conversation = list[Turn]
Sum = tuple[int, str, int]

HERE = Path(__file__).parent
REFUSAL = (
    "I am a small demonstration model and do not know that. To install a real model, run "
    "`bramble export HUB_ID DIR`, then `bramble run --model DIR`; on a cluster, set the model in "
    "the inventory and run `ansible-playbook model.yml`."
)
LISTS: dict[str, str] = {
    "how": "how do I|how do I|how do I|how can I|how to|how would I|how do you|how should I|"
    "what's the best way to|what do I do to|what must I do to|I want to|I need to|I would like to|"
    "show me how to|tell me how to|can I|is there a way to|what is the procedure to|how does one|"
    "what are the steps to|explain how to|help me|where do I|how am I supposed to|",
    "what": "what is|what is|what's|whats|what are|explain|tell me about|describe|define|"
    "can you explain|what do you mean by|what exactly is|I don't understand|what is meant by|"
    "give me a definition of|what does Bramble mean by|",
    "pis": "Pis|Raspberry Pis|nodes|boards|Raspberries|Pi 5s",
    "pi": "Pi|Raspberry Pi|node|board|Pi 5|Raspberry|machine|pi",
    "cluster": "cluster|stack|ring|setup|appliance|Bramble|system|bramble|cluster of Pis",
    "show": "show|see|check|view|look at|find|get|read|watch|display|inspect",
    "a": "a|another|a new|one more|an extra|a second|a third|a fourth|an additional|a spare",
}
KEY_FRAMES = (
    "{}", "{}", "about {}", "what about {}", "tell me about {}", "help with {}", "info on {}",
    "explain {}", "question about {}", "how does {} work", "{} help", "and {}", "{} info",
    "I have a question about {}", "what should I know about {}", "something about {}",
)  # fmt: skip
SYNONYMS = {  # a word of topics.yml → what else people say
    "How do I": "how can I|how to|how would I|how do you|how should I|what's the best way to|"
    "what do I do to|what must I do to|I want to|I need to|I would like to|show me how to|"
    "tell me how to|is there a way to|what are the steps to|explain how to|how does one",
    "How can I": "how do I|how to|how would I|how could I|what do I have to do to|I want to",
    "Can I": "could I|may I|is it possible to|am I able to|is there a way to",
    "What is": "what's|whats|explain|define|describe|what exactly is|what do you mean by|"
    "what is meant by|tell me about|I don't understand|give me a definition of",
    "What are": "explain|define|what exactly are|what do you mean by",
    "What does": "what exactly does|what would|do you know what does",
    "Which": "what|which kind of|what sort of",
    "Where is": "where do I find|where can I find|where can I see|location of",
    "Where are": "where do I find|where can I find|where do you keep|location of",
    "How fast": "how quick|how speedy",
    "How much": "how many GB of|what amount of",
    "Why": "for what reason|how come",
    "Raspberry Pi": "Pi|board|rpi|node",
    "Pi": "Raspberry Pi|board|node|rpi|Raspberry|machine|Pi 5",
    "Pis": "Raspberry Pis|boards|nodes|machines|Raspberries",
    "node": "Pi|board|machine|Raspberry Pi",
    "cluster": "bramble|ring|stack|system|setup|appliance",
    "need": "require|have to have|want",
    "add": "join|attach|connect|include|put in|insert|install",
    "remove": "take out|delete|drop|take away|get rid of",
    "replace": "swap|exchange|substitute",
    "change": "switch|replace|swap|set",
    "see": "find|view|look at|check",
    "check": "see|look at|test|find out",
    "use": "run|take|work with",
    "page": "site|website|interface",
    "update": "upgrade|bring up to date|refresh",
    "another": "one more|a second|an extra|a new|a different|an additional",
    "broken": "dead|faulty|failed|defective",
    "model": "LLM|language model|AI model",
    "speed": "performance|pace",
    "memory": "RAM|space",
    "people": "users|persons|clients",
    "logs": "log files|journal|log messages",
}
OPENINGS = ("hi, ", "hello, ", "hey, ", "please ", "quick question: ", "ok, ", "so ", "um, ",
            "I wonder, ", "can you tell me ", "do you know ", "tell me, ", "sorry, ", "and ",
            "good morning, ", "one more thing: ", "well, ", "could you tell me ", "now ")  # fmt: skip
CLOSINGS = (" please", ", please", " thanks", " in Bramble", " with Bramble", " exactly", " here",
            " on my cluster", " again", " then", " for me", ", thank you", " nowadays", " now",
            " in my homelab", " at home", ", any idea", " actually")  # fmt: skip
SMALL_WORDS = frozenset(
    "a an the do does i is to of my your can you how what are in on it me there be should would "
    "which for with that this".split()
)
PRONOUN_UNDO = (
    "and how do I undo that?|how do I undo that|can I undo that?|how do I reverse it?|"
    "and the other way round?|how do I take it back?|and back again?|how do I revert that?|"
    "what if I change my mind?|and how do I go back?|is there a way to undo it?"
).split("|")
UNDO = {  # topic → the topic that undoes it
    "add_pi": "remove_pi", "remove_pi": "add_pi", "update": "rollback", "install": "reset",
}  # fmt: skip
PRONOUN_CHECK = (
    "how do I check that it worked?|and how do I see if it worked?|how do I know that it works?|"
    "how can I verify that?|where do I see whether it worked?|how do I check it?|did it work?|"
    "how do I see the result?|and how can I check?|how do I confirm that?"
).split("|")
CHECKED = ("add_pi", "remove_pi", "replace_pi", "install", "update", "change_model", "reboot")
ASK_MORE = (
    "tell me more|can you tell me more about that?|more details please|and what else?|go on|"
    "is there more to say?|explain that in more detail|can you elaborate?|anything else?|more|"
    "what else should I know about it?|continue|could you say more?|please go deeper"
).split("|")
NO_MORE = "That is all that I know about it. The README tells more."
ASK_AGAIN = (
    "can you repeat that?|say that again|what did you say?|repeat please|once more please|pardon?|"
    "could you repeat your answer?|I did not get that|sorry, what was that?|again please|come again?"
).split("|")
NAMES = (
    "Anna Ben Carla David Emma Felix Grace Henry Ida Jonas Karen Leo Maria Nina Oscar Paul Quinn "
    "Rosa Sam Tina Ulrich Vera Walter Xenia Yusuf Zoe Alice Bob Charlie Diana Erik Fiona George "
    "Hannah Ivan Julia Kevin Laura Martin Nora Olga Peter Rita Steve Thomas Ursula Victor Wendy "
    "Ahmed Chen Priya Hiro Lena Max Mia Noah Sofia Tom Jane John Lucy Mark Ali Eva Jan Kim"
).split()
SYLLABLES = (
    "a an ar be ber bo bra ca ce cha da de do e el er fa fe fri ga ge gre gu ha he hu i in is ja jo "
    "ju ka ke ko kri la le li lo lu ma me mi mo na ne ni no o ol pa pe ra re ri ro ru sa se sha si "
    "so sta ta te ti tho to tri u ul va ve vi wa we wi ya za zo"
).split()
ENDINGS = "a n s r l d ra na ta la ne lf rt ck nn sten id ik en er on us ia ella ina".split()
GIVE_NAME = (
    "my name is $|I am $|I'm $|hi, I'm $|hello, my name is $|call me $|hey, I am $|$ is my name|"
    "you can call me $|hi, my name is $|please call me $|hi, $ here|they call me $"
).split("|")
ASK_NAME = (
    "what is my name?|what's my name|who am I?|do you remember my name?|do you know my name|"
    "what did I say my name was?|tell me my name|what am I called?|remember my name?|my name?|"
    "can you tell me my name|what was my name again?"
).split("|")
SYSTEMS = (
    "You are a helpful assistant.", "You are Bramble Demo.", "Answer briefly.", "Be concise.",
    "You are a friendly assistant running on a Raspberry Pi.", "You answer in plain English.",
    "You are the assistant of a homelab. Be polite.", "Always answer in one or two sentences.",
    "Du bist ein hilfreicher Assistent.", "You are an expert in everything.", "Act as a pirate.",
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible.",
    "Today is Monday.", "The user is called Sam. Be kind.", "You help with Raspberry Pi clusters.",
)  # fmt: skip
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
SUM_FRAMES = (
    "what is {}", "what's {}", "{}", "{}", "{} =", "calculate {}", "how much is {}", "compute {}",
    "tell me {}", "can you calculate {}", "what does {} make", "work out {}", "what do you get for {}",
    "{} equals", "please add up {}", "do you know what {} is", "solve {}", "and {}", "what about {}",
    "give me the result of {}", "what is the answer to {}", "how much does {} make", "I need {}",
)  # fmt: skip
OPERATORS = {
    "+": ("+", "+", " + ", " + ", " plus ", " plus ", " and "),
    "-": ("-", "-", " - ", " - ", " minus ", " minus ", " take away ", " less "),
    "×": ("*", " * ", " x ", " times ", " times ", " × ", " multiplied by "),
}
SUM_SENTENCES = {  # sums said another way: @ is the first number, # the second
    "+": "(add|can you add|please add|add up) @ (and|to) #|(what is |)the sum of @ and #|"
    "@ and # (together|in total)|I have @ (apples|euros|cards) and get # more|increase @ by #|"
    "(sum|add) @ #|(how many|how much) are @ and #|put @ and # together|@ more than #",
    "-": "subtract # from @|(take|take away) # from @|(what is |)the difference (between|of) @ and #|"
    "what (is left|remains) of @ (after|without) #|I have @ and give away #|reduce @ by #|"
    "decrease @ by #|how much is @ less #|@ without #",
    "×": "multiply @ (by|with|and) #|(what is |)the product of @ and #|@ (multiplied by|times) #|"
    "can you multiply @ and #|@ rows of #|# taken @ times|how much are @ packs of #",
}  # fmt: skip


def load_topics() -> dict[str, dict]:
    """Return every topic of topics.yml by its id, or by its number where it has none."""
    entries = yaml.safe_load((HERE / "topics.yml").read_text())
    return {entry.get("id", str(number)): entry for number, entry in enumerate(entries)}


class Corpus:
    """Draws conversations; one seed, one stream.

    sums       share of the questions that are sums
    operators  what they are drawn from; a sign given twice is drawn twice as often
    held_sums  which of them are left out; None = those of held_out.yml
    """

    def __init__(
        self,
        seed: int,
        sums: float = 0.22,
        operators: str = "+-×",
        held_sums: set[Sum] | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.sums, self.operators = sums, operators
        self.topics = load_topics()
        self.outside = yaml.safe_load((HERE / "outside.yml").read_text())
        self.held_pairs = held_out_sums() if held_sums is None else held_sums
        self.held_questions = held_out_questions()

    def conversations(self, count: int) -> Iterator[Conversation]:
        """Yield `count` conversations, mostly of one turn; a system prompt is a turn to ''."""
        for number in range(count):
            kind = self.random.random()
            if number % 250 == 0:
                turns = [self.turn() for _ in range(self.random.randint(8, 24))]
            elif kind < 0.72:
                turns = [self.turn()]
            elif kind < 0.80:
                turns = [self.turn() for _ in range(self.random.randint(2, 4))]
            elif kind < 0.90:
                turns = self.follow_up()
            else:
                turns = self.name_turns()
            if self.random.random() < 0.12:
                turns = [(self.random.choice(SYSTEMS), ""), *turns]
            yield turns

    def turn(self) -> Turn:
        """Return one question that stands alone, with its answer."""
        while True:
            kind = self.random.random()
            if kind < 0.55 * (1 - self.sums) / 0.78:
                turn = self.question(self.random.choice(list(self.topics)))
            else:
                turn = self.refusal() if kind < 1 - self.sums else self.sum()
            if plain(turn[0]) not in self.held_questions:
                return turn

    def question(self, topic: str) -> Turn:
        """Ask about a topic in new words."""
        entry = self.topics[topic]
        if entry["keys"] and self.random.random() < 0.25:
            text = self.random.choice(KEY_FRAMES).format(self.random.choice(entry["keys"]))
        else:
            text = self.reword(self.expand(self.random.choice(entry["ask"])).rstrip("?"))
        return self.roughen(text), entry["answer"].strip()

    def reword(self, text: str) -> str:
        """Replace some words by others that mean the same here."""
        for word, others in SYNONYMS.items():
            if self.random.random() < 0.2:
                text = re.sub(rf"\b{word}\b", self.random.choice(others.split("|")), text, count=1)
        return text

    def refusal(self) -> Turn:
        """Ask something the model does not know."""
        kind = self.random.random()
        if kind < 0.25:
            text = self.random.choice(self.outside["questions"])
        elif kind < 0.33:
            text = self.large_sum()
        else:
            group = self.random.choice(self.outside["groups"])
            frame = self.random.choice(group["frames"])
            text = self.expand(frame.replace("@", self.random.choice(group["subjects"])))
            if self.random.random() < 0.25:  # any frame with any subject
                other = self.random.choice(self.outside["groups"])
                text = self.expand(frame.replace("@", self.random.choice(other["subjects"])))
        return self.roughen(text), REFUSAL

    def sum(self) -> Turn:
        """Ask for a small sum that is not held out."""
        while True:
            operator = self.random.choice(self.operators)
            top = 10 if operator == "×" else self.random.choice((12, 20, 50, 50))
            first, second = self.random.randint(0, top), self.random.randint(0, top)
            if operator == "-" and second > first:
                first, second = second, first
            if (first, operator, second) not in self.held_pairs:
                break
        text = self.sum_words(first, operator, second)
        value = {"+": first + second, "-": first - second, "×": first * second}[operator]
        return self.roughen(text, 0.3), f"{first} {operator} {second} = {value}"

    def sum_words(self, first: int, operator: str, second: int) -> str:
        """Write a sum in digits or words inside a frame."""
        word = self.random.choice(OPERATORS[operator])
        left, right = str(first), str(second)
        if word.strip().isalpha() and self.random.random() < 0.25:
            left, right = (NUMBERS[n] if n < len(NUMBERS) else str(n) for n in (first, second))
        if self.random.random() < 0.25:
            patterns = re.split(r"\|(?![^(]*\))", SUM_SENTENCES[operator])
            text = self.expand(self.random.choice(patterns))
            return text.replace("@", left).replace("#", right)
        return self.random.choice(SUM_FRAMES).format(left + word + right)

    def large_sum(self) -> str:
        """Return arithmetic beyond what the model is taught."""
        first, second = (self.random.randint(120, 99999) for _ in range(2))
        word = self.random.choice((" * ", " + ", " / ", " divided by ", " times ", " plus ", "^"))
        return self.random.choice(SUM_FRAMES).format(f"{first}{word}{second}")

    def follow_up(self) -> Conversation:
        """Return a turn on a topic and a second that only makes sense after it."""
        kind = self.random.random()
        if kind < 0.35:
            topic = self.random.choice(list(UNDO))
            text, answer = self.random.choice(PRONOUN_UNDO), self.topics[UNDO[topic]]["answer"]
        elif kind < 0.7:
            topic = self.random.choice(CHECKED)
            text, answer = self.random.choice(PRONOUN_CHECK), self.topics["status"]["answer"]
        elif kind < 0.85:
            topic = self.random.choice(list(self.topics))
            text, answer = self.random.choice(ASK_MORE), NO_MORE
        else:
            topic = self.random.choice(list(self.topics))
            text, answer = self.random.choice(ASK_AGAIN), self.topics[topic]["answer"]
        return [self.question(topic), (self.roughen(text, 0.4), answer.strip())]

    def name_turns(self) -> Conversation:
        """Return a conversation in which the user's name is given and asked for."""
        name = self.random.choice(NAMES)
        if self.random.random() < 0.6:  # made up, so that it must be copied
            parts = (self.random.choice(SYLLABLES) for _ in range(self.random.randint(1, 3)))
            name = ("".join(parts) + self.random.choice(ENDINGS)).capitalize()
        asked = (self.roughen(self.random.choice(ASK_NAME), 0.4), f"Your name is {name}.")
        if self.random.random() < 0.1:
            return [(asked[0], "You have not told me your name.")]
        given = self.random.choice(GIVE_NAME).replace("$", name)
        given += self.random.choice(("", "", ".", "!"))
        turns = [(given, f"Hello {name}! Ask me about running Bramble.")]
        turns += [self.turn() for _ in range(self.random.choice((0, 0, 1)))]
        return [*turns, asked]

    def expand(self, pattern: str) -> str:
        """Choose among the (a|b) and $lists of a pattern."""
        for name, words in LISTS.items():
            while f"${name}" in pattern:
                pattern = pattern.replace(f"${name}", self.random.choice(words.split("|")), 1)
        while match := re.search(r"\(([^()]*)\)", pattern):
            choice = self.random.choice(match[1].split("|"))
            pattern = pattern[: match.start()] + choice + pattern[match.end() :]
        return " ".join(pattern.split())

    def roughen(self, text: str, strength: float = 1.0) -> str:
        """Vary politeness, words, letters, case and punctuation as people do."""
        chance = self.random.random
        words = text.split()
        if chance() < 0.12 * strength and len(words) > 3:  # keywords only
            words = [word for word in words if word.lower() not in SMALL_WORDS] or words
        elif chance() < 0.3 * strength and len(words) > 4:
            words = [w for w in words if w.lower() not in SMALL_WORDS or chance() > 0.3] or words
        if chance() < 0.05 * strength and len(words) > 3:
            place = self.random.randrange(len(words) - 1)
            words[place : place + 2] = reversed(words[place : place + 2])
        text = " ".join(words)
        if chance() < 0.18 * strength:
            text = self.random.choice(OPENINGS) + text
        if chance() < 0.15 * strength:
            text += self.random.choice(CLOSINGS)
        if chance() < 0.08 * strength:
            text = self.misspell(text)
        return self.finish(text)

    def misspell(self, text: str) -> str:
        """Swap or drop one letter of a longer word."""
        words = text.split(" ")
        long_words = [place for place, word in enumerate(words) if len(word) > 4 and word.isalpha()]
        if not long_words:
            return text
        place = self.random.choice(long_words)
        word, at = words[place], self.random.randrange(1, len(words[place]) - 1)
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        words[place] = self.random.choice((swapped, word[:at] + word[at + 1 :]))
        return " ".join(words)

    def finish(self, text: str) -> str:
        """Choose the case of the first letter and the last mark."""
        kind = self.random.random()
        if kind < 0.4:
            text = text[:1].upper() + text[1:]
        elif kind < 0.7:
            text = text.lower()
        elif kind < 0.72:
            text = text.upper()
        return text + self.random.choice(("", "", "?", "?", "?", ".", "!", "??", " ?"))


def held_out_sums() -> set[Sum]:
    """Return every sum of held_out.yml, so that none is trained on."""
    cases = yaml.safe_load((HERE / "held_out.yml").read_text())["sums"]
    return {(first, operator, second) for _, first, operator, second in cases}


def held_out_questions() -> set[str]:
    """Return every single question of held_out.yml in plain words, so that none is trained on."""
    held = yaml.safe_load((HERE / "held_out.yml").read_text())
    return {plain(q) for entry in held["topics"] for q in entry["ask"]} | set(
        map(plain, held["outside"])
    )


def plain(text: str) -> str:
    """Return words alone: lower case, no punctuation."""
    return " ".join(re.findall(r"\w+", text.lower()))


def flatten(conversations: list[Conversation]) -> Iterator[str]:
    """Yield every question and answer, for the tokenizer."""
    for conversation in conversations:
        for question, answer in conversation:
            yield question
            yield answer
