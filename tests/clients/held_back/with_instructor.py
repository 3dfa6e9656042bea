"""instructor: classes as replies, in each of its modes for OpenAI's chat protocol."""

from __future__ import annotations

from functools import partial
from typing import Literal

import instructor
import openai
from calls import ASKED, SCRIPTED, Calls
from pydantic import BaseModel

calls = Calls("instructor", "instructor")


class Weather(BaseModel):
    city: str
    unit: Literal["celsius", "fahrenheit"]
    degrees: list[int]


def extract(mode: instructor.Mode) -> None:
    client = instructor.from_openai(
        openai.OpenAI(base_url=SCRIPTED.v1, api_key="none", max_retries=0), mode=mode
    )
    found = client.create(
        model=SCRIPTED.model,
        messages=[*ASKED],
        response_model=Weather,
        max_retries=0,
    )
    assert found.model_dump() == {"city": "Paris", "unit": "celsius", "degrees": [7]}


for mode, means in (
    ("TOOLS", "a tool that has to be called"),
    ("TOOLS_STRICT", "a strict tool that has to be called"),
    ("JSON_SCHEMA", "a schema"),
):
    calls.add(f"`from_openai(mode=Mode.{mode})`", f"a class, by {means}")(
        partial(extract, instructor.Mode[mode])
    )


if __name__ == "__main__":
    calls.run()
