"""What is wrong with the variables that somebody set, one sentence each.

A variable's shape follows from the roles' argument specs (type, elements, choices) and from its
name: what ends in `_address` is an address. So a new variable is checked without a line here, and
tests/test_settings.py says so where neither type nor name tells enough.
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import ipaddress
import re
import zoneinfo
from pathlib import Path

import yaml
from ansible.errors import AnsibleError

ANSIBLE = Path(__file__).resolve().parents[2]
ROLES = ANSIBLE.parent / "roles"
PREFIX = "bramble_"
REQUIRED = (  # each has a line in inventory/example
    *("network", "gateway", "dns", "manage_network", "admin_networks", "timezone"),
    *("model", "quantization", "context", "rows", "port", "wheelhouse"),
)
OPTIONAL = (
    *("user", "ssh_keys", "kv_cache", "speculation", "rings", "objective", "memory_mib", "hub_token"),
    *("names", "virtual_address", "exchange"),
)
SETTINGS = tuple(f"{PREFIX}{name}" for name in REQUIRED + OPTIONAL)
OF_ONE_NODE = ("manage_network", "user", "memory_mib", "gateway", "dns", "timezone", "ssh_keys", "wheelhouse")
OTHERS_PORTS = {22: "ssh's", **dict.fromkeys((7099, 7100, 7101, 7102), "the ring's"), 7103: "doctor's"}
ALIKE = 0.6  # of names, for `did you mean`; difflib's own
SECRET = re.compile(r"token|secret|password|passphrase")
MOST = 1 << 31
MAX_SHOWN = 60  # characters of a value


class OfEntry(str):
    """What is needed instead of one entry of a list or mapping."""

    entry = None


def of_entry(entry, need):
    """Return `need` as one about `entry`, unless it is about an entry of that already."""
    if need and not isinstance(need, OfEntry):
        need = OfEntry(need)
        need.entry = entry
    return need


# Each shape takes a value and returns what is needed instead, or "" for a good one.


def number(least=0, most=MOST):
    def check(value):
        is_number = not isinstance(value, bool) and re.fullmatch(r"-?\d+", str(value), re.ASCII)
        good = is_number and least <= int(value) <= most
        return "" if good else f"need a number from {least} to {most}"

    return check


def choice(*allowed):
    def check(value):
        if value in allowed and not isinstance(value, bool):
            return ""
        quoted = [f'"{each}" (in quotes)' if each in ("off", "on", "") else each for each in allowed]
        return f"need {' or '.join(quoted)}"

    return check


def truth(value):
    words = ("true", "false", "yes", "no", "on", "off")  # as -e passes them
    return "" if isinstance(value, bool) or str(value).lower() in words else "need true or false"


def text(value):
    good = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return "" if good and not re.search(r"[\x00-\x1f\x7f]", str(value)) else "need text of one line"


def matching(pattern, need):
    whole = re.compile(pattern, re.ASCII)
    return lambda value: "" if isinstance(value, str) and whole.fullmatch(value) else f"need {need}"


def or_empty(shape, example):
    def check(value):
        return "" if value in ("", None) or not shape(value) else f'{shape(value)}, or ""{example}'

    return check


def address(value):
    try:
        one = ipaddress.IPv4Address(str(value))
    except ValueError:
        return "need an IPv4 address, as 192.168.1.11"
    bad = one.is_unspecified or one.is_multicast or one == ipaddress.IPv4Address("255.255.255.255")
    return "need the IPv4 address of one machine" if bad else ""


def name_server(value):
    if address(value):
        return "need the IPv4 address of a name server, as 192.168.1.1"
    own = ipaddress.IPv4Address(str(value)).is_loopback
    return "need a name server's address in the network, which a node's own is not" if own else ""


def network(value, least=0, most=32):
    said = str(value)
    try:
        one = ipaddress.IPv4Network(said, strict=False)
    except ValueError:
        return "need a network, as 192.168.1.0/24"
    if "/" not in said:
        return f"need the prefix too, as {said.rsplit('.', 1)[0]}.0/24"
    if said != str(one):
        return f"need a network's first address and its prefix: {one}?"
    return "" if least <= one.prefixlen <= most else f"need a prefix from /{least} to /{most}"


def lan(value):
    return network(value, 8, 30)


def timezone(value):
    need = "need a time zone as `timedatectl list-timezones` writes it, as Europe/Berlin or Etc/UTC"
    if not isinstance(value, str) or not re.fullmatch(r"[A-Z][\w+-]*(/[\w+-]+)*", value, re.ASCII):
        return need
    known = zoneinfo.available_timezones()  # none where this machine has no tzdata: the node says
    return "" if value in known or not known else need


def hostname(value):
    good = isinstance(value, str) and re.fullmatch(r"(?!-)[a-z0-9-]{1,63}(?<!-)", value, re.ASCII)
    return "" if good else "need a hostname: lower-case letters, digits and hyphens, 63 at most"


def stage_name(value):
    """A node's name, or those of a group joined by +."""
    names = value.split("+") if isinstance(value, str) else [value]
    need = next(filter(None, map(hostname, names)), "")
    return f"{need}; or several of a group, as pi1+pi2" if need else ""


