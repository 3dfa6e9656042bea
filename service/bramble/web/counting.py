"""How many tokens a prompt has, as the head tells who has template and tokenizer."""

from __future__ import annotations

import uuid
from contextlib import closing
from dataclasses import replace

from bramble.errors import Unavailable
from bramble.web.connection import connection
from bramble.web.service import current_service
from bramble.wire.messages import Accepted, Generate


def count_tokens(asked: Generate) -> int:
    """Return the number of tokens of a request's prompt; nothing is computed for it.

    Raises what the head refuses the request with.
    """
    service = current_service()
    counted = replace(asked, request=uuid.uuid4().hex, max_tokens=0)
    with (
        service.admission.slot(),
        closing(service.client.generate(counted, connection())) as events,
    ):
        for event in events:
            if isinstance(event, Accepted):
                return event.prompt_tokens
    raise Unavailable("the connection closed before the prompt was counted")
