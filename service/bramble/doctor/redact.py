"""Takes secrets out of text that a person may publish: known ones by value, others by their looks.

It rather takes a word too many than one too few. Host names and addresses stay: without them
nobody can read the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

GONE = "<redacted>"
MIN_KNOWN = 6  # characters: a shorter line of a secret file is no secret, it is punctuation
SHORT = 10  # characters between - or _ in a model's name; random words seldom have so few

NAMES = (
    r"pass(?:word|wd|phrase)?|pwd|secrets?|tokens?|credentials?|auth(?:orization)?|cookie|bearer|"
    r"jwt|otp|psk|signature|session[_-]?id|"
    r"(?:api|private|secret|access|signing|encryption|node|host|client|server)[_-]?keys?"
)
BLOCK = re.compile(
    # a line of such a name in YAML, and what belongs to it: lines indented deeper, and list items
    rf"(?im)^([ \t]*)(- )?([\w-]*(?:{NAMES})[\"']?[ \t]*:)[^\n]*\n"
    r"((?:(?:\1[ \t]+|\1- )[^\n]*(?:\n|\Z))+)"
)
PEM = re.compile(r"-----BEGIN [^-\n]+-----.{0,20000}?-----END [^-\n]+-----", re.S)
PEM_CUT = re.compile(r"-----BEGIN [^-\n]+-----[A-Za-z0-9+/=\s]*")
HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)([\"']?\s*[:=]\s*)[^\r\n]*"
)
SCHEME = re.compile(r"(?i)\b(bearer)\s+[^\s\"',;]{6,}")
USER = re.compile(r"((?:\s-u|--user)[ =]\S+?):\S+")  # curl's name:password
FLAG = re.compile(rf"(?i)(--[\w-]*(?:{NAMES})[ =])([^\s\"']+)")
NAMED = re.compile(
    # the name, perhaps as the end of another word; : or =; a quoted value, or what follows up to
    # the next name=
    rf"(?im)([\w-]*(?:{NAMES})[\"']?[ \t]*[:=][ \t]*)"
    r"(\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|\S[^\n]*?(?=\s+[\w-]+=|$))"
)
PLAIN = re.compile(r"(?i)true|false|null|none|yes|no|~")
COUNT = re.compile(r"-?[\d.]{1,9}")
URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]*@", re.I)
SSH = re.compile(
    r"\b((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+)\s+[A-Za-z0-9+/=]{16,}(?:[^\S\n]+[^\s\"']+)?"
)
MARKED = re.compile(
    # tokens that say what they are: OpenAI, Hugging Face, GitHub, GitLab, Slack, AWS, JWT
    r"\b(?:sk-[\w-]{8,}|hf_\w{8,}|gh[pousr]_\w{8,}|github_pat_\w{8,}|glpat-[\w-]{8,}|"
    r"xox[a-z]-[\w-]{8,}|AKIA[A-Z0-9]{12,}|eyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?)"
)
HEX = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24,}\b", re.I)  # digests: eight digits still tell which
# ZeroMQ keys are 40 characters of this alphabet (rfc.zeromq.org/spec/32); glued to a name, more.
Z85 = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40,}")
RARE = re.compile(r"[\^!*?&<>()\[\]{}%$#+]")
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
FOLDER = re.compile(r"/(?:boot|dev|etc|home|lib|mnt|opt|proc|root|run|srv|sys|tmp|usr|var)/")


def redact(text: str, known: Iterable[str] = ()) -> str:
    """Return `text` without what is, or looks like, a secret.

    known   secrets by their value, such as the contents of this node's secret files
    """
    for secret in sorted(pieces(known), key=len, reverse=True):
        text = text.replace(secret, GONE)
    text = PEM_CUT.sub(GONE, PEM.sub(GONE, text))
    text = HEADER.sub(rf"\1\2{GONE}", text)
    text = SCHEME.sub(rf"\1 {GONE}", text)
    text = BLOCK.sub(rf"\1\2\3 {GONE}\n", text)
    text = USER.sub(rf"\1:{GONE}", FLAG.sub(rf"\1{GONE}", text))
    text = NAMED.sub(_named, text)
    text = URL.sub(rf"\1{GONE}@", text)
    text = SSH.sub(rf"\1 {GONE}", text)
    text = MARKED.sub(GONE, text)
    text = HEX.sub(r"\1…", text)
    text = Z85.sub(_if_key, text)
    return BASE64.sub(_if_random, text)


def pieces(secrets: Iterable[str]) -> set[str]:
    """The lines, and the values of `name: value` lines, that must not appear anywhere."""
    found: set[str] = set()
    for line in (line.strip() for secret in secrets for line in secret.splitlines()):
        values = {line, line.split(": ", 1)[-1].strip(" \"'-"), line.strip(" \"'-")}
        found |= {value for value in values if len(value) >= MIN_KNOWN}
    return found


def _named(found: re.Match[str]) -> str:
    """Keep yes and no, and numbers of tokens: `max_tokens: 512` is no secret."""
    value = found[2].strip("\"'")
    is_count = "tokens" in found[1].lower() and COUNT.fullmatch(value)
    return found[0] if PLAIN.fullmatch(value) or is_count else f"{found[1]}{GONE}"


def _if_key(found: re.Match[str]) -> str:
    return GONE if _is_mixed(found[0]) and RARE.search(found[0]) else found[0]


def _if_random(found: re.Match[str]) -> str:
    """A long word of capitals, small letters and digits that is neither a path nor a name."""
    word = found[0]
    parts = word.split("/") if FOLDER.match(word) else [word]
    return "/".join(GONE if _is_random(part) else part for part in parts)


def _is_random(word: str) -> bool:
    is_name = max(map(len, re.split("[-_]", word))) <= SHORT
    return len(word) >= 24 and _is_mixed(word) and not is_name


def _is_mixed(word: str) -> bool:
    return all(re.search(kind, word) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
