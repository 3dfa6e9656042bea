#!/usr/bin/python3
"""How this node's IPv4 address is pinned, what would go wrong with it, and whether it is in force.

    pinned.py check WISH       what would go wrong, else what to write; changes nothing
    pinned.py in-force WISH    what is wrong now that `bramble-network try` took it on

WISH is JSON: {"address": "192.168.1.11", "network": "192.168.1.0/24", "gateway": "", "dns": []}.
The answer is JSON; its "problems" are sentences without their subject, which is the node.
"""

import configparser
import ipaddress
import json
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid

RESULT = pathlib.Path("/run/bramble-network")  # .ended and .said, by `bramble-network try`
NETPLAN_FOLDERS = ("usr/lib/netplan", "etc/netplan", "run/netplan")
NETPLAN_ID = "00-bramble"  # networkd takes the first file that matches; this one comes first
METRIC = 50  # of the default route: no other definition's, which netplan would call a conflict
PRIORITY = 999  # the highest that NetworkManager knows
WAIT_S, APPLY_S = 10.0, 30.0  # for an address to be there; for `netplan apply` and the like to end
SELF_HELP = "or pin the address yourself and set `bramble_manage_network: false`"


def run(*words, text=None):
    """Run a command to its end; one that is not there ends with 127."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        return subprocess.run(words, input=text, capture_output=True, text=True, env=environment)
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(words, 127, "", str(error))


def waited_for(is_true, seconds):
    """Return whether it became true in that time."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Wish:
    """The address, and the interface that shall have it."""

    def __init__(self, address, network, gateway="", dns=()):
        self.address, self.gateway, self.dns = address, gateway or "", list(dns)
        self.network = ipaddress.IPv4Network(network)
        self.with_prefix = f"{address}/{self.network.prefixlen}"
        self.interface = ""

    def find_interface(self):
        """Set `interface`; return a problem if there is none on which Bramble pins an address."""
        links = json.loads(run("ip", "-json", "-details", "-4", "address").stdout)
        there = [(link["ifname"], link) for link in links if self._addresses(link)]
        if not there:
            return f"has no interface with an address in {self.network}: plug its cable in, {SELF_HELP}"
        wired = [name for name, link in there if not _is_wireless(name) and not _software_kind(link)]
        if not wired:
            name, link = there[0]
            if _is_wireless(name):
                return (
                    f"has its address in {self.network} on {name}, which is Wi-Fi, and the ring needs "
                    f"Ethernet: plug a cable in, {SELF_HELP}"
                )
            kind = _software_kind(link)
            return f"has its address in {self.network} on {name}, a {kind}: {SELF_HELP[3:]}"
        own = [name for name, link in there if name in wired and self.address in self._addresses(link)]
        self.interface = (own + wired)[0]
        return ""

    def _addresses(self, link):
        found = [entry["local"] for entry in link.get("addr_info", []) if "local" in entry]
        return [each for each in found if ipaddress.IPv4Address(each) in self.network]

    def differences(self, addresses, gateways, dns):
        """Return what is not as wished: `addresses` with prefix, `gateways` and `dns` of the interface."""
        problems = []
        if self.with_prefix not in addresses:
            problems.append(f"{self.interface} has no {self.with_prefix}")
        second = [each for each in addresses if each != self.with_prefix and self._is_second(each)]
        problems += [f"{self.interface} has {each} too" for each in second]
        if self.gateway and self.gateway not in gateways:
            problems.append(f"no default route leads to {self.gateway}")
        problems += [f"{each} is no name server of {self.interface}" for each in self.dns if each not in dns]
        return problems

    def _is_second(self, address):
        one = ipaddress.IPv4Interface(address)
        return one.ip in self.network and one.network.prefixlen < 32  # /32: one that moves, as keepalived's


def _is_wireless(name):
    folder = pathlib.Path("/sys/class/net", name)
    return name.startswith("wl") or (folder / "wireless").exists() or (folder / "phy80211").exists()


def _software_kind(link):
    kind = link.get("linkinfo", {}).get("info_kind", "")
    return "" if kind == "veth" else kind or ("" if link.get("link_type") == "ether" else link.get("link_type"))


def on_interface(name):
    """Return the interface's addresses with prefix, and the gateways of its default routes."""
    links = json.loads(run("ip", "-json", "-4", "address", "show", "dev", name).stdout or "[]")
    entries = [entry for link in links for entry in link.get("addr_info", []) if "local" in entry]
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "default", "dev", name).stdout or "[]")
    addresses = [f"{entry['local']}/{entry['prefixlen']}" for entry in entries]
    return addresses, [route.get("gateway") for route in routes]


# ------------------------------------------------------------------------------------ the managers


