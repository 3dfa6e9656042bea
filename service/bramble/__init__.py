"""Bramble: a stack of Raspberry Pis as one LLM service."""

import os

__version__ = "0.1.0"

# onnxruntime reports its use to its makers unless this is set before it is imported
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
