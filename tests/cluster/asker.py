"""A client that keeps asking until it is told to stop; prints one JSON line per answer.

python asker.py http://HEAD:8080 MODEL      "" for whatever is served
"""

import json
import signal
import sys
import time

from openai import OpenAI

PAUSE_S = 1.0  # a person thinks; and the hosts share this machine's cores with the play
QUESTION = "How do I add a Pi?"


def main() -> None:
    is_over = []
    signal.signal(signal.SIGTERM, lambda *_: is_over.append(True))
    client = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="-", max_retries=0, timeout=120)
    number = 0
    while not is_over:
        number, started = number + 1, time.monotonic()
        record: dict[str, object] = {"number": number}
        try:
            record["text"] = _ask(client, is_streamed=number % 2 == 0)
        except Exception as error:  # noqa: BLE001  whatever a user would see
            record["error"] = repr(error)
        record["seconds"] = round(time.monotonic() - started, 2)
        print(json.dumps(record), flush=True)
        time.sleep(PAUSE_S)


def _ask(client: OpenAI, is_streamed: bool) -> str:
    asked = {
        "model": sys.argv[2],
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": 48,
    }
    if not is_streamed:
        return client.chat.completions.create(**asked).choices[0].message.content
    parts = client.chat.completions.create(stream=True, **asked)
    return "".join(part.choices[0].delta.content or "" for part in parts if part.choices)


main()
