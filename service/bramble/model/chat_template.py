"""A model's chat template: where it stands, and the Jinja environment of transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from bramble.errors import BadInput
from bramble.model.tokenizer_files import CONFIG, read_object

FILE = "chat_template.jinja"
LEGACY_FILE = "chat_template.json"
MORE = "additional_chat_templates"
DEFAULT = "default"
TEMPLATE_ERRORS = (  # a template is a program, and what it meets are messages of anybody's
    TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


class ChatTemplate:
    """Lays out a conversation; without a template it refuses every one."""

    def __init__(self, folder: Path, config: dict[str, Any], tokens: Mapping[str, str]) -> None:
        """tokens: bos_token, eos_token … by name. Raises BadInput for a template that is none."""
        self.source = find_source(folder, config)
        self._tokens = dict(tokens)
        try:
            self._template = (
                None if self.source is None else _environment().from_string(self.source)
            )
        except TemplateError as error:
            raise BadInput(f"{folder}: the chat template cannot be read: {error}") from error

    def render(self, messages: Sequence[dict[str, Any]], *, opens_reply: bool = True) -> str:
        """Lay out messages; with opens_reply, up to where the assistant's reply begins."""
        if self._template is None:
            raise BadInput(
                "the model has no chat template; send a plain prompt to /v1/completions",
                param="messages",
            )
        present = [{k: v for k, v in message.items() if v is not None} for message in messages]
        values = {"messages": present, "add_generation_prompt": opens_reply}
        try:
            return self._template.render(self._tokens | {"tools": None, "documents": None} | values)
        except TEMPLATE_ERRORS as error:
            raise BadInput(
                f"the model's chat template refuses the messages: {error}", param="messages"
            ) from error


def find_source(folder: Path, config: dict[str, Any]) -> str | None:
    """The template that a conversation without tools takes, or None if the folder has none.

    Files of their own come before tokenizer_config.json; of several, the one called default. The
    older chat_template.json, which transformers reads for image models alone, may add one where
    there is none, and not contradict. Raises BadInput.
    """
    found = _chosen(_own_files(folder) or config.get("chat_template"), folder / CONFIG)
    legacy = folder / LEGACY_FILE
    if not legacy.exists():
        return found
    document = read_object(legacy)
    if unknown := sorted(set(document) - {"chat_template"}):
        raise BadInput(f"{legacy}: {unknown[0]} is not known; need chat_template alone")
    older = _chosen(document.get("chat_template"), legacy)
    if found is not None and older is not None and older != found:
        raise BadInput(
            f"{legacy} has another template than the tokenizer; remove the one that does not hold"
        )
    return older if found is None else found


def template_files(folder: Path) -> list[Path]:
    """The files that may hold a template, those of them that are there."""
    single = [folder / FILE, folder / LEGACY_FILE]
    return [path for path in single if path.is_file()] + sorted((folder / MORE).glob("*.jinja"))


def _own_files(folder: Path) -> dict[str, str]:
    named = {path.stem: path for path in sorted((folder / MORE).glob("*.jinja"))}
    if (folder / FILE).is_file():
        named = {DEFAULT: folder / FILE} | named
    return {name: _read_text(path) for name, path in named.items()}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error


def _chosen(found: Any, where: Path) -> str | None:
    """One template, several by name as an object, or as a list of {name, template}."""
    if found is None or isinstance(found, str):
        return found
    if isinstance(found, list) and all(isinstance(entry, dict) for entry in found):
        found = {str(entry.get("name")): entry.get("template") for entry in found}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise BadInput(
            f"{where}: chat_template is a {type(found).__name__}, need a template, "
            "or several by name"
        )
    if DEFAULT not in found:
        raise BadInput(
            f"{where}: the chat templates are called {', '.join(sorted(found)) or 'nothing'}; "
            f"one has to be called {DEFAULT}"
        )
    return str(found[DEFAULT])


class _GenerationTag(Extension):
    """{% generation %} marks the assistant's words for training; rendering shows its contents."""

    tags = {"generation"}  # noqa: RUF012  jinja2's own interface

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """Its body is a macro's, as in transformers: what it sets is not seen outside."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = nodes.CallBlock(self.call_method("_show"), [], [], body)
        return call.set_lineno(line)

    def _show(self, caller: Any) -> str:
        return str(caller())


class _Dict:
    """The template's `dict`: makes dicts, and is not the type, which has more to it."""

    def __call__(self, *args: Any, **entries: Any) -> dict[Any, Any]:
        return dict(*args, **entries)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


class _Namespace(Namespace):
    """The template's `namespace`: refuses names with an underscore in front, as transformers."""

    def __init__(*args: Any, **entries: Any) -> None:
        self, *rest = args
        attributes = dict(*rest, **entries)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace's attribute may not be called {name!r}")


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_GenerationTag, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.globals["dict"] = _Dict()
    environment.globals["namespace"] = _Namespace
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes for HTML, which a prompt is not; arguments as in transformers."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)
