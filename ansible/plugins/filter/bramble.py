"""What is wrong with an inventory, one sentence each; the preflight role prints them and stops."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter

HOSTNAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")  # RFC 1123, in lower case
ROLES = ("head", "stage")
OBJECTIVES = ("latency", "throughput", "capacity")
JOIN = "+"  # of a group's nodes, in their stage's name
# What weights take in a Pi's memory, packed for its kernels (service/bramble/plan/cost.py has the same)
BYTES_PER_WEIGHT = {
    "int4": 0.57,
    "int4-64": 0.54,
    "int4-128-symmetric": 0.52,
    "int4-128": 0.57,
    "int8": 1.39,
    "float32": 4.0,
}
# Of a node's memory a stage may take a share, and leaves so much at least; the head's node gives
# more to head and web (service/bramble/plan/devices.py has the same rule)
MEMORY_SHARE, RESERVED_MIB = 0.8, 768
HEAD_MIB, HEAD_RESERVED_MIB = 700, 1168
LEAST_MIB = 256
GIB = 1 << 30


def inventory_problems(nodes, network, gateway="", admin_networks=(), virtual_address=""):
    """Return sentences; `nodes` is a list of dicts with name, address and, if given, role."""
    if not nodes:
        return ["the group `bramble` has no hosts: add a line per Pi to hosts.yml"]
    problems = []
    lan = _network(network, problems)
    if not isinstance(admin_networks, (list, tuple)):
        problems.append(f"bramble_admin_networks is {admin_networks!r}: write it as [10.8.0.0/24]")
        admin_networks = ()
    for admin in admin_networks:
        _network(admin, problems)
    for node in nodes:
        problems += _node_problems(node, lan)
    for address, count in Counter(str(n.get("address")) for n in nodes if n.get("address")).items():
        if count > 1:
            names = ", ".join(n["name"] for n in nodes if str(n.get("address")) == address)
            problems.append(f"{names} have the same address {address}: each node needs its own")
    problems += _virtual_address_problems(nodes, lan, gateway, virtual_address)
    if gateway and _address(gateway) is None:
        problems.append(f"bramble_gateway {gateway!r} is no IPv4 address: your router's, or \"\"")
    elif gateway and lan is not None and _address(gateway) not in lan:
        problems.append(f"bramble_gateway {gateway} is not in bramble_network {network}")
    elif gateway and lan is not None and _address(gateway) in (lan.network_address, lan.broadcast_address):
        problems.append(f"bramble_gateway {gateway} stands for all of {lan}: your router's address, or \"\"")
    taken = [n["name"] for n in nodes if gateway and str(n.get("address")) == str(gateway)]
    if taken:
        problems.append(f"{taken[0]} has the gateway's address {gateway}: give it another")
    return problems


def standby_remarks(nodes, rings=()):
    """Return sentences on what the standby heads of an inventory do not help against.

    rings  the stages of each ring; () for one ring of all
    """
    names, heads = [n["name"] for n in nodes], heads_of(nodes)
    if len(heads) < 2:
        return []
    first, others = heads[0], " or ".join(heads[1:])
    if len(names) < 3:
        return [
            f"{others} takes over if the head's process on {first} ends, but not if {first} loses power: two nodes cannot "
            "tell that from a broken cable; it takes a third one"
        ]
    if all(first in _nodes_of(ring) for ring in list(rings) or [names]):
        return [
            f"if {first} loses power, {others} takes over but has no ring to serve with, as every ring has a stage on "
            f"{first}: bramble_rings can name one without it"
        ]
    return []


def heads_of(nodes):
    """Return the nodes that may lead, first choice first: those with `role: head`, else the first node."""
    return [n["name"] for n in nodes if n.get("role") == "head"] or [n["name"] for n in nodes[:1]]


def ring_problems(nodes, rings, objective=""):
    """Return sentences on the rings that the inventory names, or what they are chosen for."""
    if objective and objective not in OBJECTIVES:
        allowed = ", ".join(OBJECTIVES)
        return [f"bramble_objective is {objective!r}: need one of {allowed}, or \"\" for one ring of all"]
    if not rings:
        return []
    if objective:
        return ["bramble_rings and bramble_objective are both given: name the rings, or have them chosen"]
    if not _is_rings(rings):
        example = "[[pi1, pi2], [pi3, pi4]], a list per ring, or [[pi1+pi2], [pi3, pi4]] where pi1 and pi2 are a group"
        return [f"bramble_rings is {rings!r}: write it as {example}"]
    misspelt = [p for ring in rings for stage in ring for p in _stage_problems(stage)]
    if misspelt:
        return misspelt
    names = [node["name"] for node in nodes]
    times = Counter(name for ring in rings for name in _nodes_of(ring))
    problems = []
    for name in times:
        if name not in names:
            known = ", ".join(names)
            problems.append(f"bramble_rings names {name}, which the inventory has not: it has {known}")
        elif times[name] > 1:
            problems.append(f"bramble_rings names {name} {times[name]} times: a node is in one ring, and in one group of it")
    problems += [
        f"{name} is in no ring of bramble_rings: add it to one" for name in names if name not in times
    ]
    return problems


def rings_of(rings, nodes):
    """Return the rings without nodes that are not among `nodes`, and without rings and groups that are empty."""
    kept = ([JOIN.join(name for name in stage.split(JOIN) if name in nodes) for stage in ring] for ring in rings)
    return [ring for ring in ([stage for stage in ring if stage] for ring in kept) if ring]


def rings_without(rings, node):
    """Return the rings without one node; what is no list of lists stays as it is."""
    if not node or not _is_rings(rings):
        return rings
    return rings_of(rings, {name for ring in rings for name in _nodes_of(ring)} - {node})


def partners_of(rings, node, nodes, objective=""):
    """Return the nodes with which `node` may serve a stage: those of its group, or all others where groups are chosen."""
    if not _is_rings(rings):
        return []
    if not rings:
        return [name for name in nodes if name != node] if objective else []
    groups = [stage.split(JOIN) for ring in rings for stage in ring]
    return [name for group in groups if node in group for name in group if name != node and name in nodes]


def usable_mib(memory_mib, is_head=False):
    """Return the MiB that weights and KV cache may take of a node's memory."""
    share = memory_mib * MEMORY_SHARE - (HEAD_MIB if is_head else 0)
    left = memory_mib - (HEAD_RESERVED_MIB if is_head else RESERVED_MIB)
    return max(int(min(share, left)), LEAST_MIB)


