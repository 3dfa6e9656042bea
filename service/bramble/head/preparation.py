"""What becomes of a request's text beside the service loop: tokens, or a refusal that says why."""

from __future__ import annotations

import logging

from bramble.errors import BadInput, BrambleError, PoisonRequest, Unavailable
from bramble.head.preparer import SHORT_BYTES
from bramble.head.reply_shape import may_have_grammar
from bramble.head.request import Request, open_request
from bramble.model.manifest import Manifest
from bramble.model.tokenizer import Tokenizer
from bramble.wire import messages as m

log = logging.getLogger(__name__)

MESSAGE_BYTES = 64  # of text that takes as long as the template takes over one message


def text_bytes(asked: m.Generate) -> int:
    """About how much text there is to be tokenized; token ids need next to nothing.

    What has a grammar counts as a long text: it may be tried in a process of its own.
    """
    total = SHORT_BYTES + 1 if may_have_grammar(asked) else 0
    total += len(asked.constraint.text) if asked.constraint is not None else 0
    prompt = asked.prompt if isinstance(asked.prompt, str) else asked.messages
    stack: list[object] = [prompt, asked.tools, asked.template_options]
    while stack:  # without recursion: a client of the door may nest as deeply as JSON is read
        match stack.pop():
            case str() as text:
                total += len(text)
            case list() as values:
                stack += values
            case dict() as members:
                total += MESSAGE_BYTES
                stack += members.values()
    return total


def prepare(
    asked: m.Generate,
    tokenizer: Tokenizer,
    manifest: Manifest,
    max_length: int,
    at: float,
) -> Request | m.Refused:
    """Tokenize what was asked at `at`. Whatever fails over it fails this request alone.

    Runs in any thread; touches nothing that changes.
    """
    try:
        return open_request(asked, tokenizer, manifest, max_length, at)
    except BadInput as error:
        return refusal(asked.request, error)
    except BaseException as error:  # noqa: BLE001  others' parsers of anybody's text; a panic
        # of Rust is no Exception. Its words may hold some of the text: they are not told.
        kind = type(error).__name__
        log.error("event=prepare_failed request=%s kind=%s", asked.request, kind)
        problem = PoisonRequest(
            f"the tokenizer or the chat template failed over this request ({kind}); other "
            "requests go on; do not send it again as it is"
        )
        return refusal(asked.request, problem)


def refusal(request: str, error: BrambleError) -> m.Refused:
    return m.Refused(
        request=request,
        family=type(error).__name__,
        message=str(error),
        param=error.param if isinstance(error, BadInput) else None,
        code=error.code if isinstance(error, BadInput) else None,
        retry_after_s=error.retry_after_s if isinstance(error, Unavailable) else None,
    )
