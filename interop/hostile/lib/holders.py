#!/usr/bin/env python3
"""holders.py TARGET PORT FIRST COUNT EACH - connects EACH times from each of COUNT addresses, says nothing, and holds
what it gets for at most a minute."""
import ipaddress
import socket
import sys
import time

target, port, first, count, each = sys.argv[1:6]
held = []
for number in range(int(count)):
    for _ in range(int(each)):
        caller = socket.socket()
        caller.settimeout(2)
        try:
            caller.bind((str(ipaddress.ip_address(first) + number), 0))
            caller.connect((target, int(port)))
            held.append(caller)
        except OSError:
            caller.close()
time.sleep(60)