def wired(pattern):
    need = "need a wired interface's name, as eth0, or e* for all of them"
    good = isinstance(pattern, str) and re.fullmatch(r"[\w.*?-]{1,15}", pattern, re.ASCII)
    return "" if good and not any(fnmatch.fnmatchcase(each, pattern) for each in ("wlan0", "lo")) else need


def folder_here(value):
    if isinstance(value, str) and text(value) == "" and Path(value).expanduser().is_dir():
        return ""
    return "need a folder on this machine"


def listed(shape, example, *, is_one_taken=False):
    """A list; where `is_one_taken`, one value without brackets is a list of one."""

    def check(value):
        if value is None or value == "":
            return "" if is_one_taken else f"write it as a list, {example}"
        if isinstance(value, (str, int)):
            if is_one_taken and not shape(value):
                return ""
            entries = [each for each in re.split(r"[\s,]+", str(value)) if each]
            if entries and not any(map(shape, entries)):
                return f"write it as a list, [{', '.join(entries)}]"
            return shape(value) if len(entries) == 1 else f"write it as a list, {example}"
        if not isinstance(value, (list, tuple)):
            return f"write it as a list, {example}"
        return next(filter(None, (of_entry(each, shape(each)) for each in value)), "")

    return check


def mapping(key_shape, shape, example):
    def check(value):
        if not isinstance(value, dict):
            return f"write it as {example}"
        needs = [of_entry(key, key_shape(key)) for key in value]
        needs += [of_entry(each, shape(each)) for each in value.values()]
        return next(filter(None, needs), "")

    return check


def anything(value):
    del value
    return ""


def site_name(value):
    """A name or an address that stands in a browser's address bar, as the web's `names` takes it."""
    need = "need a name or an address as browsers show it, without http:// and port, as chat.example.org"
    if not isinstance(value, str):
        return need
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return "" if re.fullmatch(r"[\w-]+(\.[\w-]+)*\.?", value, re.ASCII) else need
    return ""


USER = matching(r"[a-z_][a-z0-9_.-]{0,31}", "a user's name")
KEY = matching(
    r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r" +AAAA[A-Za-z0-9+/=]+( [^\n]*)?\n?",
    "a public key, as in ~/.ssh/id_ed25519.pub",
)
URL = matching(r"https?://[^\s/]+(/\S*)?", "an address that begins with http:// or https://")
INTERFACE = matching(r"[^\s/]{1,15}", "an interface's name, as eth0")
PACKAGE = matching(r"[a-z0-9][a-z0-9+.-]+", "a Debian package's name")
PORT = number(1, 65535)
RING = listed(stage_name, "[[pi1, pi2], [pi3+pi4]]")

