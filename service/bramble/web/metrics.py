"""Prometheus metrics: the web's own counts, and the head's status document as gauges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bramble.errors import Unavailable
from bramble.web.document import Document
from bramble.wire.messages import Done

DURATION_BUCKETS_S = (0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TOKEN_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
LENGTH_BUCKETS = tuple(float(1 << i) for i in range(4, 16))  # 16 to 32768 tokens


class Metrics:
    def __init__(self, document: Document) -> None:
        self._registry = CollectorRegistry()  # of this app alone: tests make many
        self._requests = Counter(
            "bramble_http_requests_total",
            "HTTP requests by route and status",
            ("route", "status"),
            registry=self._registry,
        )
        self._durations = Histogram(
            "bramble_http_request_duration_seconds",
            "From the request to the last byte of its answer",
            ("route",),
            buckets=DURATION_BUCKETS_S,
            registry=self._registry,
        )
        self._first_tokens = self._histogram(
            "bramble_time_to_first_token_seconds", "From request to first token", DURATION_BUCKETS_S
        )
        self._tokens = self._histogram(
            "bramble_time_per_output_token_seconds",
            "Mean time between the tokens of one reply",
            TOKEN_BUCKETS_S,
        )
        self._prompts = self._histogram(
            "bramble_prompt_length_tokens", "Tokens in a prompt", LENGTH_BUCKETS
        )
        self._replies = self._histogram(
            "bramble_reply_length_tokens", "Tokens in a reply", LENGTH_BUCKETS
        )
        self._registry.register(_Ring(document))

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self._registry)

    def count_request(self, route: str, status: int, duration_s: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._durations.labels(route).observe(duration_s)

    def count_completion(self, done: Done) -> None:
        """Count a reply that has ended, streamed or not."""
        self._prompts.observe(done.prompt_tokens)
        self._replies.observe(done.completion_tokens)
        if done.completion_tokens > 0:
            self._first_tokens.observe(done.first_token_s)
        if done.completion_tokens > 1:
            seconds = done.total_s - done.first_token_s
            self._tokens.observe(seconds / (done.completion_tokens - 1))

    def render(self) -> bytes:
        """Return Prometheus' text format."""
        return generate_latest(self._registry)


class _Ring(Collector):
    """Reads the status document anew for each scrape."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def describe(self) -> list[Metric]:
        return []  # known only once the head answers

    def collect(self) -> Iterator[Metric]:
        try:
            document = self._document.read()
        except Unavailable:
            yield _gauge("bramble_up", "1 if a ring serves", 0)
            return
        yield _gauge("bramble_up", "1 if a ring serves", document["state"] == "serving")
        yield from _totals(document)
        yield from _rings(document["plan"]["rings"])
        yield from _stages(document)


def _totals(document: dict[str, Any]) -> Iterator[Metric]:
    requests, speed = document["requests"], document["speed"]
    yield _gauge("bramble_requests_running", "Requests in the ring", requests["running"])
    yield _gauge("bramble_requests_queued", "Requests that wait", requests["queued"])
    yield _gauge("bramble_decode_tokens_per_second", "Over 10 s", speed["decode_tokens_s"])
    yield _gauge("bramble_prefill_tokens_per_second", "Over 10 s", speed["prefill_tokens_s"])
    for name in ("completed", "failed", "cancelled", "preemptions"):
        value = requests[name]
        yield CounterMetricFamily(f"bramble_requests_{name}", f"Requests {name}", value=value)
    for name, value in document.get("counters", {}).items():
        plain = name.removesuffix("_total")
        yield CounterMetricFamily(f"bramble_{plain}", plain.replace("_", " "), value=value)


def _rings(rings: list[dict[str, Any]]) -> Iterator[Metric]:
    for name, help_text, values in (
        ("serving", "1 if the ring serves", [ring["state"] == "serving" for ring in rings]),
        ("requests_running", "Requests in it", [r["requests"]["running"] for r in rings]),
        ("requests_queued", "Requests that wait for it", [r["requests"]["queued"] for r in rings]),
        ("decode_tokens_per_second", "Over 10 s", [r["speed"]["decode_tokens_s"] for r in rings]),
    ):
        family = GaugeMetricFamily(f"bramble_ring_{name}", help_text, labels=("ring",))
        for index, value in enumerate(values):
            family.add_metric((str(index),), float(value))
        yield family


def _stages(document: dict[str, Any]) -> Iterator[Metric]:
    stages = [
        member
        for ring in document["plan"]["rings"]
        for stage in ring["stages"]
        for member in stage.get("members", [stage])  # a head of the former release has none
    ]
    for name, key, help_text in (
        ("busy_ratio", "busy", "Share of time spent computing"),
        ("resident_bytes", "resident_bytes", "Resident memory"),
        ("kv_used_bytes", "kv_used_bytes", "KV cache in use"),
        ("temperature_celsius", "temperature_c", "Temperature of the board"),
        ("exchange_microseconds", "exchange_own_us", "What an exchange takes by itself"),
        ("exchange_waiting_microseconds", "exchange_waiting_us", "Until the others have sent"),
    ):
        family = GaugeMetricFamily(f"bramble_stage_{name}", help_text, labels=("node",))
        for stage in stages:
            if stage.get(key) is not None:
                family.add_metric((stage["node"],), stage[key])
        yield family
    ready = GaugeMetricFamily("bramble_stage_ready", "1 if the stage is ready", labels=("node",))
    for stage in stages:
        ready.add_metric((stage["node"],), stage["state"] == "ready")
    yield ready


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=float(value or 0))