def model_problems(model, quantization, memory_mib, weight_bytes=0):
    """Return a sentence if the model cannot fit the nodes' memory together.

    model         as in the inventory; its size is read from its name ("…-8B-…") unless
    weight_bytes  says it
    memory_mib    node → MiB of memory
    """
    if quantization not in BYTES_PER_WEIGHT:
        allowed = ", ".join(BYTES_PER_WEIGHT)
        return [f"bramble_quantization is {quantization!r}: need one of {allowed}"]
    name = str(model).rstrip("/").split("/")[-1].lower()
    size = re.search(r"(?:^|[-_])(\d+(?:\.\d+)?)\s*b(?:$|[-_.])", name)
    need = weight_bytes or (float(size[1]) * 1e9 * BYTES_PER_WEIGHT[quantization] if size else 0)
    have = sum(map(usable_mib, memory_mib.values())) * (1 << 20)
    if need <= have:
        return []
    nodes = "node has" if len(memory_mib) == 1 else f"{len(memory_mib)} nodes have"
    return [
        f"{model} needs about {need / GIB:.1f} GiB as {quantization}, and the {nodes} "
        f"{have / GIB:.1f} GiB for it: add nodes, or choose a smaller model"
    ]


def node(variables):
    """Return what the inventory says of one host: name, address, role (stage unless said)."""
    return {
        "name": variables["inventory_hostname"],
        "address": variables.get("address"),
        "role": variables.get("role") or "stage",
    }


