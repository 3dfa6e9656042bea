"""Text to token ids and back, as the model's author ships it."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer as _Backend

from bramble.errors import BadInput


class Tokenizer:
    """A model folder's tokenizer.json."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput if the folder's tokenizer cannot be read."""
        path = folder / "tokenizer.json"
        try:
            self._backend = _Backend.from_str(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}") from error
        except Exception as error:  # the library raises nothing narrower
            raise BadInput(f"{path} cannot be read: {error}") from error

    def encode(self, text: str) -> list[int]:
        """Encode a plain prompt, with the special tokens that the tokenizer adds (bos)."""
        ids: list[int] = self._backend.encode(text).ids
        return ids
