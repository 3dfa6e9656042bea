"""A Bramble ring as on nodes: stages, a head, TCP and CURVE; each stage where the site puts it."""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bramble.commands.supervisor import python_command
from bramble.errors import Broken, Unavailable
from bramble.head.zmq_client import ZmqClient
from bramble.model import manifest as manifests
from bramble.wire.messages import Delta, Generate, Sampling
from bramble.wire.transport import Transport, new_secret, public_of

from tests.bench import streams
from tests.bench.processes import Process, Site, free_ports
from tests.bench.streams import Measured, Reply

READY_S = 300.0  # the first start packs the weights and writes them
BEAT_S = 1.5  # until every stage has told its memory
MIB = 1 << 20
CONTEXT, ROWS = 2048, 16
STAGE_MEMORY = 16 << 30  # a ceiling that no shape here meets
OVERFULL = "streams 16"  # eight for each of two replicas


class Ring:
    def __init__(self, model: Path, packed: Path, site: Site) -> None:
        self.name = f"ring {len(site.stages)}"
        self._model, self._packed, self._site = model, packed, site
        self._rings = [[f"stage-{i}" for i in range(len(site.stages))]]
        self._exchange = ""  # what the members of a group send each other; "" = there is no group
        self._vocab = manifests.read(model).shape.vocab_size
        self._texts = streams.told()
        self._stack = ExitStack()
        self._commands: list[tuple[str, list[str]]] = []
        self._processes: dict[str, Process] = {}

    def start(self) -> None:
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        replies = {text.num_prompt: text.token_ids for text in self._texts.values()}
        (self._folder / "replies.json").write_text(json.dumps(replies))
        self._transport = self._stack.enter_context(Transport())
        door = f"ipc://{self._folder}/head.sock"
        self._client = ZmqClient(self._transport, door)
        for name, command in self._command_lines(door):
            self._spawn(name, command)
        self._wait_serving(-1)
        self._ask(streams.random_ids(streams.SMALL_PROMPT, self._vocab), 4)

    def stop(self) -> None:
        while self._processes:
            self._processes.popitem()[1].stop()
        self._stack.close()

    def can(self, task: str) -> bool:
        if task == "restart":  # of the whole model: what a node that lost its power waits for
            return len(self._site.stages) == 1
        return task not in ("prefill whole", "bandwidth", OVERFULL)

    def measure(self, task: str) -> Measured:
        match task.split():
            case ["decode"]:
                return self._decode()
            case ["prefill"]:
                return streams.prefill(self._ask, self._vocab)
            case ["streams", count]:
                return streams.together(self._ask, self._vocab, int(count))
            case ["turn"]:
                return streams.turns(self._ask, self._vocab)
            case ["guesses"]:
                return self._guesses()
            case ["memory"]:
                return self._memory()
            case ["restart"]:
                return self._restart()
        raise AssertionError(task)

    # ------------------------------------------------------------------------------ measurements

    def _decode(self) -> Measured:
        """Speed, and where the time of the same tokens went."""
        before = self._client.status()
        found = streams.decode(self._ask, self._vocab)
        after = self._client.status()
        steps = after["counters"]["decode_steps_total"] - before["counters"]["decode_steps_total"]
        tokens = streams.DECODE_TOKENS - 1  # the first one is prefill's
        stages = len(self._site.stages)
        token_ms = 1000 / found["decode"][0]
        compute_ms, python_ms = (
            (_total(after, key) - _total(before, key)) / tokens
            for key in ("compute_total_ms", "python_total_ms")
        )
        return found | {
            "token": [token_ms],
            "token compute": [compute_ms],
            "token python": [python_ms],
            "token travel": [token_ms - compute_ms - python_ms],
            "token own per stage": [(token_ms - compute_ms) / stages],
            "token waiting": [self._waiting_ms(after)],
            "steps": [steps / tokens],
        }

    def _guesses(self) -> Measured:
        """Each reply without and with guesses. A draw by a seed that the client chose carries none
        in a quantised model.
        """
        found = {}
        asked = {name: (text.prompt, text.reply) for name, text in self._texts.items()}
        for prompt, _ in asked.values():  # what each width costs is known after some replies
            self._ask(prompt, streams.GUESSED_TOKENS, is_seeded=False)
        drawn = streams.random_ids(streams.SMALL_PROMPT, self._vocab)
        for name, (prompt, reply) in (asked | {streams.RANDOM: (drawn, [])}).items():
            for kind, is_seeded in (("plain", True), ("guessed", False)):
                got = self._ask(prompt, streams.GUESSED_TOKENS, is_seeded=is_seeded)
                if reply and got.token_ids != reply:
                    raise Broken(f"{self.name} did not say {name} as told")
                found[f"{kind} {name}"] = [got.decode_tokens_s]
        return found

    def _waiting_ms(self, status: dict[str, Any]) -> float:
        """How long a stage waits for its next step, in the mean over the stages."""
        return _total(status, "waiting_ms") / len(self._site.stages)

    def _memory(self) -> Measured:
        time.sleep(BEAT_S)
        status = self._client.status()
        payload = _total(status, "weight_bytes") + _total(status, "kv_used_bytes")
        return {
            "resident": [_total(status, "resident_bytes") / MIB],
            "shards+kv": [payload / MIB],
        }

    def _restart(self) -> Measured:
        """End the stage and start it again: until the ring serves, golden check included."""
        epoch = self._client.status()["plan"]["epoch"]
        name, command = self._commands[0]
        self._processes.pop(name).stop()
        started = time.monotonic()
        self._spawn(name, command)
        status = self._wait_serving(epoch)
        seconds = time.monotonic() - started
        return {"restart": [seconds], "load": [_stages(status)[0]["load_s"]]}

    def _ask(
        self,
        prompt: list[int],
        tokens: int,
        *,
        is_seeded: bool = True,
    ) -> Reply:
        request = Generate(
            os.urandom(8).hex(),
            # Greedy text of random weights soon goes in circles, which drafts would guess for free
            Sampling(temperature=1.0, seed=random.getrandbits(63)),
            prompt=prompt,
            max_tokens=tokens,
            ignore_eos=True,
            is_seeded=is_seeded,
        )
        return streams.reply(self._tokens(request), time.monotonic(), tokens)

    def _tokens(self, request: Generate) -> Iterator[int]:
        for event in self._client.generate(request):
            if isinstance(event, Delta):
                yield from event.token_ids

    # --------------------------------------------------------------------------------- processes

    def _spawn(self, name: str, command: list[str]) -> None:
        self._processes[name] = Process(command, self._folder / f"{name}.log")

    def _wait_serving(self, epoch: int) -> dict[str, Any]:
        """Wait for a ring that was activated behind `epoch`."""
        status: dict[str, Any] = {}

        def is_serving() -> bool:
            try:
                status.update(self._client.status())
            except Unavailable:
                return False
            if status["state"] == "failed":
                raise Broken(f"{self.name}: {status['reason']}")
            rings = (status["plan"] or {}).get("rings", [])
            return bool(rings) and all(
                ring["state"] == "serving" and ring["epoch"] > epoch for ring in rings
            )

        self._processes["head"].wait_until(is_serving, READY_S)
        return status

    def _command_lines(self, door: str) -> Iterator[tuple[str, list[str]]]:
        head, stages = self._site.head, self._site.stages
        control, sampled, *ports = free_ports(len(stages) + 2)
        names = [name for ring in self._rings for stage in ring for name in stage.split("+")]
        keys = _make_keys(self._folder, ["head", *names])
        shared = ["--head-node=head", f"--keys={keys}"]
        self._commands = [
            (
                name,
                place.command(
                    *python_command("tests.bench.told_stage", f"{self._folder}/replies.json"),
                    "stage",
                    f"--node={name}",
                    f"--head=tcp://{head.address}:{control}",
                    f"--listen=tcp://{place.address}:{port}",
                    f"--models={self._model.parent}",
                    f"--packed={self._packed}",
                    f"--threads={len(place.cores)}",
                    f"--memory-bytes={STAGE_MEMORY}",
                    f"--secret={self._folder}/{name}.key",
                    *([f"--exchange=tcp://{place.address}:0"] if self._exchange else []),
                    *shared,
                ),
            )
            for name, place, port in zip(names, stages, ports, strict=True)
        ]
        yield from self._commands
        yield (
            "head",
            head.command(
                *python_command("bramble", "head"),
                "--node=head",
                f"--model={self._model}",
                _of_rings(self._rings),
                f"--control=tcp://{head.address}:{control}",
                f"--sampled=tcp://{head.address}:{sampled}",
                f"--client={door}",
                f"--max-length={CONTEXT}",
                f"--max-rows={ROWS}",
                *([f"--exchange={self._exchange}"] if self._exchange else []),
                f"--keys={keys}",
                f"--secret={self._folder}/head.key",
            ),
        )


