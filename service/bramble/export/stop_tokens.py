"""The tokens that end a reply: what the configuration, the tokenizer and the template say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bramble.errors import BadInput
from bramble.model.tokenizer import Tokenizer

_ANSWER = "It is 42"  # no template changes it, and it stands in none


def stop_ids(
    generation: Mapping[str, Any], config: Mapping[str, Any], tokenizer: Tokenizer, vocab_size: int
) -> tuple[tuple[int, ...], list[str]]:
    """Every id that ends a reply, and warnings.

    The union of eos_token_id of generation_config.json and of config.json, the tokenizer's
    eos_token, and the special token that the chat template writes behind an answer: a model names
    its end in one of these places, and which one differs. Raises BadInput for ids that are none,
    or if all of them lie outside the model's vocabulary.
    """
    named = [
        *token_ids(generation, "eos_token_id", "generation_config.json"),
        *token_ids(config, "eos_token_id", "config.json"),
    ]
    eos = tokenizer.files.named.get("eos_token")
    if eos is not None and (found := tokenizer.token_id(eos)) is not None:
        named.append(found)
    end = reply_end(tokenizer)
    warnings = []
    if end is not None and end not in named and end < vocab_size:
        named.append(end)
        warnings.append(
            f"the chat template ends an answer with {tokenizer.token(end)!r} (id {end}), which no "
            "eos_token_id and no eos_token names; replies end there all the same"
        )
    inside = tuple(dict.fromkeys(index for index in named if index < vocab_size))
    if named and not inside:
        raise BadInput(
            f"every token that ends a reply is outside the model's vocabulary of {vocab_size}: "
            f"{', '.join(map(str, named))}; correct eos_token_id in generation_config.json"
        )
    if not inside:
        warnings.append(
            "no token is known to end a reply: each goes on until max_tokens or the context's end; "
            "name one as eos_token_id in generation_config.json"
        )
    return inside, warnings


def token_ids(document: Mapping[str, Any], key: str, where: str) -> tuple[int, ...]:
    """None, one id or a list of ids. Raises BadInput that names the file."""
    found = document.get(key)
    ids = [] if found is None else found if isinstance(found, list) else [found]
    if not all(type(index) is int and index >= 0 for index in ids):
        raise BadInput(f"{where}: {key} is {found!r}, need a token id, a list of them, or null")
    return tuple(ids)


def reply_end(tokenizer: Tokenizer) -> int | None:
    """The special token that the template writes behind an assistant's message, if it does."""
    messages = [
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": _ANSWER},
        {"role": "user", "content": "And then?"},
    ]
    try:
        text = tokenizer.render_chat(messages)
    except BadInput:  # no template, or one that wants other messages
        return None
    behind = text.rpartition(_ANSWER)[2].lstrip()
    if _ANSWER not in text:
        return None
    special = {tokenizer.added[index]: index for index in tokenizer.special_ids}
    found = [content for content in special if content and behind.startswith(content)]
    return special[max(found, key=len)] if found else None