class Networkd:
    name = "systemd-networkd"
    path = pathlib.Path("/etc/systemd/network/05-bramble.network")
    made = path  # what networkd reads
    mode = 0o644
    apply = "networkctl reload"

    def __init__(self, wish):
        self.wish = wish

    @staticmethod
    def has(interface):
        said = run("networkctl", "--no-legend", "--no-pager", "list", interface).stdout.split()
        return len(said) == 5 and said[4] not in ("unmanaged", "n/a")

    def text(self):
        wish = self.wish
        lines = ["# Written by Bramble", "[Match]", f"Name={wish.interface}", "", "[Network]"]
        lines += [f"Address={wish.with_prefix}"]
        lines += [f"Gateway={wish.gateway}"] if wish.gateway else []
        lines += [f"DNS={each}" for each in wish.dns]
        return "\n".join(lines) + "\n"

    def problems(self, root):
        _write(root / str(self.path)[1:], self.text(), self.mode)
        return not_enabled("systemd-networkd.service") + networkd_problems(self.wish, root, self.made)

    def in_force(self):
        return networkd_in_force(self.wish, self.made)


class NetworkManager:
    name = "NetworkManager"
    path = pathlib.Path("/etc/NetworkManager/system-connections/bramble.nmconnection")
    made = path
    mode = 0o600

    def __init__(self, wish):
        self.wish = wish
        self.uuid = str(uuid.uuid5(uuid.NAMESPACE_DNS, "bramble"))
        self.apply = f"nmcli connection reload && nmcli connection up uuid {self.uuid}"

    @staticmethod
    def has(interface):
        said = run("nmcli", "-g", "GENERAL.STATE", "device", "show", interface).stdout
        return bool(said.strip()) and not said.startswith("10 ")  # unmanaged

    def text(self):
        wish = self.wish
        lines = ["# Written by Bramble", "[connection]", "id=bramble", f"uuid={self.uuid}"]
        lines += ["type=ethernet", f"interface-name={wish.interface}", f"autoconnect-priority={PRIORITY}"]
        lines += ["", "[ipv4]", "method=manual", f"address1={wish.with_prefix}"]
        lines += [f"gateway={wish.gateway}"] if wish.gateway else []
        lines += [f"dns={''.join(each + ';' for each in wish.dns)}"] if wish.dns else []
        return "\n".join([*lines, "", "[ipv6]", "method=auto"]) + "\n"

    def problems(self, root):
        del root
        unready = not_enabled("NetworkManager.service")
        return unready + keyfile_problems(self.wish, self.text()) + rival_profiles(self.made)

    def in_force(self):
        return manager_in_force(self.wish, self.made)


class Netplan:
    name = "netplan"
    path = pathlib.Path("/etc/netplan/90-bramble.yaml")
    mode = 0o600
    apply = "netplan apply"

    def __init__(self, wish):
        self.wish = wish
        self.renderer = NetworkManager if NetworkManager.has(wish.interface) else Networkd
        self.made = pathlib.Path(f"/run/systemd/network/10-netplan-{NETPLAN_ID}.network")
        if self.renderer is NetworkManager:
            folder = pathlib.Path("/run/NetworkManager/system-connections")
            self.made = folder / f"netplan-{NETPLAN_ID}.nmconnection"

    @staticmethod
    def is_used():
        used = any(list(pathlib.Path("/", each).glob("*.yaml")) for each in NETPLAN_FOLDERS)
        return used and shutil.which("netplan", path="/usr/sbin:/usr/bin") is not None

    def text(self):
        wish, is_manager = self.wish, self.renderer is NetworkManager
        one = {"match": {"name": wish.interface}, "renderer": "NetworkManager" if is_manager else "networkd"}
        one |= {"dhcp4": False, "addresses": [wish.with_prefix]}
        if wish.gateway:
            one["routes"] = [{"to": "default", "via": wish.gateway, "metric": METRIC}]
        if wish.dns:
            one["nameservers"] = {"addresses": wish.dns}
        if is_manager:
            one["networkmanager"] = {"passthrough": {"connection.autoconnect-priority": str(PRIORITY)}}
        lines = [f"      {key}: {json.dumps(value)}" for key, value in one.items()]
        head = ["# Written by Bramble", "network:", "  version: 2", "  ethernets:", f"    {NETPLAN_ID}:"]
        return "\n".join(head + lines) + "\n"

    def problems(self, root):
        for folder in NETPLAN_FOLDERS:
            for path in pathlib.Path("/", folder).glob("*.yaml"):
                _write(root / folder / path.name, path.read_text(), self.mode)
        _write(root / str(self.path)[1:], self.text(), self.mode)
        done = run("netplan", "generate", "--root-dir", str(root))
        made = root / str(self.made)[1:]
        if done.returncode or not made.exists():
            return [f"has netplan refuse its network setting: {_last_words(done.stderr, root)}"]
        if self.renderer is Networkd:
            return networkd_problems(self.wish, root, self.made)
        unready = not_enabled("NetworkManager.service")
        return unready + keyfile_problems(self.wish, made.read_text()) + rival_profiles(self.made)

    def in_force(self):
        check = manager_in_force if self.renderer is NetworkManager else networkd_in_force
        return check(self.wish, self.made)


