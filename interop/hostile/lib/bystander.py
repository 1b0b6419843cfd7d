"""bystander.py - an honest peer beside an attack: it keeps one session and counts what the attack cost it.

It dials (or with --listen only answers), announces --net, answers keepalives, and tries again once a second where
it has lost its session. It rewrites FILE after each change: {"up": now, "sessions": so many so far, "lost": so many
ended, "why": how the last one did, "worst_gap_s": the longest silence of the other end while up, "waited_s": from its
start to the first session}. It ends at SIGTERM, with a NOTIFICATION, or without a word at SIGKILL.
"""

import argparse
import json
import os
import signal
import socket
import sys
import time

import bgp


class Bystander:
    def __init__(self, args):
        self.args, self.started = args, time.monotonic()
        self.state = {"up": False, "sessions": 0, "lost": 0, "why": "", "worst_gap_s": 0.0, "waited_s": None}
        self.written = 0.0
        self.listener = self.listen() if args.listen else None

    def listen(self):
        family = socket.AF_INET6 if ":" in self.args.source else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.args.source, self.args.port))
        sock.listen(16)
        return sock

    def tell(self, **changes):
        self.state.update(changes)
        with open(self.args.file + ".new", "w", encoding="ascii") as file:
            json.dump(self.state, file)
        os.replace(self.args.file + ".new", self.args.file)
        self.written = time.monotonic()

    def connect(self):
        if not self.listener:
            return bgp.Stream.dial(self.args.source, self.args.target, self.args.port)
        sock, _ = self.listener.accept()
        return bgp.Stream(sock)

    def hello(self):
        a = self.args
        families = [int(afi) for afi in a.families.split(",")]
        restart = None if a.no_restart else 120
        return bgp.open_message(a.asn, a.router_id, a.hold, families, restart=restart)

    def serve(self, stream):
        a = self.args
        # With two connections at once the first OPEN decides nothing: the end of it is told below.
        outcome = bgp.session(stream, self.hello(), timeout=5.0)
        if outcome != "established":
            raise EOFError(outcome)
        waited = self.state["waited_s"]
        if waited is None:
            waited = round(time.monotonic() - self.started, 3)
        self.tell(up=True, sessions=self.state["sessions"] + 1, waited_s=waited)
        path, pref = ([], 100) if a.internal else ([a.asn], None)
        stream.send(bgp.update([a.net], a.source, path, pref) + bgp.END_OF_RIB)
        heard = time.monotonic()
        due = heard
        while True:
            now = time.monotonic()
            if now >= due:
                stream.send(bgp.message(bgp.KEEPALIVE))
                due = now + a.hold / 3
            got = stream.read(min(due - now, 0.2))
            now = time.monotonic()
            if now - heard > self.state["worst_gap_s"]:
                self.state["worst_gap_s"] = round(now - heard, 3)
            if now - self.written > 0.5:
                self.tell()
            if got is None:
                if now - heard > a.hold:
                    raise EOFError("silent for the hold time")
                continue
            heard = now
            if got[0] == bgp.NOTIFICATION:
                raise EOFError(f"NOTIFICATION {got[1][0]}/{got[1][1]}")

    def run(self):
        self.tell()
        while True:
            stream, why = None, ""
            try:
                stream = self.connect()
                self.serve(stream)
            except EOFError as error:
                why = str(error) or "closed"
            except OSError as error:
                why = type(error).__name__
            if stream:
                stream.close()
            if self.state["up"]:
                self.tell(up=False, lost=self.state["lost"] + 1, why=why)
            else:
                self.tell(why=why)
            if not self.listener:
                time.sleep(1.0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", default="")
    parser.add_argument("--port", type=int, default=179)
    parser.add_argument("--listen", action="store_true")
    parser.add_argument("--asn", type=int, default=65001)
    parser.add_argument("--router-id", default="172.31.0.2")
    parser.add_argument("--hold", type=int, default=9)
    parser.add_argument("--families", default="1")
    parser.add_argument("--net", default="10.244.2.0/26")
    parser.add_argument("--internal", action="store_true")
    parser.add_argument("--no-restart", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Bystander(args).run()


if __name__ == "__main__":
    main()
