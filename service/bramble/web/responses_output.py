"""The output items of OpenAI's Responses, and the events that tell of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bramble.web.about import About
from bramble.web.blocks import Block, Kind
from bramble.web.part import call_digits

Made = tuple[str, dict[str, Any]]  # an event: its type, and what it has beside its number
PREFIXES = {Kind.TEXT: "msg_", Kind.THOUGHT: "rs_", Kind.CALL: "fc_"}


@dataclass(frozen=True, slots=True)
class Output:
    about: About

    def item(self, block: Block, status: str) -> dict[str, Any]:
        """Return an item with what its block has by now."""
        item: dict[str, Any] = {"id": self.item_id(block)}
        if block.kind is Kind.TEXT:
            content = [_text(block.text)] if status != "in_progress" else []
            item |= {"type": "message", "status": status, "role": "assistant", "content": content}
        elif block.kind is Kind.CALL:
            call_id = f"call_{call_digits(self.about, 0, block.call)}"
            item |= {"type": "function_call", "status": status, "arguments": block.text}
            item |= {"call_id": call_id, "name": block.name}
        else:
            parts = [self._thought(block.text)] if status != "in_progress" else []
            item |= {"type": "reasoning", "status": status, "encrypted_content": None}
            item |= {"summary": [], "content": []}
            item[self._place] = parts
        return item

    def item_id(self, block: Block) -> str:
        """Return an id by which the item can be referred to: it names the reply."""
        return f"{PREFIXES[block.kind]}{self.about.name}{block.index:x}"

    def begun(self, block: Block) -> list[Made]:
        item = self.item(block, "in_progress")
        added = ("response.output_item.added", {"output_index": block.index, "item": item})
        if block.kind is Kind.CALL:
            return [added]
        part = _text("") if block.kind is Kind.TEXT else self._thought("")
        return [added, (f"response.{self._part(block)}.added", self._at(block) | {"part": part})]

    def grown(self, block: Block, text: str, logprobs: list[dict[str, Any]]) -> Made:
        members = self._at(block) | {"delta": text}
        if block.kind is Kind.TEXT:
            members |= {"logprobs": logprobs}
        return f"response.{self._word(block)}.delta", members

    def ended(self, block: Block, item: dict[str, Any]) -> list[Made]:
        done = ("response.output_item.done", {"output_index": block.index, "item": item})
        at, word = self._at(block), self._word(block)
        if block.kind is Kind.CALL:
            called = {"arguments": block.text, "name": block.name}
            return [(f"response.{word}.done", at | called), done]
        members: dict[str, Any] = {"text": block.text}
        if block.kind is Kind.TEXT:
            members["logprobs"] = []
        part = _text(block.text) if block.kind is Kind.TEXT else self._thought(block.text)
        return [
            (f"response.{word}.done", at | members),
            (f"response.{self._part(block)}.done", at | {"part": part}),
            done,
        ]

    @property
    def _summarizes(self) -> bool:
        """True where the client asked for a summary: it gets the thought itself as one."""
        reasoning = self.about.shown.get("reasoning") or {}
        return bool(reasoning.get("summary") or reasoning.get("generate_summary"))

    @property
    def _place(self) -> str:
        return "summary" if self._summarizes else "content"

    def _thought(self, text: str) -> dict[str, Any]:
        return {"type": "summary_text" if self._summarizes else "reasoning_text", "text": text}

    def _part(self, block: Block) -> str:
        is_summary = block.kind is Kind.THOUGHT and self._summarizes
        return "reasoning_summary_part" if is_summary else "content_part"

    def _word(self, block: Block) -> str:
        if block.kind is Kind.TEXT:
            return "output_text"
        if block.kind is Kind.CALL:
            return "function_call_arguments"
        return "reasoning_summary_text" if self._summarizes else "reasoning_text"

    def _at(self, block: Block) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": self.item_id(block), "output_index": block.index}
        if block.kind is Kind.TEXT:
            place["content_index"] = 0
        elif block.kind is Kind.THOUGHT:
            place["summary_index" if self._summarizes else "content_index"] = 0
        return place


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