NAMED = {  # whole names, less PREFIX; what else is checked, and where, stands beside it
    "dns": listed(name_server, "[192.168.1.1]", is_one_taken=True),
    "virtual_address": or_empty(address, " without one"),
    "network": lan,
    "manage_network": truth,
    "rows": number(1, 1 << 16),
    "context": number(),
    "memory_mib": number(),
    "model": matching(r"\S(.*\S)?", "embedded, a model of the hub, or a folder"),
    "kv_cache": choice("auto", "float32", "float16", "int8"),
    "speculation": choice("auto", "off"),
    "exchange": choice("q8", "float16", "float32"),
    "quantization": choice(
        "int4", "int4-64", "int4-128-symmetric", "int4-128", "int8", "float32"
    ),
    "hub_token": or_empty(matching(r"\S+", "a token"), ""),
    "wheelhouse": or_empty(folder_here, ""),
    "rings": anything,  # ring_problems in bramble.py
    "objective": anything,  # ring_problems in bramble.py
    "announce_name": hostname,
    "base_journal_size": matching(r"\d+(\.\d+)?[KMGT]?", "a size, as 200M"),
    "base_sysctl": mapping(matching(r"[\w./*-]+", "a sysctl's name"), text, "{vm.swappiness: 10}"),
    "base_member_sysctl": mapping(matching(r"[\w./*-]+", "a sysctl's name"), text, "{net.core.busy_read: 50}"),
    "base_pi_config": listed(text, "[arm_boost=1]"),
    "doctor_bundle": text,
    "firewall_rules": listed(text, "[tcp dport 9100 accept]"),
    "flash_interface": wired,
    "flash_image_sha256": or_empty(matching(r"[0-9a-fA-F]{64}", "64 hexadecimal digits"), ""),
    "flash_image_url": matching(r"\S.*", "a file's path or address"),
    "flash_device": or_empty(matching(r"/dev/\S+", "a device, as /dev/sdX"), ""),
    "head_rings": listed(RING, "[[pi1, pi2], [pi3+pi4]]"),
    "model_rings": listed(RING, "[[pi1, pi2], [pi3+pi4]]"),
    "model_memory_mib": mapping(hostname, number(), "{pi1: 3200}"),
    "keepalived_own": address,
    "keepalived_priority": number(1, 150),
    "keepalived_router": number(1, 255),
    "network_rollback_s": number(20, 3600),
    "preflight_nodes": anything,  # inventory_problems in bramble.py
    "preflight_settings": anything,  # these are what is checked here
    "preflight_rings": anything,  # ring_problems in bramble.py
    "preflight_max_clock_skew_s": number(-1),
    "flash_nodes": anything,  # the role's own validate_nodes.yml
    "web_connections_per_address": number(1),
    "release_name": matching(r"[\w.+-]+", "a release's name"),
    "ready_question": matching(r"\S.*", "a question"),
}
ENDING = {  # last words of a name
    "names": listed(site_name, "[chat.example.org]", is_one_taken=True),
    "address": address,
    "gateway": or_empty(address, " without one"),
    "dns": NAMED["dns"],
    "network": lan,
    "cidr": lan,
    "networks": listed(network, "[10.8.0.0/24]"),
    "addresses": mapping(hostname, address, "{pi1: 192.168.1.11}"),
    "timezone": timezone,
    "port": PORT,
    "ports": listed(PORT, "[7100, 7101]"),
    "user": USER,
    "ssh_keys": listed(or_empty(KEY, ""), "[ssh-ed25519 AAAA…]", is_one_taken=True),
    "url": URL,
    "files": URL,
    "hostname": hostname,
    "node": hostname,
    "head": hostname,
    "interface": or_empty(INTERFACE, ""),
    **dict.fromkeys(("packages", "installed", "compiler"), listed(PACKAGE, "[python3-venv, clang]")),
    "context": number(),
    "rows": number(1, 1 << 16),
    "s": number(1),
}
BY_TYPE = {"int": number(), "float": number(), "path": text, "str": text}
BY_ELEMENTS = {"str": listed(text, "[one, another]"), "int": listed(number(), "[1, 2]")}
LISTS_AND_MAPPINGS = {
    ("doctor_nodes", "dict"): ENDING["addresses"],
    **dict.fromkeys(
        (("firewall_nodes", "list"), ("firewall_heads", "list"), ("firewall_members", "list"), ("keepalived_peers", "list")),
        listed(address, "[192.168.1.11]"),
    ),
    ("stage_other_heads", "dict"): ENDING["addresses"],
    ("head_heads", "list"): listed(hostname, "[pi1, pi2]"),
    ("keys_nodes", "list"): listed(hostname, "[pi1, pi2]"),
}


@functools.cache
def specs():
    """Return every variable of every role, with what its argument specs say of it."""
    found = {}
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            found |= entry.get("options") or {}
    return found


def shape_of(name, spec):
    """Return the shape of a variable, or None if neither its name nor its spec tells."""
    bare = name.removeprefix(PREFIX)
    if spec.get("choices"):
        return choice(*spec["choices"])
    if spec.get("type") == "bool":
        return truth
    if bare in NAMED:
        return NAMED[bare]
    if (bare, spec.get("type")) in LISTS_AND_MAPPINGS:
        return LISTS_AND_MAPPINGS[bare, spec["type"]]
    words = bare.split("_")
    for start in range(len(words)):
        if (ending := "_".join(words[start:])) in ENDING:
            shape = ENDING[ending]
            return or_empty(shape, "") if spec.get("default") == "" else shape
    if spec.get("type") == "list":
        return BY_ELEMENTS.get(spec.get("elements"))
    return BY_TYPE.get(spec.get("type"))


