"""`bramble plan`: which node would run which layers, before anything is started."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bramble.errors import BadInput
from bramble.model import manifest as manifests
from bramble.model.disk import size
from bramble.model.manifest import Manifest, shard_parts
from bramble.plan.choice import choose
from bramble.plan.explain import explain
from bramble.plan.planner import Node, Plan, StagePlan, plan_ring
from bramble.plan.rings import OBJECTIVES, Work

DEFAULT_LENGTH = 8192  # tokens; as the head has it
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "MB": 10**6, "GB": 10**9}
EXAMPLES = """examples:
  bramble plan --model models/llama --nodes pi1=6.4GiB,pi2=6.4GiB,pi3=3.2GiB
  bramble plan --model models/llama --nodes pi1=6.4GiB --rows 4 --context 4096 --json
  bramble plan --model models/llama --nodes pi1=6.4GiB,pi2=3.2GiB --explain
  bramble plan --model models/llama --nodes pi1=6.4GiB,pi2=6.4GiB --rings pi1/pi2
  bramble plan --model models/llama --nodes pi1=6GiB,pi2=6GiB --objective throughput --explain
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "plan",
        help="show which node would run which layers",
        description="Spread a model over nodes as the head does, and show it. A node's memory is "
        "what its weights and KV cache may take; a stage takes 80 % of its machine's. Ends with 2 "
        "where the model does not fit.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="the model folder, or one with its manifest")
    add("--nodes", required=True, help="NAME=MEMORY,… in the ring's order, e.g. pi1=6.4GiB")
    add("--rings", help="NAME,…/NAME,…: several rings with the whole model each (default: one)")
    add("--objective", choices=OBJECTIVES, help="choose the rings by what they are for")
    add("--rows", type=int, default=16, help="sequences in each ring's KV cache (default: 16)")
    add("--context", type=int, default=0, help="tokens of context (default: the model's, ≤ 8192)")
    add("--json", action="store_true", help="as JSON, for programs")
    add("--explain", action="store_true", help="say why, in a sentence per stage")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.rows < 1 or args.context < 0:
        raise BadInput("--rows has to be 1 or more, --context 0 or more")
    if args.rings and args.objective:
        raise BadInput(
            "--rings and --objective exclude each other: name the rings, or have them chosen"
        )
    manifest, sha256 = manifests.read(args.model), manifests.sha256(args.model)
    length = args.context or min(manifest.shape.max_length, DEFAULT_LENGTH)
    rings, reason = _rings(args, manifest, sha256, length)
    plans = [plan_ring(manifest, sha256, nodes, args.rows, length) for nodes in rings]
    reasons = [explain(manifest, *pair) for pair in zip(rings, plans, strict=True)]
    if args.json:
        document = _document(manifest, plans, reasons) | {"reason": reason}
        print(json.dumps(document, indent=1, ensure_ascii=False))
        return 0
    for index, plan in enumerate(plans):
        if len(plans) > 1:
            print(f"ring {index}")
        _show(manifest, plan)
    if args.explain:
        for sentence in [*filter(None, [reason]), *chain(*reasons)]:
            print(sentence)
    return 0


def _rings(
    args: argparse.Namespace, manifest: Manifest, sha256: str, length: int
) -> tuple[list[list[Node]], str | None]:
    """Return the nodes of each ring: as named, as chosen with the reason, or one ring of all."""
    nodes = _nodes(args.nodes)
    if args.rings:
        return _named(args.rings, nodes), None
    if not args.objective:
        return [nodes], None
    work = Work(rows=args.rows, max_length=length)
    choice = choose(manifest, sha256, nodes, args.objective, work)
    # Only who is together is taken from it: where the layers' borders are, the head decides anew.
    names = [",".join(stage.node for stage in plan.stages) for plan in choice.rings]
    return _named("/".join(names), nodes), choice.reason


