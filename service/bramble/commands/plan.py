"""`bramble plan`: which node would run which layers, before anything is started."""

from __future__ import annotations

import argparse
import functools
import json
import platform
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bramble.config import MEMBER_SIGN
from bramble.errors import BadInput
from bramble.model import manifest as manifests
from bramble.model.disk import size
from bramble.model.manifest import Manifest
from bramble.model.share import Share
from bramble.model.store import Wanted
from bramble.plan import cache_kind
from bramble.plan.choice import Choice, choose, pace_of
from bramble.plan.devices import GIGABIT
from bramble.plan.explain import explain
from bramble.plan.planner import Group, MemberPlan, Node, Plan, check_context, plan_ring
from bramble.plan.reasons import token
from bramble.plan.ring_speed import ring_of
from bramble.plan.rings import CAPACITY, OBJECTIVES, Work

DEFAULT_LENGTH = 8192  # tokens; as the head has it
RINGS_HELP = (
    "NAME,…/NAME,…: several rings with the whole model each (default: one); NAME+NAME: a group, "
    "whose members serve a stage together"
)
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "MB": 10**6, "GB": 10**9}
BASIS = "Figures are predicted for Raspberry Pi 5s; see bramble predict."
EXAMPLES = """examples:
  bramble plan --model models/llama --nodes pi1=6.4GiB,pi2=6.4GiB,pi3=3.2GiB
  bramble plan --model models/llama --nodes pi1=6.4GiB --rows 4 --context 4096 --json
  bramble plan --model models/llama --nodes pi1=6.4GiB,pi2=3.2GiB --explain
  bramble plan --model models/llama --nodes pi1=6.4GiB --kv int8
  bramble plan --model models/llama --nodes pi1=6.4GiB,pi2=6.4GiB --rings pi1/pi2
  bramble plan --model models/llama --nodes pi1=6GiB,pi2=6GiB,pi3=6GiB --rings pi1+pi2,pi3
  bramble plan --model models/llama --nodes pi1=6GiB,pi2=6GiB --objective latency --explain
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "plan",
        help="show which node would run which layers",
        description="Spread a model over nodes as the head does, and show it. A node's memory is "
        "what its weights and KV cache may take; a stage takes 80 % of its machine's, and leaves "
        "768 MiB at least. Ends with 2 where the model does not fit.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="the model folder, or one with its manifest")
    add("--nodes", required=True, help="NAME=MEMORY,… in the ring's order, e.g. pi1=6.4GiB")
    add("--rings", help=RINGS_HELP)
    add("--objective", choices=OBJECTIVES, help="choose one ring or several (default: one of all)")
    add("--rows", type=int, default=16, help="sequences in each ring's KV cache (default: 16)")
    add("--context", type=int, default=0, help="tokens of context (default: the model's, ≤ 8192)")
    add("--kv", choices=cache_kind.KINDS, default=cache_kind.AUTO, help=cache_kind.HELP)
    add("--json", action="store_true", help="as JSON, for programs")
    add("--explain", action="store_true", help="say why: a sentence per stage and per objective")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.rows < 1 or args.context < 0:
        raise BadInput("--rows has to be 1 or more, --context 0 or more")
    if args.rings and args.objective:
        raise BadInput(
            "--rings and --objective exclude each other: name rings, or have them chosen"
        )
    manifest, sha256 = manifests.read(args.model), manifests.sha256(args.model)
    cache_kind.check(manifest, args.kv)
    kind = cache_kind.cache_kind(manifest, args.kv, [cache_kind.ARM])  # what is predicted are Pis
    nodes = _nodes(args.nodes)
    length = args.context or min(manifest.shape.max_length, DEFAULT_LENGTH)
    check_context(manifest, length)
    work = Work(args.rows, length, prompt=min(Work().prompt, length), kv_cache=kind)
    choose_for = functools.partial(choose, manifest, sha256, nodes, work=work)
    choice = choose_for(args.objective) if args.objective else None
    rings = _rings(args.rings, choice, nodes)
    for_cache = args.objective == CAPACITY
    plans = [
        plan_ring(manifest, sha256, ring, args.rows, length, kind, for_cache=for_cache)
        for ring in rings
    ]
    reasons = [explain(manifest, *pair) for pair in zip(rings, plans, strict=True)]
    if args.json:
        said = {"objective": choice.objective, "reason": choice.reason} if choice else {}
        document = _document(manifest, plans, reasons) | said
        print(json.dumps(document, indent=1, ensure_ascii=False))
        return 0
    for plan, sentences in zip(plans, reasons, strict=True):
        _show(manifest, plan)
        if args.explain:
            print("\n".join(sentences))
    if args.explain:
        _explain_groups(manifest, nodes, plans, work)
        _explain_choice([choice] if choice else [] if args.rings else map(choose_for, OBJECTIVES))
    return 0


def _explain_groups(manifest: Manifest, nodes: list[Node], plans: list[Plan], work: Work) -> None:
    """Of what a token's time consists, on each ring with a group."""
    paces = {node.name: pace_of(node) for node in nodes}
    for plan in plans:
        if len(plan.members) > len(plan.stages):
            ring = ring_of(manifest, plan, paces, GIGABIT, work.exchange)
            print(f"{token(ring, work.prompt)} {BASIS}")


