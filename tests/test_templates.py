"""What the plays write for several heads, and that for one head nothing of it is there."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from bramble.config import HeadConfig, StageConfig, from_dict
from bramble.head.candidacy import Candidacy
from jinja2 import Environment, StrictUndefined

from tests.roles.interface import in_defaults

ROLES = Path(__file__).parent.parent / "roles"
HEADS = ["pi1", "pi2"]


def rendered(role: str, template: str, **values: Any) -> str:
    """Render as Ansible does; values of the role without its prefix, others by their defaults."""
    named = {name: one.default for name, one in in_defaults(ROLES / role).items()}
    named |= {name if name[:2] == "__" else f"{role}_{name}": one for name, one in values.items()}
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["bool"] = bool
    text = (ROLES / role / "templates" / template).read_text()
    return environment.from_string(text).render(named | {"inventory_hostname": "pi1"})


def stage(**values: Any) -> str:
    values |= {"node": "pi3", "address": "10.0.0.13", "head": "pi1", "head_address": "10.0.0.11"}
    values |= {"files": "http://10.0.0.10:8080/files", "memory_mib": 512}
    return rendered("bramble_stage", "stage.yml.j2", **values)


def head(**values: Any) -> str:
    values |= {"node": "pi2", "address": "10.0.0.12", "model": "demo@0123456789ab"}
    return rendered("bramble_head", "head.yml.j2", __bramble_head_rings=[["pi1"], HEADS], **values)


def test_a_stage_knows_every_head() -> None:
    config = from_dict(StageConfig, yaml.safe_load(stage(other_heads={"pi2": "10.0.0.12"})), "")
    assert (config.head_node, config.head) == ("pi1", "tcp://10.0.0.11:7100")
    assert config.other_heads == {"pi2": "tcp://10.0.0.12:7100"}
    assert config.term is not None


def test_a_head_knows_who_else_may_lead() -> None:
    config = from_dict(HeadConfig, yaml.safe_load(head(heads=HEADS)), "")
    assert config.heads == ("pi1", "pi2")
    assert not Candidacy(config.node, 1, config.heads, ("pi1", "pi2"), 0.0).is_alone
    assert config.model.name == "demo@0123456789ab"


def test_with_one_head_there_is_not_a_line_of_others() -> None:
    assert "heads" not in stage() and "heads" not in head()
    rules = {"networks": ["10.0.0.0/24"], "nodes": ["10.0.0.11"], "is_head": True}
    assert " 112 " not in rendered("bramble_firewall", "firewall.nft.j2", **rules)


def test_a_member_of_a_group_opens_the_port_of_its_exchange_to_the_others_alone() -> None:
    config = from_dict(StageConfig, yaml.safe_load(stage(is_member=True, exchange_port=7102)), "")
    assert config.exchange == "tcp://10.0.0.13:7102"
    rules = {"networks": ["10.0.0.0/24"], "nodes": ["10.0.0.11"], "exchange_port": 7102}
    text = rendered("bramble_firewall", "firewall.nft.j2", members=["10.0.0.12"], **rules)
    assert "ip saddr { 10.0.0.12 } tcp dport 7102 accept" in text


def test_who_is_in_no_group_has_no_port_for_it() -> None:
    assert "exchange" not in stage()
    rules = {"networks": ["10.0.0.0/24"], "nodes": ["10.0.0.11"], "exchange_port": 7102}
    assert "7102" not in rendered("bramble_firewall", "firewall.nft.j2", **rules)


def test_a_heads_rings_may_have_groups() -> None:
    rings = [["pi1+pi2", "pi3"], ["pi4"]]
    text = rendered(
        "bramble_head",
        "head.yml.j2",
        __bramble_head_rings=rings,
        node="pi1",
        address="10.0.0.11",
        model="demo",
        exchange="float32",
    )
    config = from_dict(HeadConfig, yaml.safe_load(text), "")
    assert config.rings == (("pi1+pi2", "pi3"), ("pi4",))
    assert config.exchange == "float32"


LEADS = ROLES / "bramble_keepalived/files/bramble-leads"


def keepalived(**values: Any) -> str:
    values |= {"address": "10.0.0.10", "own": "10.0.0.11", "priority": 100}
    values |= {"__bramble_keepalived_interface": "eth0"}
    return rendered("bramble_keepalived", "keepalived.conf.j2", **values)


def test_keepalived_speaks_to_the_other_heads_alone() -> None:
    text = keepalived(peers=["10.0.0.12", "10.0.0.13"])
    assert "unicast_peer {\n        10.0.0.12\n        10.0.0.13\n    }" in text
    assert text.count("{") == text.count("}") == 7
    assert "unicast_peer" not in keepalived()


def test_who_leads_outweighs_every_priority_and_who_is_obeyed_everybody_who_says_it_leads() -> None:
    text = keepalived(peers=["10.0.0.12"])
    assert "weight 100\n" in text and "state BACKUP\n" in text and "nopreempt" not in text
    quorum = text[text.index("vrrp_script quorum") : text.index("vrrp_instance")]
    assert "weight 50\n" in quorum and "fall 1\n" in quorum
    assert 100 + 100 + 50 < 255  # what VRRP leaves for the owner of an address


@pytest.mark.parametrize("what", [(), ("quorum",)])
def test_who_leads_is_asked_of_the_web_process(tmp_path: Path, what: tuple[str, ...]) -> None:
    """A yes and a no count at once; without a word the last yes holds, for a while."""
    assert shutil.which("bash")
    (said,) = [tmp_path / f"said-{each}" for each in what or ("role",)]
    for answer, code in (
        (None, 1),
        ("200 OK", 0),
        (None, 0),
        ("502 BAD GATEWAY", 0),
        ("503 SERVICE UNAVAILABLE", 1),
        (None, 1),
        ("200 OK", 0),
    ):
        assert _asked(tmp_path, answer, *what) == code
    said.write_text(f"{int(said.read_text()) - 7}\n")
    assert _asked(tmp_path, None, *what) == 1
    unused = subprocess.run([LEADS, "1", *what], capture_output=True, check=False)
    assert unused.returncode == 1


def _asked(folder: Path, answer: str | None, *what: str) -> int:
    """Run the script against a server that gives one answer, or hangs up."""
    path = "/".join(["/leader", *what])

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                asked = b""
                while not asked.endswith(b"\r\n\r\n"):
                    asked += connection.recv(1000)
                assert asked == f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
                if answer is not None:
                    connection.sendall(f"HTTP/1.1 {answer}\r\n\r\n".encode())

        thread = threading.Thread(target=serve)
        thread.start()
        words = [LEADS, str(port), *what]
        variables = {"BRAMBLE_LEADS_FOLDER": str(folder)}
        done = subprocess.run(words, env=variables, capture_output=True, timeout=10)
        thread.join(10)
    return done.returncode


@pytest.mark.parametrize("heads", [["10.0.0.12"], ["10.0.0.12", "10.0.0.13"]])
def test_the_firewall_lets_the_other_heads_settle_who_has_the_address(heads: list[str]) -> None:
    rules = {"networks": ["10.0.0.0/24"], "nodes": ["10.0.0.11"], "is_head": True, "heads": heads}
    text = rendered("bramble_firewall", "firewall.nft.j2", **rules)
    assert f"ip saddr {{ {', '.join(heads)} }} ip protocol 112 accept" in text
