"""Offer a trained model the tools of held_out_tools.yml, ask for them greedily, and count right calls.

The chat template of the model's own folder lays out the tools, as in a served model.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml
from evaluate import BATCH, HERE, Model, Reply, parse
from vocabulary import BEGIN, CALL_CLOSE, CALL_OPEN

EXAMPLE = "example:\n  python evaluate_tools.py --model ../bramble/embedded --wrong"
ALONE = ("--alone", "offer a question its tool alone, no two others beside it")
OFFERED_BESIDE = (7, 13)  # how far down the list the other tools stand that a question is given
Check = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Case:
    """A laid out conversation, and what its answer is counted for: category → whether it is right."""

    prompt: str
    asked: str
    checks: dict[str, Check]


class Template:
    """The chat template of a model's folder."""

    def __init__(self, folder: Path) -> None:
        source = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        self.template = environment.from_string(source)

    def render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
        """Lay out a conversation up to where the answer begins."""
        return self.template.render(
            bos_token=BEGIN, messages=messages, tools=tools, add_generation_prompt=True
        )


def load_cases(path: Path, template: Template, is_alone: bool = False) -> list[Case]:
    """Read held_out_tools.yml. is_alone: a question is given its tool and no other."""
    data = yaml.safe_load(path.read_text())
    return [
        *call_cases(data["tools"], template, () if is_alone else OFFERED_BESIDE),
        *plain_cases(data, template),
        *result_cases(data, template),
    ]


def call_cases(
    tools: list[dict[str, Any]], template: Template, places: tuple[int, ...]
) -> Iterable[Case]:
    """Yield every question of a tool, the tools so far down the list offered around it."""
    for place, tool in enumerate(tools):
        beside = [tools[(place + far) % len(tools)] for far in places]
        offered = [function(each) for each in (*beside[:1], tool, *beside[1:])]
        for question, arguments in tool["ask"]:
            prompt = template.render([{"role": "user", "content": question}], offered)
            yield Case(prompt, question, call_checks(tool, arguments))


def call_checks(tool: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Check]:
    """Return what a call is counted for."""
    name, known = tool["name"], set(tool["parameters"])

    def is_valid(answer: str) -> bool:
        called = read_call(answer)
        return called is not None and called[0] == name and set(called[1]) <= known

    return {
        "a call": lambda answer: read_call(answer) is not None,
        "right name, valid arguments": is_valid,
        "right arguments": lambda answer: read_call(answer) == (name, arguments),
    }


def plain_cases(data: dict[str, Any], template: Template) -> Iterable[Case]:
    """Yield questions that need no tool."""
    for place, (question, need) in enumerate(data["plain"]):
        offered = [function(tool) for tool in data["tools"][2 * place : 2 * place + 3]]
        prompt = template.render([{"role": "user", "content": question}], offered)
        yield Case(prompt, question, {"no tool needed": holds(need)})


def result_cases(data: dict[str, Any], template: Template) -> Iterable[Case]:
    """Yield what a tool answered."""
    for place, (result, need) in enumerate(data["results"]):
        tool = data["tools"][2 * place]
        question, arguments = tool["ask"][0]
        call = {"type": "function", "function": {"name": tool["name"], "arguments": arguments}}
        messages = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": result},
        ]
        yield Case(
            template.render(messages, [function(tool)]), result, {"result told": holds(need)}
        )


def function(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool as OpenAI's `tools` write it."""
    properties = {
        name: {"type": "string", "enum": kind} if isinstance(kind, list) else {"type": kind}
        for name, kind in tool["parameters"].items()
    }
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    about = {"name": tool["name"], "description": tool["description"], "parameters": parameters}
    return {"type": "function", "function": about}


def read_call(answer: str) -> tuple[str, dict[str, Any]] | None:
    """Return the name and arguments of an answer that is one call, or None."""
    if not (answer.startswith(CALL_OPEN) and answer.endswith(CALL_CLOSE)):
        return None
    try:
        call = json.loads(answer[len(CALL_OPEN) : -len(CALL_CLOSE)])
    except ValueError:
        return None
    return call["name"], call["arguments"]


def holds(need: list[str]) -> Check:
    """Return a check for every needed word, and for no call."""
    return lambda answer: CALL_OPEN not in answer and all(word in answer for word in need)


def report(cases: list[Case], replies: list[Reply], with_wrong: bool) -> None:
    """Print one line a category, and the wrong answers if asked."""
    found: dict[str, list[bool]] = {}
    for case, reply in zip(cases, replies, strict=True):
        right = {category: check(reply.text) for category, check in case.checks.items()}
        for category, is_right in right.items():
            found.setdefault(category, []).append(is_right and reply.is_ended)
        if with_wrong and not all(right.values()):
            print(f"WRONG {case.asked}\n      {reply.text[:160]}")
    for category, right in found.items():
        print(
            f"{category:28} {sum(right):4}/{len(right):<4} {100 * sum(right) / len(right):5.1f} %"
        )


def main() -> None:
    """Ask and report."""
    options = parse(__doc__, EXAMPLE, ALONE)
    model = Model(options.model)
    template = Template(options.model)
    cases = load_cases(HERE / "held_out_tools.yml", template, options.alone)
    replies: list[Reply] = []
    for start in range(0, len(cases), BATCH):
        replies += model.answer([case.prompt for case in cases[start : start + BATCH]])
    report(cases, replies, options.wrong)


if __name__ == "__main__":
    main()
