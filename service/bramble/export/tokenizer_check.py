"""What export asks of a tokenizer beyond its files: ids that the model has, a usable template."""

from __future__ import annotations

from collections.abc import Iterable

from bramble.errors import BadInput
from bramble.model.tokenizer import Tokenizer

_MOST_NAMED = 3
_HELP = "take the tokenizer that belongs to these weights, or resize the embedding"


def check_tokenizer(tokenizer: Tokenizer, vocab_size: int) -> list[str]:
    """Return warnings. Raises BadInput where no conversation, or no prompt, could be answered.

    vocab_size  rows of the embedding: the ids that the model has are below it
    """
    vocabulary = tokenizer.vocabulary()
    _check_twice(vocabulary)
    _check_range(tokenizer, tokenizer.encode("a"), "the tokenizer adds", vocab_size)
    if tokenizer.chat_template.source is not None:
        _check_template(tokenizer, vocab_size)
    return [*_outside(vocabulary, vocab_size), *_replaced(tokenizer)]


def _check_twice(vocabulary: dict[str, int]) -> None:
    """An id that two tokens share would be read as either."""
    if len(set(vocabulary.values())) == len(vocabulary):
        return
    seen: dict[int, str] = {}
    for content, index in vocabulary.items():
        if index in seen:
            raise BadInput(
                f"tokenizer.json: {seen[index]!r} and {content!r} have both id {index}; "
                "save the tokenizer again with transformers"
            )
        seen[index] = content


def _check_template(tokenizer: Tokenizer, vocab_size: int) -> None:
    """One message of a user's is the least that a template has to lay out."""
    try:
        ids = tokenizer.encode_chat([{"role": "user", "content": "a"}])
    except BadInput as error:
        raise BadInput(
            f"{error}; it has to lay out one message of a user's: correct the template, or remove "
            "it to serve plain prompts alone"
        ) from error
    if not ids:
        raise BadInput("the chat template makes nothing of a user's message; correct or remove it")
    _check_range(tokenizer, ids, "the chat template writes", vocab_size)


def _check_range(tokenizer: Tokenizer, ids: Iterable[int], who: str, vocab_size: int) -> None:
    for index in ids:
        if index >= vocab_size:
            raise BadInput(
                f"{who} {tokenizer.token(index)!r} (id {index}), and the model's embedding has ids "
                f"0 to {vocab_size - 1}; {_HELP}"
            )


def _outside(vocabulary: dict[str, int], vocab_size: int) -> list[str]:
    """The classic: <pad> = 32000, added to a tokenizer whose model was not told."""
    found = sorted((index, content) for content, index in vocabulary.items() if index >= vocab_size)
    if not found:
        return []
    named = ", ".join(f"{content!r} ({index})" for index, content in found[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return [
        f"the tokenizer has {named}{more}, and the model's embedding has 0 to {vocab_size - 1}: "
        f"a prompt that holds one of them is refused; {_HELP}"
    ]


def _replaced(tokenizer: Tokenizer) -> list[str]:
    files = tokenizer.files
    if not files.replaced:
        return []
    return [
        f"tokenizer_class {files.class_name} replaces {', '.join(files.replaced)} of "
        "tokenizer.json by its own, as in transformers 5; PreTrainedTokenizerFast in "
        "tokenizer_config.json keeps the file's, as in transformers 4"
    ]