def shapes():
    """Return every variable that may be set, with its shape."""
    told = specs()
    return {name: shape_of(name, told.get(name, {})) for name in {*SETTINGS, *told}}


@functools.cache
def names_of_plays():
    """Return every word of ours in the plays: some are set by them, some with -e."""
    paths = [*ANSIBLE.glob("*.yml"), *ANSIBLE.glob("tasks/*.yml"), *ANSIBLE.glob("vars/*.yml")]
    texts = (path.read_text(encoding="utf-8") for path in paths)
    return {word for each in texts for word in re.findall(r"\bbramble_\w+", each)} | {"bramble_discovered"}


def settings(variables):
    """Return what is set of ours for one node; a value that cannot be read is an Unreadable."""
    return {name: _read(variables, name) for name in variables if name.startswith(PREFIX)}


class Unreadable:
    def __init__(self, why):
        self.why = why


def _read(variables, name):
    try:
        return variables[name]
    except AnsibleError as error:
        return Unreadable(str(error))


def setting_problems(found):
    """Return sentences on what `settings` found for one node; {} is not looked at."""
    if not found:
        return []
    known = shapes()
    allowed = known.keys() | names_of_plays()
    problems, meant = [], set()
    for name in found:
        if name not in allowed:
            near = _alike(name, known)
            meant.add(near)
            said = f"did you mean {near}?" if near else "remove it, or begin your own names otherwise"
            problems.append(f"{name} is no setting: {said}")
    problems += [
        f"{PREFIX}{name} is not set: copy its line from inventory/example/group_vars/bramble.yml"
        for name in REQUIRED
        if PREFIX + name not in found and PREFIX + name not in meant
    ]
    problems += all_value_problems(found)
    port = str(found.get("bramble_port"))
    problems += [
        f"bramble_port is {taken}, which is {whose}: choose another, as 8080"
        for taken, whose in OTHERS_PORTS.items()
        if port == str(taken)
    ]
    return problems


def _alike(name, known):
    """Return the variable that was meant, or ""; settings of the inventory come first."""
    bare = name.removeprefix(PREFIX)
    for names in (SETTINGS, known):
        bares = [each.removeprefix(PREFIX) for each in names]
        near = difflib.get_close_matches(bare, bares, 1, ALIKE)
        near += [each for each in bares if f"_{each}_" in f"_{bare}_"]
        if near:
            return PREFIX + near[0]
    return ""


def all_value_problems(found):
    """Return sentences on those of the values that have a shape."""
    known = shapes()
    shaped = {name: value for name, value in found.items() if name in known}
    return [each for name, value in shaped.items() for each in value_problems(name, value, known[name])]


def value_problems(name, value, shape):
    if isinstance(value, Unreadable):
        return [f"{name} cannot be read: {value.why}"]
    if not (need := shape(value)):
        return []
    if SECRET.search(name):
        return [f"{name}: {need}"]
    if isinstance(need, OfEntry):
        return [f"{name} has {_shown(need.entry)}: {need}"]
    return [f"{name} is {_shown(value)}: {need}"]


def _shown(value):
    said = repr(value)
    return said if len(said) <= MAX_SHOWN else f"{said[:MAX_SHOWN]}…"


def site_problems(by_node):
    """Return sentences on what `settings` found for all nodes: node → settings."""
    found = {node: setting_problems(each) for node, each in by_node.items()}
    sentences = dict.fromkeys(each for problems in found.values() for each in problems)
    problems = []
    for sentence in sentences:
        nodes = [node for node, each in found.items() if sentence in each]
        problems.append(sentence if len(nodes) == len(found) else f"{', '.join(nodes)}: {sentence}")
    for name in SETTINGS:
        values = {node: each[name] for node, each in by_node.items() if name in each}
        first = next(iter(values.values()), None)
        others = [node for node, value in values.items() if value != first]
        if others and name.removeprefix(PREFIX) not in OF_ONE_NODE:
            problems.append(f"{name} is another for {', '.join(others)}: it holds for all nodes, set it once")
    return problems


class FilterModule:
    def filters(self):
        return {
            "bramble_settings": settings,
            "bramble_site_problems": site_problems,
            "bramble_value_problems": all_value_problems,
        }
