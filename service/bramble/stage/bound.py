"""Sessions with their inputs and outputs bound to arrays; between runs only numbers change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from onnxruntime import InferenceSession as Session
from onnxruntime import IOBinding as Binding
from onnxruntime import OrtValue

from bramble.stage.session import run

Values = dict[str, OrtValue]  # by the name of a session's input or output


@dataclass(frozen=True, slots=True)
class Run:
    """A session with its inputs and outputs."""

    name: str
    session: Session
    binding: Binding

    def __call__(self) -> None:
        run(self.session, self.binding, self.name)


def value(array: NDArray[Any]) -> OrtValue:
    """An OrtValue over the array's own memory."""
    return OrtValue.ortvalue_from_numpy(array)


def bind(part: Session, inputs: Values, outputs: Values) -> Binding:
    binding = part.io_binding()
    for name, given in inputs.items():
        binding.bind_ortvalue_input(name, given)
    for name, made in outputs.items():
        binding.bind_ortvalue_output(name, made)
    return binding