class Replicas(Ring):
    """As many rings of one stage as the site has places, under one head."""

    def __init__(self, model: Path, packed: Path, site: Site) -> None:
        super().__init__(model, packed, site)
        self.name = f"{len(site.stages)} replicas"
        self._rings = [[name] for ring in self._rings for name in ring]

    def can(self, task: str) -> bool:
        return task in ("streams 8", OVERFULL)


class Group(Ring):
    """One stage whose members share each layer, with a core each."""

    def __init__(self, model: Path, packed: Path, site: Site, exchange: str) -> None:
        super().__init__(model, packed, site)
        self.name = f"group {len(site.stages)}"
        self._rings = [["+".join(self._rings[0])]]
        self._exchange = exchange

    def can(self, task: str) -> bool:
        return task != "restart" and super().can(task)


def _of_rings(rings: list[list[str]]) -> str:
    """The head's flag for these; one ring is named by its stages."""
    joined = "/".join(",".join(ring) for ring in rings)
    return f"--rings={joined}" if len(rings) > 1 else f"--stages={joined}"


def _make_keys(folder: Path, names: list[str]) -> Path:
    """Write NAME.key for every name, and return the list of their public keys."""
    secrets = {name: new_secret() for name in names}
    for name, secret in secrets.items():
        (folder / f"{name}.key").write_text(secret)
    lines = [f'{name}: "{public_of(secret)}"\n' for name, secret in secrets.items()]
    (folder / "keys.yml").write_text("".join(lines))
    return folder / "keys.yml"


def _stages(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [stage for ring in status["plan"]["rings"] for stage in ring["stages"]]


def _total(status: dict[str, Any], key: str) -> float:
    return sum(stage[key] or 0.0 for stage in _stages(status))
