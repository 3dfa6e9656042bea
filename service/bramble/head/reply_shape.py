"""What a reply has to be, of all that was asked for: a schema, calls of tools, a thought before.

A model that thinks does so first, whatever its reply has to be then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bramble.errors import BadInput
from bramble.head.call_grammar import (
    Demand,
    Thought,
    Writing,
    call_rules,
    grammar,
    parameters_of,
    place,
)
from bramble.head.constraint import grammar_of
from bramble.model.manifest import Manifest
from bramble.model.replies.thoughts import TAGS
from bramble.model.schema import embedded
from bramble.model.tokenizer import Tokenizer, opened_thought
from bramble.wire.messages import Constraint, Generate

NAMED = "function:"  # before the name of a tool that has to be called


@dataclass(frozen=True, slots=True)
class Shape:
    """constraint  the whole
    parts       what of it the client wrote: where the whole cannot be compiled, one of them cannot
    """

    constraint: Constraint
    parts: tuple[Constraint, ...] = ()


def shape_of(asked: Generate, tokenizer: Tokenizer, prompt: str) -> Shape | None:
    """Return what the reply has to be; None = anything. Raises BadInput.

    prompt  as the chat template has laid it out
    """
    if asked.messages is None:
        return None if asked.constraint is None else Shape(asked.constraint)
    thought, demand = _thought(tokenizer, prompt), _demand(asked)
    constraint = asked.constraint
    answer = [] if constraint is None else _answer(constraint)
    if demand is not None:
        return _with_calls(constraint, answer, demand, tokenizer, thought)
    if constraint is None or thought is None or not answer:
        return None if constraint is None else Shape(constraint)
    rules = ["reply: answer", *answer]
    return Shape(Constraint("lark", grammar(rules, thought), constraint.param), (constraint,))


def _answer(constraint: Constraint) -> list[str]:
    """The rules of `answer`, which keeps what the client asked for; none of a grammar of its own:
    that is the whole reply's."""
    if constraint.kind == "json_schema":
        return [f"answer: %json {embedded(constraint.text, constraint.param)}"]
    if constraint.kind != "regex":
        return []
    from bramble.model.grammar import HEADER, grammar_text  # 10 MB and 50 ms, once somebody asks

    text = grammar_text(constraint.kind, constraint.text, constraint.param).removeprefix(HEADER)
    return text.replace("start:", "answer:", 1).splitlines()


def offered_tools(asked: Generate) -> list[dict[str, Any]]:
    """The tools that the reply may call: none where it is told not to."""
    return [] if asked.tool_choice == "none" else list(asked.tools or ())


def _thought(tokenizer: Tokenizer, prompt: str) -> Thought | None:
    """How the reply may begin with a thought; None if the template has ended it, or knows none."""
    opening = opened_thought(prompt)
    for tags in TAGS:
        if opening.startswith(tags[0]):
            return Thought(*tags, is_open=True)
        if prompt.rstrip().endswith(tags[1]):
            return None
    return None if tokenizer.thought_tags is None else Thought(*tokenizer.thought_tags, False)


def _demand(asked: Generate) -> Demand | None:
    """What of calls is asked for; None if the model is free to call what it likes, or nothing."""
    tools = list(enumerate(offered_tools(asked)))
    choice = asked.tool_choice
    if choice.startswith(NAMED):
        name = choice.removeprefix(NAMED)
        named = [(i, tool) for i, tool in tools if tool["function"]["name"] == name]
        if not named:
            known = ", ".join(repr(tool["function"]["name"]) for _, tool in tools[:20])
            raise BadInput(
                f"tool_choice: no tool is called {name[:80]!r}; tools has {known or 'none'}",
                "tool_choice",
            )
        return Demand(named, must_call=True, is_single=True, checks_all=True)
    if choice == "required":
        if not tools:
            raise BadInput("tool_choice: required needs tools, and there are none", "tool_choice")
        return Demand(tools, True, not asked.parallel_calls, checks_all=True)
    if choice not in ("auto", "none"):
        raise BadInput(
            f"tool_choice: got {choice[:80]!r}, need auto, none, required or {NAMED}NAME",
            "tool_choice",
        )
    if not tools or not may_have_grammar(asked):
        return None
    return Demand(tools, False, not asked.parallel_calls, checks_all=False)


def _with_calls(
    constraint: Constraint | None,
    answer: list[str],
    demand: Demand,
    tokenizer: Tokenizer,
    thought: Thought | None,
) -> Shape:
    """Calls, or where they need not be a text that keeps what was asked for, if anything was."""
    if constraint is not None and not demand.must_call and not answer:
        return Shape(constraint)
    use = tokenizer.tool_use
    names = {tokenizer.added[index]: index for index in tokenizer.marker_ids}
    rules = call_rules(Writing(use.call_format, use.names_calls, names), demand, answer)
    parts = [constraint] if constraint is not None and not demand.must_call else []
    parts += [
        Constraint("json_schema", json.dumps(parameters_of(tool, demand)), place(index))
        for index, tool in demand.tools
    ]
    return Shape(Constraint("lark", grammar(rules, thought), "tools"), tuple(parts))


def reply_grammar(asked: Generate, tokenizer: Tokenizer, manifest: Manifest, prompt: str) -> str:
    """Return the grammar that the reply has to keep; "" = none. Raises BadInput that says where.

    prompt  as the chat template has laid it out
    """
    shape = shape_of(asked, tokenizer, prompt)
    if shape is None:
        return ""
    if asked.ignore_eos:
        raise BadInput(
            "ignore_eos: a reply with a schema, a grammar or a required call ends where that does",
            "ignore_eos",
        )
    try:
        return grammar_of(shape.constraint, tokenizer, manifest)
    except BadInput:
        for part in shape.parts:  # one of them is to blame, and says where
            grammar_of(part, tokenizer, manifest)
        raise


def may_have_grammar(asked: Generate) -> bool:
    """Whether the reply has to keep something, as far as can be told before anything is read."""
    tools = asked.tools or ()
    is_free = asked.tool_choice in ("auto", "none") and asked.parallel_calls
    has_promise = any(_function(tool).get("strict") is True for tool in tools)
    return asked.constraint is not None or has_promise or (bool(tools) and not is_free)


def _function(tool: Any) -> dict[str, Any]:
    """A tool's function; of what is no tool an empty one: who lays it out refuses it."""
    function = tool.get("function") if isinstance(tool, dict) else None
    return function if isinstance(function, dict) else {}
