"""watch.py - looks at a daemon under attack: how long its control socket takes to answer, what it weighs, and
whether a route that nobody may announce is in its kernel.

watch.py KIND FILE NAMESPACE CONTROL FOREIGN... - KIND is dunlin, bird or frr; FOREIGN are prefixes that no route may
lie in. It asks every 50 ms over one connection, in the daemon's own protocol (an answer may take 10 s; one that is
still waited for counts as long as it has taken), and looks at memory and routes every 250 ms. FILE is rewritten at each
look; SIGTERM ends it. The daemon's pids are found anew at each look, so a daemon that died is seen ("gone").
"""

import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

INTERVAL, LOOK = 0.05, 0.25
NAMES = {"dunlin": ("dunlin",), "bird": ("bird",), "frr": ("bgpd", "zebra")}


class Control:
    """One connection in the daemon's own protocol."""

    def __init__(self, kind, path):
        self.kind = kind
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(path)
        self.rest = b""
        if kind == "bird":
            self.until(b"\n", lambda line: line.startswith(b"0001"))

    def until(self, end, last):
        while True:
            while end in self.rest:
                one, self.rest = self.rest.split(end, 1)
                if last(one):
                    return
            data = self.sock.recv(65536)
            if not data:
                raise OSError("closed")
            self.rest += data

    def ask(self):
        if self.kind == "dunlin":
            self.sock.sendall(b'{"command":"status"}\n')
            self.until(b"\n", lambda _: True)
        elif self.kind == "bird":
            self.sock.sendall(b"show status\n")
            # The last line of an answer has a blank behind its code, the others a hyphen.
            self.until(b"\n", lambda line: line[:4].isdigit() and line[4:5] == b" " and line[:1] != b"1")
        else:
            self.sock.sendall(b"show bgp summary json\0")
            # An answer ends with three zeros and the return code.
            self.until(b"\0\0\0", lambda _: True)
            while not self.rest:
                self.rest = self.sock.recv(65536)
            self.rest = self.rest[1:]


class Watch:
    def __init__(self, kind, file, namespace, control, foreign):
        self.kind, self.file, self.namespace, self.control = kind, file, namespace, control
        self.foreign = [ipaddress.ip_network(one) for one in foreign]
        self.lock, self.asking = threading.Lock(), None
        self.of_late = []
        self.state = {"answers": 0, "worst_ms": 0.0, "unanswered": 0, "rss_kb": 0, "rss_first_kb": 0,
                      "rss_worst_kb": 0, "looks": 0, "foreign": 0, "seen": "", "gone": 0}

    def ask_again_and_again(self):
        control = None
        while True:
            begun = time.monotonic()
            with self.lock:
                self.asking = begun
            try:
                control = control or Control(self.kind, self.control)
                control.ask()
                with self.lock:
                    self.state["answers"] += 1
                    self.worst(begun)
            except OSError:
                control = None
                with self.lock:
                    self.state["unanswered"] += 1
                    self.worst(begun)
            with self.lock:
                self.asking = None
            time.sleep(max(0.0, INTERVAL - (time.monotonic() - begun)))

    def worst(self, begun):
        took = (time.monotonic() - begun) * 1000
        self.state["worst_ms"] = max(self.state["worst_ms"], round(took, 1))

    def weight(self):
        pids = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
        total = 0
        for pid in pids.stdout.split():
            try:
                with open(f"/proc/{pid}/comm", encoding="ascii") as comm:
                    if comm.read().strip() not in NAMES[self.kind]:
                        continue
                with open(f"/proc/{pid}/status", encoding="ascii") as status:
                    total += sum(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
            except OSError:
                pass
        return total

    def foreign_routes(self):
        """Only what lies in them is read: to parse a whole table would keep the thread that asks waiting."""
        found = []
        for one in self.foreign:
            command = ["ip", "-n", self.namespace, "-4" if one.version == 4 else "-6", "-j",
                       "route", "show", "table", "all", "root", str(one)]
            routes = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            found += [route["dst"] for route in json.loads(routes or "[]") if route["dst"] != "default"]
        return found

    def look(self):
        rss, foreign = self.weight(), self.foreign_routes()
        with self.lock:
            s = self.state
            if self.asking is not None:
                self.worst(self.asking)
            # The most of a second: what is light for a moment is not light.
            self.of_late = [*self.of_late[-3:], rss]
            s["rss_kb"] = max(self.of_late)
            s["rss_first_kb"] = s["rss_first_kb"] or rss
            s["rss_worst_kb"] = max(s["rss_worst_kb"], rss)
            s["looks"] += 1
            s["gone"] += rss == 0
            s["foreign"] += bool(foreign)
            s["seen"] = s["seen"] or ", ".join(foreign[:3])
            text = json.dumps(s)
        with open(self.file + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.replace(self.file + ".new", self.file)

    def run(self):
        threading.Thread(target=self.ask_again_and_again, daemon=True).start()
        while True:
            begun = time.monotonic()
            self.look()
            time.sleep(max(0.0, LOOK - (time.monotonic() - begun)))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Watch(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]).run()