def _explain_choice(choices: Iterable[Choice]) -> None:
    for choice in choices:
        print(f"{choice.reason} {BASIS}")


def _rings(text: str | None, choice: Choice | None, nodes: list[Node]) -> list[list[Group]]:
    """Return the groups of each ring: as named, as chosen, or one ring of all, each on its own."""
    if text:
        return _named(text, nodes)
    if choice is None:
        return [[(node,) for node in nodes]]
    # Only who is together is taken from it: where the layers' borders are, the head decides anew.
    known = {node.name: node for node in nodes}
    return [
        [tuple(known[name] for name in stage.nodes) for stage in plan.stages]
        for plan in choice.rings
    ]


def _named(text: str, nodes: list[Node]) -> list[list[Group]]:
    of_name = {node.name: node for node in nodes}
    rings = [
        [[name.strip() for name in stage.split(MEMBER_SIGN)] for stage in ring.split(",")]
        for ring in text.split("/")
    ]
    times = Counter(name for ring in rings for stage in ring for name in stage)
    for name in times:
        if not name:
            raise BadInput(
                f"--rings {text}: a name is missing; need NODE, or NODE{MEMBER_SIGN}NODE where "
                "several serve a stage together"
            )
        if name not in of_name:
            raise BadInput(f"--rings {text}: {name!r} is not among --nodes {', '.join(of_name)}")
        if times[name] > 1:
            raise BadInput(f"--rings {text}: {name} is named {times[name]} times, once is allowed")
    return [[tuple(of_name[name] for name in stage) for stage in ring] for ring in rings]


def _nodes(text: str) -> list[Node]:
    nodes = []
    for word in text.split(","):
        found = re.fullmatch(r"([\w.-]+)=(\d+(?:\.\d+)?)([A-Za-z]*)", word.strip())
        if found is None or found[3] not in UNITS:
            units = ", ".join(filter(None, UNITS))
            raise BadInput(f"--nodes: got {word!r}, need NAME=MEMORY in {units} or bytes: pi1=6GiB")
        memory = int(float(found[2]) * UNITS[found[3]])
        nodes.append(Node(found[1], memory, machine=platform.machine()))
    if len({node.name for node in nodes}) < len(nodes):
        raise BadInput(f"--nodes {text}: name each node once")
    return nodes


def _document(manifest: Manifest, plans: list[Plan], reasons: list[list[str]]) -> dict[str, Any]:
    """Describe one ring's plan, or several: all stages, the sums, and in `rings` each its own."""
    rings: list[dict[str, Any]] = [
        {
            "plan_id": plan.plan_id.hex(),
            "nodes": [stage.name for stage in plan.stages],
            "rows": plan.rows,
            "max_length": plan.max_length,
            "budget_tokens": plan.budget_tokens,
            "stages": [
                _member(manifest, index, rank, member, reason)
                for index, (stage, reason) in enumerate(zip(plan.stages, sentences, strict=True))
                for rank, member in enumerate(stage.members)
            ],
        }
        for plan, sentences in zip(plans, reasons, strict=True)
    ]
    return {
        "name": manifest.name,
        "manifest_sha256": plans[0].manifest_sha256,
        "plan_id": plans[0].plan_id.hex() if len(plans) == 1 else None,
        "num_layers": manifest.shape.num_layers,
        "kv_cache": plans[0].kv_cache,
        "rows": sum(plan.rows for plan in plans),
        "max_length": min(plan.max_length for plan in plans),
        "budget_tokens": sum(plan.budget_tokens for plan in plans),
        "rings": rings,
        "stages": [stage for ring in rings for stage in ring["stages"]],
    }


def _member(
    manifest: Manifest, stage: int, rank: int, member: MemberPlan, reason: str
) -> dict[str, Any]:
    share = member.share
    return {
        "stage": stage,
        "rank": rank,
        "node": member.node,
        "layers": f"{share.start}:{share.stop}",
        "start": share.start,
        "stop": share.stop,
        "has_embed": share.has_embed,
        "has_lm_head": share.has_lm_head,
        "share": asdict(share),
        "weight_bytes": member.weight_bytes,
        "kv_bytes": member.kv_bytes,
        "files": {name: manifest.files[name].sha256 for name in _files(manifest, share)},
        "reason": reason,
    }


def _files(manifest: Manifest, share: Share) -> tuple[str, ...]:
    return Wanted(manifest.name, "", share.part_names).files(manifest)


def _show(manifest: Manifest, plan: Plan) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "node", "layers", "with", "weights", "KV cache"):
        table.add_column(column, justify="right" if column in ("weights", "KV cache") else "left")
    for index, stage in enumerate(plan.stages):
        ends = ["embedding"] * stage.has_embed + ["lm_head"] * stage.has_lm_head
        layers = f"{stage.start} to {stage.stop - 1}"
        for member in stage.members:
            sizes = size(member.weight_bytes), f"≤ {size(member.kv_bytes)}"
            table.add_row(str(index), member.node, layers, ", ".join(ends), *sizes)
    Console(highlight=False).print(table)
    print(
        f"{plan.model} ({manifest.shape.num_layers} layers, manifest "
        f"{plan.manifest_sha256[:12]}…): {plan.rows} sequences of up to {plan.max_length} tokens, "
        f"{plan.budget_tokens} tokens in the {plan.kv_cache} cache together"
    )
