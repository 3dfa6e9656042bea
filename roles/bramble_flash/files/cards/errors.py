"""What can go wrong with a card.

FlashError            the program ends with one sentence
├── Refused           bad input or an unsafe target: nothing was touched; exit code 2
│   └── NotThere      the server has no such file
└── Failed            begun and not finished: run again; exit code 1
"""

from __future__ import annotations


class FlashError(Exception):
    exit_code = 1


class Refused(FlashError):
    exit_code = 2


class NotThere(Refused):
    pass


class Failed(FlashError):
    exit_code = 1