def manager_of(wish):
    """Return what brings the interface up, or None."""
    if Netplan.is_used() and (NetworkManager.has(wish.interface) or Networkd.has(wish.interface)):
        return Netplan(wish)
    found = [kind for kind in (NetworkManager, Networkd) if kind.has(wish.interface)]
    return found[0](wish) if found else None


def not_enabled(unit):
    said = run("systemctl", "is-enabled", unit).stdout.strip()
    bad = said in ("disabled", "masked", "masked-runtime", "")
    return [f"runs {unit}, which does not start at boot: `sudo systemctl enable {unit}`"] if bad else []


# -------------------------------------------------------------- NetworkManager, without changing it


def keyfile_problems(wish, text):
    """Have NetworkManager's own parser read the profile; what it drops in silence is a problem."""
    done = run("nmcli", "--offline", "connection", "modify", "connection.autoconnect", "yes", text=text)
    if done.returncode:
        return [f"has NetworkManager refuse its network setting: {_last_words(done.stderr)}"]
    read = configparser.ConfigParser(delimiters="=", interpolation=None)
    read.read_string(done.stdout)
    ipv4 = dict(read["ipv4"])
    first, _, beside = ipv4.get("address1", "").partition(",")
    gateways = [ipv4.get("gateway"), beside, *(ipv4.get("route1", "").split(",")[1:2])]
    lost = wish.differences([first], gateways, ipv4.get("dns", "").split(";"))
    return [f"has NetworkManager drop a part of its network setting: {each}" for each in lost]


def rival_profiles(made):
    """Return a problem for each profile that NetworkManager may prefer to ours at boot."""
    fields = "NAME,TYPE,AUTOCONNECT,AUTOCONNECT-PRIORITY,FILENAME"
    lines = run("nmcli", "-t", "-f", fields, "connection", "show").stdout.splitlines()
    rows = [line.replace("\\:", " ").split(":") for line in lines]
    rivals = [
        row[0]
        for row in rows
        if row[1:3] == ["802-3-ethernet", "yes"] and int(row[3]) >= PRIORITY and row[4] != str(made)
    ]
    return [
        f"has NetworkManager's profile {name!r}, whose autoconnect-priority is {PRIORITY} too: "
        f"`sudo nmcli connection modify {name!r} connection.autoconnect-priority 0`"
        for name in rivals
    ]


def manager_in_force(wish, made):
    lines = run("nmcli", "-g", "DEVICE,FILENAME", "connection", "show", "--active").stdout.splitlines()
    files = dict(line.split(":", 1) for line in lines if ":" in line)
    file = files.get(wish.interface, "none")
    if file != str(made):
        return [f"{wish.interface} is up by {file}, not by {made}"]
    dns = run("nmcli", "-g", "IP4.DNS", "device", "show", wish.interface).stdout
    return wish.differences(*on_interface(wish.interface), dns.replace(" | ", "\n").split())


# ------------------------------------------------------------- networkd, in a network of its own


