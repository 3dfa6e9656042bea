"""Bramble: a stack of Raspberry Pis as one LLM service."""

__version__ = "0.1.0"
