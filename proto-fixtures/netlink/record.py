#!/usr/bin/env python3
"""Records what this kernel says over rtnetlink, into the .hex files beside it.

    unshare -n python3 proto-fixtures/netlink/record.py

As root, in a network namespace of its own: it makes links, addresses and routes. Only what dunlin asks for or hears
of is asked for, and by the same requests. Standard library and iproute2. Time stamps and counters make every
recording another one; the .expect files are written anew by `UPDATE_GOLDEN=1 cargo test --test it netlink`.
"""

import os
import platform
import socket
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SOL_NETLINK = 270
ADD_MEMBERSHIP, CAP_ACK, EXT_ACK, STRICT = 1, 10, 11, 12
REQUEST, ACK, DUMP, EXCL, CREATE = 1, 4, 0x300, 0x200, 0x400
ERROR, DONE = 2, 3
GROUPS = {"link": 1, "neigh": 3, "addr4": 5, "route4": 7, "addr6": 9, "route6": 11, "conf4": 24, "conf6": 25,
          "nexthop": 32}

# One namespace with what a node has, and what it may have beside it.
WORLD = """
link set lo up
link add up0 type veth peer name far0
link add up1 type veth peer name far1
link set up0 address 02:00:00:00:00:01 alias uplink
link set far0 address 02:00:00:00:00:02
link set up1 address 02:00:00:00:00:03 mtu 1400
link set far1 address 02:00:00:00:00:04
link add br0 type bridge
link set br0 address 02:00:00:00:00:05
link set far1 master br0
link add vxlan.calico address 66:00:00:00:00:01 type vxlan id 4096 dstport 4789 local 192.0.2.1 dev up0 nolearning
link add vxlan-v6.calico address 66:00:00:00:00:02 type vxlan id 4096 dstport 4790 local 2001:db8::1 dev up0 nolearning
link add metadata address 66:00:00:00:00:03 type vxlan external dstport 4791
link set up0 up
link set far0 up
link set up1 up
link set far1 up
link set vxlan.calico up
link set vxlan-v6.calico up
address add 192.0.2.1/24 dev up0
address add 198.51.100.1 peer 198.51.100.2/32 dev up1
address add 2001:db8::1/64 dev up0 nodad
address add 2001:db8:1::1/64 dev up1 nodad
address add 10.77.0.0/32 dev vxlan.calico
neighbour add 10.77.1.0 lladdr 66:00:00:00:01:01 dev vxlan.calico nud permanent
neighbour add fd00:77:1:: lladdr 66:00:00:00:01:02 dev vxlan-v6.calico nud permanent
neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev up0 nud permanent
neighbour add proxy 192.0.2.9 dev vxlan.calico
nexthop add id 7 via 192.0.2.7 dev up0
nexthop add id 8 via 192.0.2.8 dev up0 onlink
nexthop add id 9 group 7,4/8,200
nexthop add id 10 blackhole
nexthop add id 11 via 2001:db8::7 dev up0
nexthop add id 12 via 192.0.2.3 fdb
route add default via 192.0.2.254
route add blackhole 10.77.0.0/24 proto 179 metric 4294967295
route add 10.77.1.0/24 via 10.77.1.0 dev vxlan.calico onlink proto 179
route add 10.77.2.0/24 proto 179 nexthop via 192.0.2.2 dev up0 weight 1 nexthop via 192.0.2.3 dev up0 weight 5
route add 10.77.3.0/24 via inet6 fe80::2 dev up0 proto 179
route add 10.77.4.0/24 proto bird nexthop via 192.0.2.2 dev up0 nexthop via 10.77.1.0 dev vxlan.calico onlink
route add 10.77.5.0/24 nhid 9
route add 10.77.6.0/24 nhid 10
route add unreachable 10.77.7.0/24 metric 5
route add prohibit 10.77.8.0/24
route add throw 10.77.9.0/24
route add 10.77.10.0/24 via 192.0.2.2 src 192.0.2.1 mtu 1300 advmss 1200
route add 10.77.11.0/24 via 192.0.2.2 tos 0x20
route add 10.77.12.0/24 via 192.0.2.2 table 1000
route add 10.77.13.1 dev up1 scope link
route add default via 2001:db8::254 dev up0 proto ra metric 1024
route add blackhole fd00:77::/64 proto 179 metric 4294967295
route add fd00:77:1::/64 via fd00:77:1:: dev vxlan-v6.calico onlink proto 179 metric 300
route add fd00:77:2::/64 proto 179 metric 300 nexthop via 2001:db8::2 dev up0 weight 1 nexthop via fe80::3 dev up0 weight 5
route add fd00:77:3::/64 nhid 11
route add fd00:77:4::/64 encap ip6 dst 2001:db8::2 src 2001:db8::1 via fe80::9 dev up0 metric 300
route add fd00:77:5::/64 encap ip6 dst 2001:db8::3 dev up0
route add unreachable fd00:77:6::/64 metric 5
route add fd00:77:7::/64 from 2001:db8:1::/64 via 2001:db8::2
route add fd00:77:8::/64 via 2001:db8::2 dev up0 table 1000
rule add from 10.77.0.0/16 lookup 1000 priority 100
rule add fwmark 0x10/0xff iif up0 goto 32766 priority 101
""".strip().splitlines()
FDB = [
    "append 66:00:00:00:01:01 dev vxlan.calico dst 192.0.2.2 self permanent",
    "append 66:00:00:00:01:02 dev vxlan-v6.calico dst 2001:db8::2 self permanent",
    "append 66:00:00:00:01:03 dev vxlan.calico dst 192.0.2.3 port 4799 vni 77 self permanent",
    "append 66:00:00:00:01:04 dev vxlan.calico dst 192.0.2.4 self dynamic",
    "append 02:00:00:00:00:06 dev far1 master static",
]
# What is heard while things change.
CHANGES = """
link set up1 down
link set up1 mtu 1280
link set up1 up
link set up1 name renamed1
link set renamed1 alias noted
link del metadata
address add 192.0.2.77/24 dev up0
address del 192.0.2.77/24 dev up0
address add 2001:db8::77/64 dev up0 nodad
address del 2001:db8::77/64 dev up0
neighbour add 10.77.2.0 lladdr 66:00:00:00:02:01 dev vxlan.calico nud permanent
neighbour del 10.77.2.0 dev vxlan.calico
neighbour add 192.0.2.3 lladdr 02:00:00:00:00:02 dev up0 nud permanent
nexthop add id 20 via 192.0.2.20 dev up0
nexthop replace id 20 via 192.0.2.21 dev up0
nexthop del id 20
nexthop del id 7
route add 10.78.0.0/24 via 192.0.2.2 proto 179
route replace 10.78.0.0/24 via 192.0.2.3 proto 179
route append 10.78.0.0/24 via 192.0.2.4 proto 179
route del 10.78.0.0/24 via 192.0.2.3
route del 10.77.2.0/24
route add fd00:78::/64 via 2001:db8::2 dev up0 proto 179
route append fd00:78::/64 via 2001:db8::3 dev up0 proto 179
route del fd00:78::/64 via 2001:db8::2 dev up0
route del fd00:78::/64
""".strip().splitlines()