def _named(text: str, nodes: list[Node]) -> list[list[Node]]:
    of_name = {node.name: node for node in nodes}
    rings = [[word.strip() for word in ring.split(",")] for ring in text.split("/")]
    times = Counter(chain(*rings))
    for name in times:
        if name not in of_name:
            raise BadInput(f"--rings {text}: {name!r} is not among --nodes {', '.join(of_name)}")
        if times[name] > 1:
            raise BadInput(f"--rings {text}: {name} is named {times[name]} times, once is allowed")
    return [[of_name[name] for name in ring] for ring in rings]


def _nodes(text: str) -> list[Node]:
    nodes = []
    for word in text.split(","):
        found = re.fullmatch(r"([\w.-]+)=(\d+(?:\.\d+)?)([A-Za-z]*)", word.strip())
        if found is None or found[3] not in UNITS:
            units = ", ".join(filter(None, UNITS))
            raise BadInput(f"--nodes: got {word!r}, need NAME=MEMORY in {units} or bytes: pi1=6GiB")
        nodes.append(Node(found[1], int(float(found[2]) * UNITS[found[3]])))
    if len({node.name for node in nodes}) < len(nodes):
        raise BadInput(f"--nodes {text}: name each node once")
    return nodes


def _document(manifest: Manifest, plans: list[Plan], reasons: list[list[str]]) -> dict[str, Any]:
    """Describe one ring's plan, or several: then with sums, and in `rings` each one's own."""
    stages = [
        {"ring": ring} | _stage(manifest, index, stage, reason)
        for ring, (plan, sentences) in enumerate(zip(plans, reasons, strict=True))
        for index, (stage, reason) in enumerate(zip(plan.stages, sentences, strict=True))
    ]
    return {
        "name": manifest.name,
        "manifest_sha256": plans[0].manifest_sha256,
        "plan_id": plans[0].plan_id.hex() if len(plans) == 1 else None,
        "num_layers": manifest.shape.num_layers,
        "rows": sum(plan.rows for plan in plans),
        "max_length": min(plan.max_length for plan in plans),
        "budget_tokens": sum(plan.budget_tokens for plan in plans),
        "rings": [
            {
                "plan_id": plan.plan_id.hex(),
                "nodes": [stage.node for stage in plan.stages],
                "rows": plan.rows,
                "max_length": plan.max_length,
                "budget_tokens": plan.budget_tokens,
            }
            for plan in plans
        ],
        "stages": stages,
    }


def _stage(manifest: Manifest, index: int, stage: StagePlan, reason: str) -> dict[str, Any]:
    return {
        "stage": index,
        "node": stage.node,
        "layers": f"{stage.start}:{stage.stop}",
        "start": stage.start,
        "stop": stage.stop,
        "has_embed": stage.has_embed,
        "has_lm_head": stage.has_lm_head,
        "weight_bytes": stage.weight_bytes,
        "kv_bytes": stage.kv_bytes,
        "files": {name: manifest.files[name].sha256 for name in _files(manifest, stage)},
        "reason": reason,
    }


def _files(manifest: Manifest, stage: StagePlan) -> tuple[str, ...]:
    parts = shard_parts(stage.start, stage.stop, stage.has_embed, stage.has_lm_head)
    return manifest.part_files(parts)


def _show(manifest: Manifest, plan: Plan) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "node", "layers", "with", "weights", "KV cache"):
        table.add_column(column, justify="right" if column in ("weights", "KV cache") else "left")
    for index, stage in enumerate(plan.stages):
        ends = ["embedding"] * stage.has_embed + ["lm_head"] * stage.has_lm_head
        layers = f"{stage.start} to {stage.stop - 1}"
        sizes = size(stage.weight_bytes), f"≤ {size(stage.kv_bytes)}"
        table.add_row(str(index), stage.node, layers, ", ".join(ends), *sizes)
    Console(highlight=False).print(table)
    print(
        f"{plan.model} ({manifest.shape.num_layers} layers, manifest "
        f"{plan.manifest_sha256[:12]}…): {plan.rows} sequences of up to {plan.max_length} tokens, "
        f"{plan.budget_tokens} tokens in the cache together"
    )
