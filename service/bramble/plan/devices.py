"""What is known of the boards before any is measured: memory, bandwidth, arithmetic, power, price.

Every figure names its source; `bramble predict --calibration` replaces speeds by measured ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bramble.plan.cost import CHUNK_INSTRUCTIONS
from bramble.plan.pace import Link, Pace

GB = 1e9
GIB = 1 << 30
# Of a node's memory, for weights and KV cache; as observe/sensors.py and ansible's filters have it.
# The head's node gives the difference to head and web.
USABLE_SHARE, RESERVED_BYTES = 0.8, 768 << 20
HEAD_BYTES, HEAD_RESERVED_BYTES = 700 << 20, 1168 << 20

# Sequential read of a Raspberry Pi 5's LPDDR4X by threads: llama.cpp issue #26484
PI5_READ_BYTES_S: Mapping[int, float] = MappingProxyType(
    {1: 9.3 * GB, 2: 13.2 * GB, 3: 12.4 * GB, 4: 11.6 * GB}  # 3 is between its neighbours
)
THREADS = 4  # what the engines take where nobody chose

# Share of that bandwidth at which quantised weights are streamed while decoding (4 threads):
# fitted, see check.py
PI5_STREAMING = 0.889
# Instructions of quantised products that a Pi 5 retires, 4 threads: fitted to the one published
# prompt whose kernels are known and counted, see peers.py. It is 1.3 a cycle of 2.4 GHz.
PI5_INSTRUCTIONS_S = 12.4 * GB
# What that leaves open: throttling and slower memory below, kernels that retire more above
PROMPT_BAND = (0.6, 1.3)

# onnxruntime against llama.cpp, same shape, same machine (x86_64, 1 thread): decode 30 : 31.2
# tokens/s of 5.0 : 4.5 bits per weight, so bandwidth is used as well.
ENGINE_STREAMING = 1.0
# A stage's own time per step is 0.9 to 1.2 ms on x86_64 (service/DESIGN.md); a Cortex-A76 runs
# Python at about half that speed: an assumption, until a Pi has been measured.
PI5_STEP_S = 0.002
# What a member does itself for an exchange beside waiting for the cable: of two members 24 µs on
# x86_64 and of four 51, sending and receiving in the kernel included, which a link's latency has
# too (service/DESIGN.md); a Cortex-A76 runs Python at about half that speed: likewise an assumption
PI5_EXCHANGE_S = 0.000_060
# Numbers that are packed to 8 bits, encrypted, unpacked or added: 5 cycles each, an assumption
PI5_NUMBERS_S = 500e6

# 937 Mbit/s of TCP, and half a round trip of 0.19 ms (EEE off): raspberrypi/linux PR #7251
GIGABIT = Link("1gbe", 937e6 / 8, 0.000_095)
LINKS: Mapping[str, Link] = MappingProxyType(
    {
        "1gbe": GIGABIT,
        "100mbe": Link("100mbe", 94e6 / 8, 0.000_15),  # 94 % of the line, as above; a USB port's
        "2.5gbe": Link("2.5gbe", 2.35e9 / 8, 0.000_095),  # by a USB 3 or PCIe adapter
        "wifi": Link("wifi", 100e6 / 8, 0.002),  # a good Pi 5 day; bursts are far worse
    }
)


@dataclass(frozen=True, slots=True)
class Device:
    """A board on sale. Prices are the maker's list in US dollars of December 2025, or unknown.

    They have risen since with those of memory: for comparing stacks, not for ordering.
    """

    name: str
    memory_bytes: int
    pace: Pace
    idle_watts: float
    load_watts: float
    price_usd: int | None

    def usable_bytes(self, *, is_head: bool) -> int:
        """What weights and KV cache may take."""
        share = int(self.memory_bytes * USABLE_SHARE)
        if is_head:
            return min(share - HEAD_BYTES, self.memory_bytes - HEAD_RESERVED_BYTES)
        return min(share, self.memory_bytes - RESERVED_BYTES)


PI5_PACE = Pace(
    PI5_READ_BYTES_S[THREADS] * PI5_STREAMING * ENGINE_STREAMING,
    PI5_INSTRUCTIONS_S / CHUNK_INSTRUCTIONS,
    PI5_STEP_S,
    PI5_EXCHANGE_S,
    PI5_NUMBERS_S,
    PI5_INSTRUCTIONS_S,
)


def _pi(name: str, gibibytes: int, price_usd: int | None) -> Device:
    """A board with the Pi 5's processor and memory: BCM2712, LPDDR4X-4267, 32 bits wide.

    Watts at the wall: idle 1.8 to 5, LLM load 11 to 13 (ollama-benchmark 11.6 and 11.9).
    """
    return Device(name, gibibytes * GIB, PI5_PACE, 3.0, 11.7, price_usd)


DEVICES: Mapping[str, Device] = MappingProxyType(
    {
        device.name: device
        for device in (
            _pi("pi5-2gb", 2, 55),
            _pi("pi5-4gb", 4, 70),
            _pi("pi5-8gb", 8, 95),
            _pi("pi5-16gb", 16, 145),
            _pi("pi500-8gb", 8, None),
            _pi("cm5-4gb", 4, None),
            _pi("cm5-8gb", 8, None),
            _pi("cm5-16gb", 16, None),
        )
    }
)
