"""`bramble plan`: which node would run which layers, before anything is started."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bramble.errors import BadInput
from bramble.model import manifest as manifests
from bramble.model.disk import size
from bramble.model.manifest import Manifest, shard_parts
from bramble.plan.choice import Choice, choose
from bramble.plan.explain import explain
from bramble.plan.planner import Node, Plan, StagePlan, plan_ring
from bramble.plan.rings import OBJECTIVES, Work

DEFAULT_LENGTH = 8192  # tokens; as the head has it
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "MB": 10**6, "GB": 10**9}
BASIS = "Figures are predicted for Raspberry Pi 5s; see bramble predict."
EXAMPLES = """examples:
  bramble plan --model models/llama --nodes pi1=6.4GiB,pi2=6.4GiB,pi3=3.2GiB
  bramble plan --model models/llama --nodes pi1=6.4GiB --rows 4 --context 4096 --json
  bramble plan --model models/llama --nodes pi1=6.4GiB,pi2=3.2GiB --explain
  bramble plan --model models/llama --nodes pi1=6.4GiB,pi2=6.4GiB --objective throughput --explain
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
    add("--rows", type=int, default=16, help="sequences in the KV cache at once (default: 16)")
    add("--context", type=int, default=0, help="tokens of context (default: the model's, ≤ 8192)")
    add("--json", action="store_true", help="as JSON, for programs")
    add("--objective", choices=OBJECTIVES, help="choose one ring or several (default: one of all)")
    add("--explain", action="store_true", help="say why: a sentence per stage and per objective")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.rows < 1 or args.context < 0:
        raise BadInput("--rows has to be 1 or more, --context 0 or more")
    manifest = manifests.read(args.model)
    nodes = _nodes(args.nodes)
    length = args.context or min(manifest.shape.max_length, DEFAULT_LENGTH)
    sha256 = manifests.sha256(args.model)
    work = Work(args.rows, length, prompt=min(Work().prompt, length))
    if args.objective is not None:
        _run_choice(choose(manifest, sha256, nodes, args.objective, work), manifest, nodes, args)
        return 0
    plan = plan_ring(manifest, sha256, nodes, args.rows, length)
    if args.json:
        print(_json(_document(manifest, plan, explain(manifest, nodes, plan))))
        return 0
    _show_plan(manifest, plan, nodes, args.explain)
    if args.explain:
        for objective in OBJECTIVES:
            print(choose(manifest, sha256, nodes, objective, work).reason)
        print(BASIS)
    return 0


def _run_choice(
    choice: Choice, manifest: Manifest, nodes: list[Node], args: argparse.Namespace
) -> None:
    if args.json:
        rings = [
            _document(manifest, plan, explain(manifest, _members(plan, nodes), plan))
            for plan in choice.rings
        ]
        document = {"objective": choice.objective, "reason": choice.reason, "spare": choice.spare}
        print(_json(document | {"rings": rings}))
        return
    for plan in choice.rings:
        _show_plan(manifest, plan, nodes, args.explain)
    if args.explain:
        print(f"{choice.reason} {BASIS}")


def _show_plan(manifest: Manifest, plan: Plan, nodes: list[Node], is_explained: bool) -> None:
    _show(manifest, plan)
    if is_explained:
        for reason in explain(manifest, _members(plan, nodes), plan):
            print(reason)


def _members(plan: Plan, nodes: list[Node]) -> list[Node]:
    """The nodes of one ring, in its order."""
    known = {node.name: node for node in nodes}
    return [known[stage.node] for stage in plan.stages]


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False)


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


def _document(manifest: Manifest, plan: Plan, reasons: list[str]) -> dict[str, Any]:
    return {
        "name": plan.model,
        "manifest_sha256": plan.manifest_sha256,
        "plan_id": plan.plan_id.hex(),
        "num_layers": manifest.shape.num_layers,
        "rows": plan.rows,
        "max_length": plan.max_length,
        "budget_tokens": plan.budget_tokens,
        "stages": [
            {
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
            for index, (stage, reason) in enumerate(zip(plan.stages, reasons, strict=True))
        ],
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
