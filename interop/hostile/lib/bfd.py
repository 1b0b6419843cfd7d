"""bfd.py - BFD (RFC 5880, 5881) of octets: an honest end, and packets of somebody who is none. Standard library only.

    bfd.py speak  keeps one session up until SIGTERM, as the honest node does; FILE is rewritten at each change:
                  {"state": now, "ups": so many times up, "downs": so many ended, "why": how the last one did}
    bfd.py forge  packets to --port with --ttl, in every state and with any discriminators, until --seconds are over;
                  the last line says how many

What always holds: forge ends by itself and reads nothing, so it knows no number that it was not told.
"""

import argparse
import itertools
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time

ADMIN_DOWN, DOWN, INIT, UP = range(4)
NAMES = ("AdminDown", "Down", "Init", "Up")
INTERVAL_US, MULTIPLIER = 300_000, 5


def packet(state, mine, yours, final=False, diagnostic=0):
    flags = (state << 6) | (0x10 if final else 0)
    return struct.pack("!BBBBIIIII", 0x20 | diagnostic, flags, MULTIPLIER, 24, mine, yours, INTERVAL_US, INTERVAL_US, 0)


def sender(source, ttl):
    """From a port of those that RFC 5881 gives to single hops."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    for _ in range(100):
        try:
            sock.bind((source, random.randint(49152, 65535)))
            return sock
        except OSError:
            continue
    raise SystemExit(f"no port of {source} is free")


class Speaker:
    def __init__(self, args):
        self.args, self.mine, self.yours = args, random.randint(1, 2**32 - 1), 0
        self.state, self.heard, self.detect = DOWN, 0.0, 5.0
        self.told = {"state": "Down", "ups": 0, "downs": 0, "why": ""}
        family = socket.AF_INET6 if ":" in args.source else socket.AF_INET
        self.ear = socket.socket(family, socket.SOCK_DGRAM)
        self.ear.bind((args.source, 3784))
        self.mouth = sender(args.source, 255)

    def tell(self):
        with open(self.args.file + ".new", "w", encoding="ascii") as file:
            json.dump(self.told, file)
        os.replace(self.args.file + ".new", self.args.file)

    def become(self, state, why=""):
        if state == self.state:
            return
        if state == UP:
            self.told["ups"] += 1
        elif self.state == UP:
            self.told.update(downs=self.told["downs"] + 1, why=why)
        self.state = state
        self.told["state"] = NAMES[state]
        self.tell()

    def say(self, final=False):
        try:
            self.mouth.sendto(packet(self.state, self.mine, self.yours, final), (self.args.target, 3784))
        except OSError:
            pass  # nobody listens there yet

    def hear(self, data, source):
        if source[0] != self.args.target or len(data) < 24:
            return
        _, flags, multiplier, _, theirs, ours, transmit, _, _ = struct.unpack("!BBBBIIIII", data[:24])
        state = flags >> 6
        if ours != self.mine and (ours or state > DOWN):
            return
        self.yours, self.heard = theirs, time.monotonic()
        self.detect = multiplier * max(INTERVAL_US, transmit) / 1e6
        if state == ADMIN_DOWN or (state == DOWN and self.state == UP):
            self.become(DOWN, f"the other end says {NAMES[state]}")
        elif state == DOWN:
            self.become(INIT)
        elif self.state == INIT or (self.state == DOWN and state == INIT):
            self.become(UP)
        if flags & 0x20:
            self.say(final=True)

    def run(self):
        self.tell()
        due = time.monotonic()
        while True:
            now = time.monotonic()
            if self.state != DOWN and now - self.heard > self.detect:
                self.become(DOWN, "silence")
                self.yours = 0
            if now >= due:
                self.say()
                due = now + INTERVAL_US / 1e6 * 0.8
            if select.select([self.ear], [], [], max(0.0, due - now))[0]:
                self.hear(*self.ear.recvfrom(512))


def forge(args):
    """Each state with numbers of nobody: its own is ever another, or ever the same, as if it were somebody; for the
    other end any, or none, which only a beginner leaves out."""
    same = random.randint(1, 2**32 - 1)
    kinds = itertools.cycle(itertools.product((DOWN, INIT, UP, ADMIN_DOWN), (False, True), (False, True)))
    sock, sent, end = sender(args.source, args.ttl), 0, time.monotonic() + args.seconds
    while time.monotonic() < end:
        state, named, ever_another = next(kinds)
        mine, yours = (random.randint(1, 2**32 - 1) if one else other for one, other in ((ever_another, same), (named, 0)))
        try:
            sock.sendto(packet(state, mine, yours, diagnostic=1), (args.target, args.port))
            sent += 1
        except OSError:
            pass  # a port that nobody has is told, once in a while
        time.sleep(1.0 / args.rate)
    json.dump({"packets": sent}, sys.stdout)
    print()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["speak", "forge"])
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--file")
    parser.add_argument("--port", type=int, default=3784)
    parser.add_argument("--ttl", type=int, default=255)
    parser.add_argument("--rate", type=float, default=100.0, help="a second")
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    if args.command == "forge":
        forge(args)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Speaker(args).run()


if __name__ == "__main__":
    main()
