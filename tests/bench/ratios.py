"""The ratios that Bramble promises, each with its bound. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.figures import Samples, Spread, paired
from tests.bench.streams import TEXTS
from tests.texts import REPEATING

CEILING = "ceiling 1 thread"
STREAMS = ("streams 1", "streams 2", "streams 4", "streams 8")
PREFILL = ("prefill 512", "prefill 512 whole")
GROUP = "group 2"
LLAMA_RPC = ("llama.cpp Q4_0 rpc 2", "llama.cpp Q4_K_M rpc 2")


@dataclass(frozen=True, slots=True)
class Ratio:
    """`values` lie on the right side of `bound` if its median does."""

    name: str
    values: Spread
    bound: float
    is_floor: bool  # at least `bound`; else at most

    @property
    def holds(self) -> bool:
        median = self.values.median
        return median >= self.bound if self.is_floor else median <= self.bound

    @property
    def target(self) -> str:
        return f"{'≥' if self.is_floor else '≤'} {self.bound:g}"


Side = tuple[str, tuple[str, ...]]  # contender, and the quantities of which its best counts


def ratios(samples: Samples) -> list[Ratio]:
    """Every ratio whose two sides were measured, in the order of the promises."""
    two = "ring 2"
    found = [
        *(_one_stream(samples, f"ring {n}") for n in (1, 2, 3)),
        _divide(
            samples,
            "ring 2, 8 streams / one core's best batch",
            (two, ("streams 8",)),
            (CEILING, STREAMS),
            1.7,
        ),
        _over_rpc(samples, "ring 2, 4 users / llama.cpp RPC's better", "streams 4", 3.0),
        _divide(
            samples,
            "ring 2, prefill 512 / one core",
            (two, ("prefill 512",)),
            (CEILING, PREFILL),
            1.8,
        ),
        _over_rpc(samples, "ring 2, prefill 512 / llama.cpp RPC's better", "prefill 512", 1.0),
        _divide(
            samples,
            "2 replicas, 16 streams / one of them, 8",
            ("2 replicas", ("streams 16",)),
            ("ring 1", ("streams 8",)),
            2.0,
        ),
        *_group_of_two(samples),
        *(_guesses(samples, f"ring {n}", text) for text in TEXTS for n in (1, 2, 3)),
        *(_second_turn(samples, f"ring {n}") for n in (1, 2, 3)),
        _restart(samples, "ring 1"),
        *(_resident(samples, f"ring {n}") for n in (1, 2, 3)),
    ]
    return [ratio for ratio in found if ratio is not None]


def _divide(
    samples: Samples, name: str, upper: Side, lower: Side, bound: float, is_floor: bool = True
) -> Ratio | None:
    above, below = samples.best(*upper), samples.best(*lower)
    if above is None or below is None:
        return None
    values = paired(samples.get(upper[0], above), samples.get(lower[0], below))
    return Ratio(name, Spread.of(values), bound, is_floor)


def _one_stream(samples: Samples, ring: str) -> Ratio | None:
    name = f"{ring}, one stream / one process"
    return _divide(samples, name, (ring, ("decode",)), (CEILING, ("decode",)), 0.97)


def _group_of_two(samples: Samples) -> list[Ratio | None]:
    """Beside one core, a pipeline over the same two, and llama.cpp over them."""
    group, decode, prefill, users = GROUP, ("decode",), ("prefill 512",), ("streams 4",)
    return [
        _divide(
            samples, f"{group}, one stream / ring 1", (group, decode), ("ring 1", decode), 1.35
        ),
        _divide(samples, f"{group}, one stream / ring 2", (group, decode), ("ring 2", decode), 1.3),
        _over_rpc(
            samples, f"{group}, one stream / llama.cpp RPC's better", "decode", 1.6, contender=group
        ),
        _divide(
            samples, f"{group}, prefill 512 / ring 1", (group, prefill), ("ring 1", prefill), 1.6
        ),
        _divide(samples, f"{group}, 4 users / ring 2", (group, users), ("ring 2", users), 1.0),
    ]


def _over_rpc(
    samples: Samples, name: str, quantity: str, bound: float, contender: str = "ring 2"
) -> Ratio | None:
    """Against whichever of llama.cpp's formats does better."""
    found = [
        _divide(samples, name, (contender, (quantity,)), (peer, (quantity,)), bound)
        for peer in LLAMA_RPC
    ]
    known = [ratio for ratio in found if ratio is not None]
    return min(known, key=lambda ratio: ratio.values.median, default=None)


def _guesses(samples: Samples, ring: str, text: str) -> Ratio | None:
    upper, lower = (ring, (f"guessed {text}",)), (ring, (f"plain {text}",))
    bound = 1.5 if text in REPEATING else 0.97
    return _divide(samples, f"{ring}, {text}, guesses / none", upper, lower, bound)


def _second_turn(samples: Samples, ring: str) -> Ratio | None:
    second, cold = (ring, ("turn second",)), (ring, ("turn cold",))
    name = f"{ring}, first token of a second turn / cold"
    return _divide(samples, name, second, cold, 0.15, is_floor=False)


def _restart(samples: Samples, ring: str) -> Ratio | None:
    spread = samples.spread(ring, "restart")
    if spread is None:
        return None
    return Ratio(f"{ring}, warm restart in s", spread, 2.0, is_floor=False)


def _resident(samples: Samples, ring: str) -> Ratio | None:
    upper, lower = (ring, ("resident",)), (ring, ("shards+kv",))
    return _divide(samples, f"{ring}, resident / (shards + KV)", upper, lower, 1.15, is_floor=False)