def as_list(value):
    """Return a list: of one, where one value was written without brackets; of none for "" and nothing."""
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else list(value)


def in_networks(address, networks):
    """True if the address lies in one of the networks."""
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(each) for each in networks)


def _node_problems(node, lan):
    name, address, role = node["name"], node.get("address"), node.get("role")
    problems = []
    if not HOSTNAME.fullmatch(name):
        problems.append(
            f"{name!r} is no hostname: lower-case letters, digits and hyphens, 63 at most"
        )
    if not address:
        problems.append(f"{name} has no address: add `address: 192.168.…` to its line")
    elif _address(address) is None:
        problems.append(f"{name} has the address {address!r}, which is no IPv4 address")
    elif lan is not None and _address(address) not in lan:
        problems.append(f"{name} has the address {address}, which is not in bramble_network {lan}")
    elif lan is not None and _address(address) in (lan.network_address, lan.broadcast_address):
        problems.append(f"{name} has the address {address}, which stands for all of {lan}")
    if role is not None and role not in ROLES:
        problems.append(f"{name} has `role: {role}`: need head or stage")
    return problems


def _virtual_address_problems(nodes, lan, gateway, address):
    heads = [n["name"] for n in nodes if n.get("role") == "head"]
    if not address:
        need = "set bramble_virtual_address to a free address of your LAN, at which the one that leads answers"
        return [f"{', '.join(heads)} are all `role: head`: {need}"] if len(heads) > 1 else []
    said = f"bramble_virtual_address {address}"
    if _address(address) is None:
        return [f"{said} is no IPv4 address: a free one of your LAN, or leave it out"]
    if lan is not None and _address(address) not in lan:
        return [f"{said} is not in bramble_network {lan}"]
    if lan is not None and _address(address) in (lan.network_address, lan.broadcast_address):
        return [f"{said} stands for all of {lan}: choose a free one"]
    if str(address) == str(gateway):
        return [f"{said} is your router's: choose a free one"]
    owners = [n["name"] for n in nodes if str(n.get("address")) == str(address)]
    return [f"{said} is the address of {owners[0]}: choose a free one"] if owners else []


def _is_rings(rings):
    return isinstance(rings, (list, tuple)) and all(
        isinstance(ring, (list, tuple)) and ring and all(isinstance(name, str) for name in ring)
        for ring in rings
    )


def _nodes_of(ring):
    """Return the nodes of a ring's stages; a stage's name joins those of its group."""
    return [name for stage in ring for name in stage.split(JOIN)]


def _stage_problems(stage):
    if re.search(r"\s", stage):
        return [f"bramble_rings has {stage!r}: write a group without blanks, as pi1+pi2"]
    if not all(stage.split(JOIN)):
        return [f"bramble_rings has {stage!r}: a + stands between two nodes of a group, as pi1+pi2"]
    return []


def _network(text, problems):
    try:
        return ipaddress.IPv4Network(str(text))
    except ValueError:
        problems.append(f"{text!r} is no network: write it as 192.168.1.0/24")
        return None


def _address(text):
    try:
        return ipaddress.IPv4Address(str(text))
    except ValueError:
        return None


class FilterModule:
    def filters(self):
        return {
            "bramble_heads_of": heads_of,
            "bramble_inventory_problems": inventory_problems,
            "bramble_ring_problems": ring_problems,
            "bramble_standby_remarks": standby_remarks,
            "bramble_rings_of": rings_of,
            "bramble_rings_without": rings_without,
            "bramble_partners_of": partners_of,
            "bramble_model_problems": model_problems,
            "bramble_usable_mib": usable_mib,
            "bramble_node": node,
            "bramble_list": as_list,
            "bramble_in_networks": in_networks,
        }
