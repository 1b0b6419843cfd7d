"""local.py - a local user at the control socket: connects, and is slow, or has never enough.

local.py ATTACK PATH [--kind dunlin|bird|frr] [--user N] [--group N] [--seconds N] [--count N]

  silent   COUNT connections that say nothing
  half     COUNT connections with half a request
  deaf     COUNT connections that ask again and again and read nothing
  endless  COUNT connections with a request that does not end
  flood    connections one after the other, each with a question, until time is up
  order    one connection that gives an order; "taken" says whether it was

It becomes the user and group first, so that it is nobody special. Bounded by SECONDS (5) and COUNT (100, at most 1000).
The last line is JSON: connected, refused (let go or turned away), answered.
"""

import argparse
import json
import os
import select
import socket
import time

QUESTIONS = {
    "dunlin": b'{"command":"peers","name":null}\n',
    "bird": b"show protocols all\n",
    "frr": b"show bgp neighbors json\0",
}
# Words, and what the answer has where they are obeyed. BIRD says "disabled"; FRR's ends with its return code.
ORDERS = {
    "bird": [(b"disable attacker\n", b": disabled")],
    "frr": [(b"enable\0", b"\0\0\0\0"), (b"clear bgp 172.31.0.3\0", b"\0\0\0\0")],
}


def connect(path, patience=1.0):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.settimeout(patience)
    one.connect(path)
    return one


def hold(words, arguments, told):
    """Connections that stay, each with what it says first; those that are let go are made again."""
    held = []
    until = time.monotonic() + arguments.seconds
    while time.monotonic() < until:
        while len(held) < arguments.count and time.monotonic() < until:
            try:
                one = connect(arguments.path)
            except OSError:
                told["refused"] += 1
                break
            told["connected"] += 1
            one.setblocking(False)
            held.append(one)
            try:
                one.send(words)
            except OSError:
                pass
        # Who was let go sees the end; the deaf look for nothing else.
        seen = select.poll()
        for one in held:
            seen.register(one, select.POLLRDHUP)
        gone = {fd for fd, event in seen.poll(50) if event & (select.POLLRDHUP | select.POLLHUP)}
        told["refused"] += len(gone)
        for one in [one for one in held if one.fileno() in gone]:
            held.remove(one)
            one.close()


def flood(arguments, told):
    until = time.monotonic() + arguments.seconds
    while time.monotonic() < until:
        try:
            one = connect(arguments.path)
            told["connected"] += 1
            greeting = arguments.kind == "bird" and one.recv(65536)
            one.sendall(QUESTIONS[arguments.kind])
            answer = one.recv(65536) if greeting != b"" else b""
            told["answered" if answer and b'"failed"' not in answer else "refused"] += 1
            one.close()
        except OSError:
            told["refused"] += 1


def order(arguments, told):
    one = connect(arguments.path)
    for words, obeyed in ORDERS[arguments.kind]:
        one.sendall(words)
        said = b""
        try:
            while obeyed not in said:
                data = one.recv(65536)
                if not data:
                    break
                said += data
        except OSError:
            pass
        told["taken"], told["said"] = obeyed in said, said.decode(errors="replace")[-100:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("attack", choices=["silent", "half", "deaf", "endless", "flood", "order"])
    parser.add_argument("path")
    parser.add_argument("--kind", choices=sorted(QUESTIONS), default="dunlin")
    parser.add_argument("--user", type=int)
    parser.add_argument("--group", type=int)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--count", type=int, default=100)
    arguments = parser.parse_args()
    arguments.count = min(arguments.count, 1000)
    arguments.seconds = min(arguments.seconds, 60)
    if arguments.group is not None:
        os.setgroups([])
        os.setgid(arguments.group)
    if arguments.user is not None:
        os.setuid(arguments.user)
    told = {"connected": 0, "refused": 0, "answered": 0}
    question = QUESTIONS[arguments.kind]
    words = {"silent": b"", "half": question[:11], "deaf": question * 1000, "endless": b"x" * 200000}
    if arguments.attack == "flood":
        flood(arguments, told)
    elif arguments.attack == "order":
        order(arguments, told)
    else:
        hold(words[arguments.attack], arguments, told)
    print(json.dumps(told))


main()
