"""Every variable that somebody may set has a shape, and a wrong value gets one sentence."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from bramble.doctor import probe

from tests.roles.interface import declared, in_defaults, load, options
from tests.roles.tasks import files

ROOT = Path(__file__).parent.parent
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())


def filters(name: str) -> ModuleType:
    path = ROOT / "ansible" / "plugins" / "filter" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plugin, bramble = filters("bramble_settings"), filters("bramble")

SITE = yaml.safe_load((ROOT / "inventory/example/group_vars/bramble.yml").read_text())
SITE["bramble_ssh_keys"] = [""]  # where ~/.ssh/id_ed25519.pub is not there
SHAPES = plugin.shapes()
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDzHNVyDyPHDPSpRLxcWkMBhuKBnKZRkXDFAXa8 me@laptop"

# Text of one line is all that they need; what else is asked of them, and where, stands beside them.
FREE_TEXT = {
    "bramble_announce_version": "shown as it is",
    "bramble_backup_encrypt_to": "age or gpg says what is wrong with it",
    "bramble_backup_folder": "made where it is not there",
    "bramble_backup_identity": "expected to be a file where it is needed",
    "bramble_doctor_bundle": "made where it is not there",
    "bramble_doctor_program": "a path on the node",
    "bramble_flash_cache": "made where it is not there",
    "bramble_flash_confirm": "compared with the device and its serial by flash_card.py",
    "bramble_flash_keyring": "expected to be a file by flash_card.py",
    "bramble_flash_output": "made where it is not there",
    "bramble_flash_serial": "compared with the device's by flash_card.py",
    "bramble_head_model": "made by the plays of bramble_model",
    "bramble_head_units": "a folder of the checkout",
    "bramble_keepalived_units": "a folder of the checkout",
    "bramble_model_hub_token": "bramble_hub_token, which is checked",
    "bramble_model_name": "made by the plays of bramble_model",
    "bramble_model_source": "bramble_model, which is checked",
    "bramble_preflight_model": "bramble_model, which is checked",
    "bramble_preflight_objective": "checked by ring_problems",
    "bramble_preflight_quantization": "checked by model_problems",
    "bramble_preflight_release": "made by bramble_runtime",
    "bramble_runtime_source": "a folder of the checkout",
    "bramble_runtime_units": "a folder of the checkout",
    "bramble_runtime_wheelhouse": "bramble_wheelhouse, which is checked",
    "bramble_stage_units": "a folder of the checkout",
    "bramble_status_program": "a path on the node",
    "bramble_web_units": "a folder of the checkout",
}
ELSEWHERE = {  # checked as a whole, by the filters of bramble.py and by bramble_flash's own tasks
    *("bramble_objective", "bramble_rings", "bramble_flash_nodes", "bramble_preflight_nodes"),
    *("bramble_preflight_rings", "bramble_preflight_settings"),
}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_of_a_role_has_a_shape_that_its_default_fits(role: Path) -> None:
    given = load(role / "defaults/main.yml") or {}
    examples = {
        name: yaml.safe_load(text) for name, text, required, _ in declared(role) if required
    }
    for name, _ in options(role):
        shape = SHAPES[name]
        assert shape is not None, f"{name}: neither its name nor its spec tells what it has to be"
        value = (examples | given)[name]
        if "{{" not in str(value):
            assert not shape(value), f"{name} is {value!r}: {shape(value)}"
    assert in_defaults(role).keys() <= SHAPES.keys()


def test_what_is_free_text_is_so_for_a_reason() -> None:
    assert {name for name, shape in SHAPES.items() if shape is plugin.text} == FREE_TEXT.keys()
    assert {name for name, shape in SHAPES.items() if shape is plugin.anything} == ELSEWHERE


NONSENSE = ("\n", {"a": {}}, [["a"], {"b": 1}], "two\nlines")


@pytest.mark.parametrize("name", sorted(SHAPES.keys() - ELSEWHERE))
def test_nonsense_gets_a_sentence(name: str) -> None:
    for value in NONSENSE:
        (sentence,) = plugin.value_problems(name, value, SHAPES[name])
        assert sentence.startswith(name)


WRONG = {
    "a missing line": (
        {"bramble_rows": ...},
        "bramble_rows is not set: copy its line from inventory/example/group_vars/bramble.yml",
    ),
    "a misspelt line": (
        {"bramble_rows": ..., "bramble_rosw": 8},
        "bramble_rosw is no setting: did you mean bramble_rows?",
    ),
    "a misspelt choice": (
        {"bramble_speculation": ..., "bramble_speculaton": "off"},
        "bramble_speculaton is no setting: did you mean bramble_speculation?",
    ),
    "another name for it": (
        {"bramble_dns_servers": ["192.168.1.1"]},
        "bramble_dns_servers is no setting: did you mean bramble_dns?",
    ),
    "one of nobody's": (
        {"bramble_mine": 1},
        "bramble_mine is no setting: remove it, or begin your own names otherwise",
    ),
    "a misspelt role's": (
        {"bramble_base_swap_of": True},
        "bramble_base_swap_of is no setting: did you mean bramble_base_swap_off?",
    ),
    "off without quotes": (
        {"bramble_speculation": False},
        'bramble_speculation is False: need auto or "off" (in quotes)',
    ),
    "a cache there is not": (
        {"bramble_kv_cache": "int4"},
        "bramble_kv_cache is 'int4': need auto or float32 or float16 or int8",
    ),
    "no rows": ({"bramble_rows": 0}, "bramble_rows is 0: need a number from 1 to 65536"),
    "no number": (
        {"bramble_context": "lots"},
        "bramble_context is 'lots': need a number from 0 to 2147483648",
    ),
    "a truth as a number": (
        {"bramble_rows": True},
        "bramble_rows is True: need a number from 1 to 65536",
    ),
    "a number with a unit": (
        {"bramble_memory_mib": "512M"},
        "bramble_memory_mib is '512M': need a number from 0 to 2147483648",
    ),
    "a taken port": (
        {"bramble_port": "22"},
        "bramble_port is 22, which is ssh's: choose another, as 8080",
    ),
    "a port beyond": (
        {"bramble_port": 65536},
        "bramble_port is 65536: need a number from 1 to 65535",
    ),
    "no truth": (
        {"bramble_manage_network": "sometimes"},
        "bramble_manage_network is 'sometimes': need true or false",
    ),
    "a secret": ({"bramble_hub_token": "hf one two"}, 'bramble_hub_token: need a token, or ""'),
    "a name with its scheme": (
        {"bramble_names": ["http://pi1.lan"]},
        "bramble_names has 'http://pi1.lan': need a name or an address as browsers show it, "
        "without http:// and port, as chat.example.org",
    ),
    "a name with its port": (
        {"bramble_names": "pi1.lan:8080"},
        "bramble_names is 'pi1.lan:8080': need a name or an address as browsers show it, "
        "without http:// and port, as chat.example.org",
    ),
    "names without brackets": (
        {"bramble_names": "pi1.lan, chat.example.org"},
        "bramble_names is 'pi1.lan, chat.example.org': write it as a list, "
        "[pi1.lan, chat.example.org]",
    ),
    "a limit of nobody": (
        {"bramble_web_connections_per_address": 0},
        "bramble_web_connections_per_address is 0: need a number from 1 to 2147483648",
    ),
    "a folder that is not there": (
        {"bramble_wheelhouse": "/nowhere"},
        "bramble_wheelhouse is '/nowhere': need a folder on this machine, or \"\"",
    ),
    "a private key": (
        {"bramble_ssh_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]},
        "bramble_ssh_keys has '-----BEGIN OPENSSH PRIVATE KEY-----': need a public key, as in "
        '~/.ssh/id_ed25519.pub, or ""',
    ),
    "a size without sense": (
        {"bramble_base_journal_size": "much"},
        "bramble_base_journal_size is 'much': need a size, as 200M",
    ),
    "a mapping as a list": (
        {"bramble_base_sysctl": ["vm.swappiness=10"]},
        "bramble_base_sysctl is ['vm.swappiness=10']: write it as {vm.swappiness: 10}",
    ),
    "a group with nobody": (
        {"bramble_head_rings": [["pi1+"]]},
        "bramble_head_rings has 'pi1+': need a hostname: lower-case letters, digits and hyphens, "
        "63 at most; or several of a group, as pi1+pi2",
    ),
    "an exchange there is not": (
        {"bramble_exchange": "int8"},
        "bramble_exchange is 'int8': need q8 or float16 or float32",
    ),
    "the exchange's port": (
        {"bramble_port": 7102},
        "bramble_port is 7102, which is the ring's: choose another, as 8080",
    ),
    "a ring within a role's variable": (
        {"bramble_model_rings": [["Pi_1"]]},
        "bramble_model_rings has 'Pi_1': need a hostname: lower-case letters, digits and hyphens, "
        "63 at most; or several of a group, as pi1+pi2",
    ),
}
SERVER = "need the IPv4 address of a name server, as 192.168.1.1"
ZONE = "need a time zone as `timedatectl list-timezones` writes it, as Europe/Berlin or Etc/UTC"
WRONG_NETWORKS = {
    "dns": {
        "10.77.0.999": f"is '10.77.0.999': {SERVER}",
        "1.1.1.1, 8.8.8.8": "is '1.1.1.1, 8.8.8.8': write it as a list, [1.1.1.1, 8.8.8.8]",
        "1.1.1.1 8.8.8.8": "is '1.1.1.1 8.8.8.8': write it as a list, [1.1.1.1, 8.8.8.8]",
        "[10.77.0.999]": f"has '10.77.0.999': {SERVER}",
        "[1.1.1.1, dns.google]": f"has 'dns.google': {SERVER}",
        "['2606:4700:4700::1111']": f"has '2606:4700:4700::1111': {SERVER}",
        "[[1.1.1.1]]": f"has ['1.1.1.1']: {SERVER}",
        "[0.0.0.0]": f"has '0.0.0.0': {SERVER}",
        "[127.0.0.53]": "has '127.0.0.53': need a name server's address in the network, which a "
        "node's own is not",
        "{one: 1.1.1.1}": "is {'one': '1.1.1.1'}: write it as a list, [192.168.1.1]",
        "[1.1.1.1/24]": f"has '1.1.1.1/24': {SERVER}",
    },
    "network": {
        "192.168.1.0": "is '192.168.1.0': need the prefix too, as 192.168.1.0/24",
        "192.168.1.0/33": "is '192.168.1.0/33': need a network, as 192.168.1.0/24",
        "192.168.1.0/32": "is '192.168.1.0/32': need a prefix from /8 to /30",
        "192.168.1.7/24": "is '192.168.1.7/24': need a network's first address and its prefix: "
        "192.168.1.0/24?",
        "192.168.1.0/255.255.255.0": "is '192.168.1.0/255.255.255.0': need a network's first "
        "address and its prefix: 192.168.1.0/24?",
        "'fd00::/64'": "is 'fd00::/64': need a network, as 192.168.1.0/24",
        "[192.168.1.0/24]": "is ['192.168.1.0/24']: need a network, as 192.168.1.0/24",
    },
    "gateway": {
        "router": "is 'router': need an IPv4 address, as 192.168.1.11, or \"\" without one",
        "192.168.1": "is '192.168.1': need an IPv4 address, as 192.168.1.11, or \"\" without one",
        "224.0.0.1": "is '224.0.0.1': need the IPv4 address of one machine, or \"\" without one",
    },
    "admin_networks": {
        "10.8.0.0/24": "is '10.8.0.0/24': write it as a list, [10.8.0.0/24]",
        "[vpn]": "has 'vpn': need a network, as 192.168.1.0/24",
        "[10.8.0.5/24]": "has '10.8.0.5/24': need a network's first address and its prefix: "
        "10.8.0.0/24?",
        "''": "is '': write it as a list, [10.8.0.0/24]",
    },
    "timezone": {
        "Europe/Berlni": f"is 'Europe/Berlni': {ZONE}",
        "europe/berlin": f"is 'europe/berlin': {ZONE}",
        "../../etc/passwd": f"is '../../etc/passwd': {ZONE}",
        "'Etc/UTC '": f"is 'Etc/UTC ': {ZONE}",
        "2": f"is 2: {ZONE}",
        "null": f"is None: {ZONE}",
        "[Etc/UTC]": f"is ['Etc/UTC']: {ZONE}",
    },
}


def set_up(changes: dict) -> list[str]:
    site = {name: value for name, value in (SITE | changes).items() if value is not ...}
    return list(plugin.setting_problems(plugin.settings(site)))


@pytest.mark.parametrize(("changes", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_gets_one_sentence(changes: dict, sentence: str) -> None:
    assert set_up(changes) == [sentence]


@pytest.mark.parametrize(
    ("setting", "text", "said"),
    [(name, text, said) for name, each in WRONG_NETWORKS.items() for text, said in each.items()],
)
def test_a_wrong_network_gets_one_sentence(setting: str, text: str, said: str) -> None:
    assert set_up({f"bramble_{setting}": yaml.safe_load(text)}) == [f"bramble_{setting} {said}"]


GOOD = [
    {"bramble_port": "80", "bramble_stage_memory_mib": 900, "bramble_base_swap_off": "no"},
    {"bramble_dns": "192.168.1.1", "bramble_gateway": None, "bramble_ssh_keys": KEY},
    {"bramble_names": "chat.example.org"},
    {"bramble_names": ["Pi1.lan.", "203.0.113.9", "2001:db8::9"]},
    {"bramble_dns": None, "bramble_timezone": "America/Argentina/Buenos_Aires"},
    {"bramble_admin_networks": ["0.0.0.0/0", "100.64.0.0/10"], "bramble_manage_network": "false"},
    {"bramble_discovered": {"role": "head"}, "bramble_removed": "pi2"},
]


def test_no_port_of_the_nodes_own_may_be_the_pages() -> None:
    firewall = yaml.safe_load((ROOT / "roles/bramble_firewall/defaults/main.yml").read_text())
    for port in {22, probe.PORT, *firewall["bramble_firewall_ring_ports"]}:
        (sentence,) = set_up({"bramble_port": port})
        assert sentence.startswith(f"bramble_port is {port}, which is ")


@pytest.mark.parametrize("changes", GOOD)
def test_a_good_setting_gets_none(changes: dict) -> None:
    assert set_up(changes) == []


@pytest.mark.parametrize("words", ["inventory/vagrant", "tests/cluster/sites/one"])
def test_the_settings_of_our_own_sites_are_good(words: str) -> None:
    site = yaml.safe_load((ROOT / words / "group_vars/bramble.yml").read_text())
    site.pop("bramble_ssh_keys")  # a template
    assert plugin.setting_problems(plugin.settings(site)) == []


def test_what_is_wrong_on_one_node_names_it_and_what_is_wrong_everywhere_is_said_once() -> None:
    good = plugin.settings(SITE)
    wrong = good | {"bramble_dns": ["router"]}
    said = f"bramble_dns has 'router': {SERVER}"
    assert plugin.site_problems({"pi1": wrong, "pi2": wrong}) == [said]
    assert plugin.site_problems({"pi1": good, "pi2": wrong}) == [f"pi2: {said}"]


def test_what_holds_for_all_nodes_may_not_differ() -> None:
    good = plugin.settings(SITE)
    other = good | {"bramble_port": 8081, "bramble_memory_mib": 900}
    assert plugin.site_problems({"pi1": good, "pi2": other}) == [
        "bramble_port is another for pi2: it holds for all nodes, set it once"
    ]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_truth_is_read_as_one_where_it_came_as_a_word(role: Path) -> None:
    truths = [name for name, option in options(role) if option["type"] == "bool"]
    for path in files(role, "tasks", "templates", "vars"):
        for name in truths:
            used = re.findall(rf"\b{name}\b(?! \| bool)", path.read_text())
            assert not used, f"{path.name}: -e {name}=false is the word: write {name} | bool"


def test_one_value_without_brackets_is_a_list_of_one() -> None:
    assert bramble.as_list("10.77.0.1") == ["10.77.0.1"]
    assert bramble.as_list(["10.77.0.1"]) == ["10.77.0.1"]
    assert bramble.as_list("") == bramble.as_list(None) == bramble.as_list([]) == []
