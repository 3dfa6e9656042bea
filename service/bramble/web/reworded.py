"""Errors of the head, which knows parameters by their names in the chat API, in other words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from bramble.web.problem import Problem


def reworded(problem: Problem, names: Mapping[str, str]) -> Problem:
    """Return the same problem with its parameter as another protocol calls it.

    names  patterns of parameters' paths, of which the first that fits counts, and what replaces
           them; in the message only where it begins with the path
    """
    if problem.param is None or problem.code == "unknown_parameter":  # a name of the client's own
        return problem
    for pattern, name in names.items():
        param, count = re.subn(rf"\A{pattern}", name, problem.param)
        if count:
            message = problem.message
            if message.startswith(problem.param):
                message = param + message.removeprefix(problem.param)
            return replace(problem, param=param, message=message)
    return problem
