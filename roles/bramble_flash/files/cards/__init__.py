"""Raspberry Pi cards: getting an image, making it a node's own, writing it to a device."""
