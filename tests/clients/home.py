"""What Home Assistant sends, whichever of its integrations asks: prompt, tools, structures."""

from __future__ import annotations

from typing import Any

# The default prompt, a clock behind it, and the devices that are exposed
SYSTEM = """You are a voice assistant for Home Assistant.
Answer questions about the world truthfully.
Answer in plain text. Keep it simple and to the point.
When controlling Home Assistant always call the intent tools. Use HassTurnOn to lock and \
HassTurnOff to unlock a lock. When controlling a device, prefer passing just name and domain.
Static Context: An overview of the areas and the devices in this smart home:
- names: Kitchen light
  domain: light
  areas: Kitchen"""
TURN_ON = "Turn on the kitchen light"
LIGHT: dict[str, Any] = {
    "name": "HassTurnOn",
    "description": "Turns on/opens/presses a device or entity.",
    "parameters": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "area": {"type": "string"},
            "floor": {"type": "string"},
            "domain": {"type": "array", "items": {"type": "string"}},
            "device_class": {
                "type": "array",
                "items": {"type": "string", "enum": ["outlet", "switch", "water", "blind"]},
            },
        },
        "required": [],
    },
}
CONTEXT: dict[str, Any] = {
    "name": "GetLiveContext",
    "description": "Provides real-time information about the CURRENT state of devices.",
    "parameters": {"type": "object", "properties": {}, "required": []},
}
FORMAT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "lights": {"type": "array", "items": {"type": "string"}},
        "count": {"type": "number", "minimum": 0, "maximum": 100},
    },
    "required": ["lights"],
}
