"""A model's chat templates: where they stand, and how they lay out a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, meta

from bramble.errors import BadInput
from bramble.model.template_environment import TEMPLATE_ERRORS, environment
from bramble.model.tokenizer_files import CONFIG, NAMED, read_object
from bramble.model.writable import check_writable

FILE = "chat_template.jinja"
LEGACY_FILE = "chat_template.json"
MORE = "additional_chat_templates"
DEFAULT = "default"
TOOL_USE = "tool_use"  # what transformers takes where tools are given, if there is one of that name
OWN_NAMES = frozenset(  # what the environment gives to a template, or transformers reads itself
    (
        *("messages", "tools", "documents", "add_generation_prompt", "continue_final_message"),
        *("conversation", "chat_template", "tokenize", "return_dict", "return_tensors"),
        *("raise_exception", "strftime_now", "dict", "namespace", "range", "lipsum"),
        *("cycler", "joiner"),
        *NAMED,
    )
)


class ChatTemplate:
    """Lays out a conversation; without a template it refuses every one."""

    def __init__(self, folder: Path, config: dict[str, Any], tokens: Mapping[str, str]) -> None:
        """tokens: bos_token, eos_token … by name. Raises BadInput for a template that is none."""
        self.sources = find_sources(folder, config)
        self.source = self.sources.get(DEFAULT)
        self.tokens = dict(tokens)
        ours = environment()
        try:
            used = {k: v for k, v in self.sources.items() if k in (DEFAULT, TOOL_USE)}
            self._templates = {name: ours.from_string(source) for name, source in used.items()}
            self._variables = {
                name: frozenset(meta.find_undeclared_variables(ours.parse(source)))
                for name, source in used.items()
            }
        except TemplateError as error:
            raise BadInput(f"{folder}: the chat template cannot be read: {error}") from error

    def name_for(self, tools: object) -> str:
        """Which template a conversation with these tools takes, as transformers chooses."""
        return TOOL_USE if tools and TOOL_USE in self._templates else DEFAULT

    def variables(self, tools: object = None) -> frozenset[str]:
        """The names that the template asks for, such as messages, tools, enable_thinking."""
        return self._variables.get(self.name_for(tools), frozenset())

    def options(self, wanted: Mapping[str, Any], tools: object = None) -> dict[str, Any]:
        """What of a request's options the template is given. Raises BadInput for one it has itself.

        An effort says also whether to think at all, where the template knows no more than that.
        """
        for name, value in wanted.items():
            if name in OWN_NAMES or name in self.tokens:
                param = f"chat_template_kwargs.{name}"
                raise BadInput(f"{param} is not an option: the template is given it", param)
            _check_option(name, value)
        found, known = dict(wanted), self.variables(tools)
        effort = found.get("reasoning_effort")
        if effort is not None and "reasoning_effort" not in known:
            found.setdefault("enable_thinking", effort != "none")
        if "enable_thinking" in found and "enable_thinking" not in known and "thinking" in known:
            found.setdefault("thinking", found["enable_thinking"])
        return found

    def render(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        tools: Sequence[dict[str, Any]] | None = None,
        options: Mapping[str, Any] | None = None,
        opens_reply: bool = True,
    ) -> str:
        """Lay out messages; with opens_reply, up to where the assistant's reply begins.

        tools    as in OpenAI's chat API
        options  more variables of the template's, such as enable_thinking
        """
        template = self._templates.get(self.name_for(tools))
        if template is None:
            raise BadInput(
                "the model has no chat template; send a plain prompt to /v1/completions",
                param="messages",
            )
        present = [{k: v for k, v in message.items() if v is not None} for message in messages]
        values = {"messages": present, "add_generation_prompt": opens_reply}
        values |= {"tools": list(tools) if tools else None, "documents": None}
        try:
            return template.render(self.tokens | values | dict(options or {}))
        except TEMPLATE_ERRORS as error:
            raise BadInput(
                f"the model's chat template refuses the messages: {error}", param="messages"
            ) from error


def find_sources(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """The folder's templates by name; what a conversation takes is called default.

    Files of their own come before tokenizer_config.json. The older chat_template.json, which
    transformers reads for image models alone, may add one where there is none, and not contradict.
    Raises BadInput.
    """
    found = _named(_own_files(folder) or config.get("chat_template"), folder / CONFIG)
    legacy = folder / LEGACY_FILE
    if not legacy.exists():
        return found
    document = read_object(legacy)
    if unknown := sorted(set(document) - {"chat_template"}):
        raise BadInput(f"{legacy}: {unknown[0]} is not known; need chat_template alone")
    older = _named(document.get("chat_template"), legacy)
    if found and older and older[DEFAULT] != found[DEFAULT]:
        raise BadInput(
            f"{legacy} has another template than the tokenizer; remove the one that does not hold"
        )
    return found or older


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


def _named(found: Any, where: Path) -> dict[str, str]:
    """From one template, several by name as an object, or a list of {name, template}."""
    if found is None:
        return {}
    if isinstance(found, str):
        return {DEFAULT: found}
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
    return found


def _check_option(name: str, value: Any) -> None:
    """Refuse what is no JSON value, and what would be taken for its contrary."""
    param = f"chat_template_kwargs.{name}"
    check_writable({name: value}, param)
    if name == "enable_thinking" and type(value) is not bool:
        raise BadInput(f"{param}: got {value!r:.80}, need true or false", param)
    if name == "reasoning_effort" and not isinstance(value, str):
        raise BadInput(f"{param}: got {value!r:.80}, need a word such as none or high", param)