def networkd_problems(wish, root, made):
    """Start networkd with the files of `root` where the interface is new, and see what comes up."""
    for folder in ("etc/systemd/network", "run/systemd/network"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for path in pathlib.Path("/", folder).glob("*"):
            if "-netplan-" not in path.name and path != made:
                run("cp", "-aL", str(path), str(root / folder))
    words = ("unshare", "--net", "--mount", "--propagation", "private", sys.executable, __file__)
    done = run(*words, "boot", str(root), wish.interface, str(made), wish.gateway)
    if done.returncode:
        return [f"cannot try its network setting: {_last_words(done.stderr)}; {SELF_HELP[3:]}"]
    seen = json.loads(done.stdout)
    said = [line for line in seen["log"] if line.startswith(f"{made}:")]
    if said:
        return [f"has networkd complain of its network setting: {line}" for line in said]
    if seen["file"] != str(made):
        return [f"would follow {seen['file'] or 'no file'} for {wish.interface} after a reboot, not {made}"]
    wrong = wish.differences(seen["addresses"], seen["gateways"], seen["dns"])
    return [f"would not be back after a reboot: {each}" for each in wrong]


def boot(root, interface, made, gateway):
    """Print what networkd makes of the interface; runs in a network and mounts of its own."""
    commands = (
        "mount -t sysfs -o ro sysfs /sys",  # read-only: networkd does not wait for udev
        "mount -t tmpfs tmpfs /run",
        f"mount --bind {root}/etc/systemd/network /etc/systemd/network",
        f"ip link add {interface} type veth peer name bramble-peer",
        "ip link set bramble-peer up",
    )
    for command in commands:
        if (done := run(*command.split())).returncode:
            sys.exit(f"{command}: {done.stderr.strip()}")
    shutil.copytree(f"{root}/run/systemd/network", "/run/systemd/network")
    run("chmod", "-R", "a+rX", "/run/systemd/network", "/etc/systemd/network")
    owner = pwd.getpwnam("systemd-network")
    pathlib.Path("/run/systemd/netif").mkdir()
    os.chown("/run/systemd/netif", owner.pw_uid, owner.pw_gid)
    environment = {**os.environ, "SYSTEMD_LOG_TARGET": "console"}
    with tempfile.TemporaryFile("w+") as log:
        words = ["/usr/lib/systemd/systemd-networkd"]
        networkd = subprocess.Popen(words, stdout=log, stderr=log, env=environment)
        waited_for(lambda: networkd.poll() is not None or _is_settled(interface, made, gateway), WAIT_S)
        addresses, gateways = on_interface(interface)
        state = networkd_state(interface)
        networkd.kill()
        networkd.wait()
        log.seek(0)
        lines = log.read().splitlines()
    seen = {"file": state.get("NETWORK_FILE", ""), "dns": state.get("DNS", "").split(), "log": lines}
    print(json.dumps({**seen, "addresses": addresses, "gateways": gateways}))


def _is_settled(interface, made, gateway):
    """True if another file won, or what is wished is there; that everything is takes a second more."""
    file = networkd_state(interface).get("NETWORK_FILE")
    addresses, gateways = on_interface(interface)
    return bool(file) and (file != made or bool(addresses and (gateways or not gateway)))


def networkd_state(interface):
    """Return what networkd tells of the interface, by the names of its state file."""
    index = {name: index for index, name in socket.if_nameindex()}.get(interface, 0)  # /sys may be another namespace's
    path = pathlib.Path("/run/systemd/netif/links", str(index))
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def networkd_in_force(wish, made):
    state = networkd_state(wish.interface)
    if state.get("NETWORK_FILE") != str(made):
        return [f"{wish.interface} is up by {state.get('NETWORK_FILE', 'no file')}, not by {made}"]
    return wish.differences(*on_interface(wish.interface), state.get("DNS", "").split())


# ------------------------------------------------------------------------------- what may be asked


def check(wish):
    """Return what would go wrong, and if nothing would, what to write where and how to take it on."""
    if problem := wish.find_interface():
        return {"problems": [problem]}
    manager = manager_of(wish)
    if manager is None:
        said = f"has {wish.interface} brought up by none of netplan, NetworkManager and systemd-networkd"
        return {"problems": [f"{said}: {SELF_HELP[3:]}"]}
    with tempfile.TemporaryDirectory(prefix="bramble-network-") as root:
        problems = manager.problems(pathlib.Path(root))
    path, text = manager.path, manager.text()
    is_written = path.exists() and path.read_text() == text
    return {
        "problems": problems,
        **{"path": str(path), "new": str(path.with_name(f".{path.name}.new")), "text": text},
        **{"mode": f"{manager.mode:04o}", "apply": manager.apply},
        "is_in_force": is_written and not manager.in_force(),
    }


def in_force(wish):
    """Return what is wrong with the setting that `bramble-network try` took on."""
    ended, said = (RESULT.with_suffix(f".{each}") for each in ("ended", "said"))
    if not waited_for(lambda: ended.exists() and ended.read_text().strip(), APPLY_S):
        return {"problems": [f"is busy taking its network setting on still after {APPLY_S} s"]}
    if ended.read_text().strip() != "0":
        return {"problems": [f"could not take its network setting on: {_last_words(said.read_text())}"]}
    # A manager may say that it is done and take the address away for a moment, to give it anew
    waited_for(lambda: not _not_as_wished(wish), WAIT_S)
    return {"problems": _not_as_wished(wish)}


def _not_as_wished(wish):
    if problem := wish.find_interface():
        return [problem]
    manager = manager_of(wish)
    if manager is None:
        return [f"has {wish.interface} brought up by nothing now"]
    return [f"does not follow its network setting: {each}" for each in manager.in_force()]


def _write(path, text, mode):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode)
    path.write_text(text)


def _last_words(text, root="/nowhere"):
    lines = [line.strip() for line in text.replace(str(root), "").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return " ".join((errors or lines)[-2:]) or "it does not say why"


def main(verb, *rest):
    if verb == "boot":
        boot(*rest)
    else:
        answer = {"check": check, "in-force": in_force}[verb]
        print(json.dumps(answer(Wish(**json.loads(rest[0])))))


if __name__ == "__main__":
    main(*sys.argv[1:])