def ip(line, version=None):
    words = ["ip"]
    # Families are told by what stands there, but where nothing does.
    if line.startswith("route") and version is None:
        version = "-6" if "fd00:" in line or "2001:" in line.split("dev")[0] else "-4"
    if version:
        words.append(version)
    done = subprocess.run(words + line.split(), stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"left out: ip {line}: {done.stderr.strip()}", file=sys.stderr)


def bridge(line):
    done = subprocess.run(["bridge", "fdb"] + line.split(), stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"left out: bridge fdb {line}: {done.stderr.strip()}", file=sys.stderr)


class Netlink:
    def __init__(self, strict=True, texts=False, groups=()):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.socket.bind((0, 0))
        self.socket.settimeout(2)
        # As dunlin's are.
        self.socket.setsockopt(SOL_NETLINK, CAP_ACK, 1)
        if strict:
            self.socket.setsockopt(SOL_NETLINK, STRICT, 1)
        if texts:
            self.socket.setsockopt(SOL_NETLINK, EXT_ACK, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        for group in groups:
            self.socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)

    def send(self, *requests):
        octets = b""
        for kind, flags, sequence, body in requests:
            octets += struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body
        self.socket.send(octets)

    def read(self, last):
        """Datagrams up to the end of what the request of that number is answered with."""
        datagrams = []
        while True:
            datagram = self.socket.recv(1 << 17)
            datagrams.append(datagram)
            if any(kind in (ERROR, DONE) and sequence == last for kind, sequence in heads(datagram)):
                return datagrams

    def drain(self):
        self.socket.settimeout(0.3)
        datagrams = []
        while True:
            try:
                datagrams.append(self.socket.recv(1 << 17))
            except TimeoutError:
                return datagrams


def heads(datagram):
    at = 0
    while at + 16 <= len(datagram):
        length, kind, _, sequence, _ = struct.unpack_from("=IHHII", datagram, at)
        yield kind, sequence
        at += (length + 3) & ~3


def attribute(kind, value):
    octets = struct.pack("=HH", 4 + len(value), kind) + value
    return octets + bytes(-len(octets) % 4)


NAMES = {2: "error", 3: "done", 16: "new link", 17: "gone link", 20: "new address", 21: "gone address", 24: "new route",
         25: "gone route", 28: "new neighbour", 29: "gone neighbour", 32: "new rule", 80: "new setting",
         81: "gone setting", 104: "new nexthop", 105: "gone nexthop"}


def write(name, told, about, datagrams):
    lines = [f"# provenance: recorded from Linux {platform.release().split('-')[0]} by record.py", f"# told: {told}",
             f"# {about}"]
    for number, datagram in enumerate(datagrams):
        at = 0
        if len(datagrams) > 1:
            lines.append(f"# datagram {number + 1}")
        while at + 16 <= len(datagram):
            length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", datagram, at)
            # The port of whoever asked is another one each time.
            message = bytearray(datagram[at : at + ((length + 3) & ~3)])
            message[12:16] = bytes(4)
            lines.append(f"# {NAMES.get(kind, kind)}, {length} octets, flags {flags:#x}, number {sequence}")
            for start in range(0, len(message), 32):
                lines.append(message[start : start + 32].hex(" "))
            at += len(message)
    with open(os.path.join(HERE, f"{name}.hex"), "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")


def dumps():
    mask = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attribute(29, struct.pack("=I", 8))
    table = attribute(15, struct.pack("=I", 254))
    stages = [
        ("links", 18, mask, "links: veth, bridge and its port, VXLAN over IPv4, over IPv6, by the route"),
        ("addresses", 22, bytes(8), "addresses, one of them of a point-to-point link"),
        ("neighbours", 30, bytes(12), "neighbours: permanent ones, also of other links, and proxies"),
        ("forwards", 30, bytes([7]) + bytes(11), "FDB: of VXLAN devices, one with a port and a VNI of its own, of a bridge"),
        ("objects", 106, bytes(8), "nexthop objects: a hop, onlink, a group with weights, a blackhole, IPv6, one of the FDB"),
        ("routes4", 26, bytes([2]) + bytes(11) + table, "routes of IPv4 in the main table"),
        ("routes6", 26, bytes([10]) + bytes(11) + table, "routes of IPv6 in the main table"),
    ]
    channel = Netlink()
    for number, (name, kind, body, about) in enumerate(stages, 1):
        channel.send((kind, REQUEST | DUMP, number, body))
        write(name, "dump", about, channel.read(number))
    channel.send((34, REQUEST | DUMP, 8, bytes(12)))
    write("rules", "stray", "rules, which nobody asks for here", channel.read(8))


def route(prefix, length, *attributes):
    octets = socket.inet_pton(socket.AF_INET, prefix)
    head = struct.pack("=BBBBBBBBI", 2, length, 0, 0, 254, 179, 0, 1, 0)
    return head + attribute(1, octets) + b"".join(attributes)


def results():
    via = attribute(5, socket.inet_aton("192.0.2.2"))
    nowhere = attribute(5, socket.inet_aton("203.0.113.9"))
    good, add = ACK | REQUEST, CREATE | EXCL
    batch = [
        (24, REQUEST | add, 11, route("10.79.0.0", 24, via)),
        (24, REQUEST | add, 12, route("10.79.0.0", 24, via)),
        (24, REQUEST | add, 13, route("10.79.1.0", 24, nowhere)),
        (24, REQUEST | add, 14, route("10.79.2.0", 24, via)),
        (25, good, 15, route("10.79.2.0", 24, via)),
    ]
    channel = Netlink()
    channel.send(*batch)
    write("results", "results 11 12 13 14 15", "a batch: only errors are told, and the last request", channel.read(15))
    channel = Netlink(texts=True)
    channel.send((24, good | add, 16, route("10.79.3.0", 33, via)))
    channel.send((24, good | add, 17, route("10.79.4.0", 24, nowhere)))
    channel.send((24, good | add, 18, route("10.79.4.0", 24, via, attribute(99, b"abc"))))
    datagrams = channel.read(16) + channel.read(17) + channel.read(18)
    write("results-with-texts", "results 16 17 18", "errors with the kernel's own words on them", datagrams)
    channel = Netlink()
    table = attribute(15, struct.pack("=I", 4242))
    channel.send((26, REQUEST | DUMP, 1, bytes([2]) + bytes(11) + table))
    write("no-table", "dump alone", "a dump of a table that is not there: an error at its end", channel.read(1))
    channel.send((26, REQUEST | DUMP, 1, bytes([2, 24]) + bytes(10)))
    write("refused-dump", "dump alone", "a dump that the kernel refuses", channel.read(1))


def questions():
    channel = Netlink(strict=False)
    for name, family, to in [("answer4", socket.AF_INET, "10.77.2.9"), ("answer6", socket.AF_INET6, "fd00:77:2::9"),
                             ("answer-none", socket.AF_INET, "10.77.7.9")]:
        octets = socket.inet_pton(family, to)
        head = struct.pack("=BBBBBBBBI", family, len(octets) * 8, 0, 0, 0, 0, 0, 0, 0x3000)
        channel.send((26, REQUEST, 21, head + attribute(1, octets)))
        write(name, "question", f"which route takes a packet to {to}", [channel.socket.recv(1 << 17)])


def main():
    if len(socket.if_nameindex()) > 1:
        sys.exit("run me in a network namespace of its own: unshare -n python3 " + sys.argv[0])
    for line in WORLD:
        ip(line)
    for line in FDB:
        bridge(line)
    dumps()
    results()
    questions()
    news = Netlink(groups=GROUPS.values())
    for line in CHANGES:
        ip(line)
    for path in ["ipv4/conf/up0/forwarding", "ipv4/conf/up0/rp_filter", "ipv6/conf/up0/forwarding"]:
        with open(f"/proc/sys/net/{path}", "w", encoding="ascii") as file:
            file.write("1")
    write("news", "news", "notifications while links, addresses, neighbours, objects, routes and settings change",
          news.drain())


main()
