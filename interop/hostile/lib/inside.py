#!/usr/bin/env python3
"""inside.py try PID OTHER | strip PID - what somebody could do who has taken a daemon over.

try: the daemon is made to fork (ptrace), and its child, which may all that the daemon may, makes the system calls
of an attacker; the daemon itself goes on. What each attempt came to is told as JSON, by name: "done", or the error.
OTHER is a process that is none of the daemon's.
strip: all threads of the daemon give up all capabilities, as if the kernel had taken them away.

x86-64 only, as root.
"""
import ctypes
import errno
import json
import os
import signal
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
CONT, KILL, SINGLESTEP, ATTACH, DETACH = 7, 8, 9, 16, 17
SETOPTIONS, GETEVENTMSG, GETREGS, SETREGS = 0x4200, 0x4201, 12, 13
TRACEFORK, EXITKILL = 2, 0x100000
WALL = 0x40000000


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in (
        "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs"
    ).split()]


def ptrace(what, pid, address=0, data=0):
    if libc.ptrace(what, pid, address, data) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"ptrace {what}: {os.strerror(code)}")


def stopped(pid):
    _, status = os.waitpid(pid, WALL)
    if not os.WIFSTOPPED(status):
        raise SystemExit(f"{pid} has ended: {status}")
    return status


def attach(pid):
    ptrace(ATTACH, pid)
    while os.WSTOPSIG(stopped(pid)) != signal.SIGSTOP:
        ptrace(CONT, pid)


def registers(pid):
    found = Registers()
    ptrace(GETREGS, pid, 0, ctypes.addressof(found))
    return found


def gadget(pid):
    """Where a `syscall` instruction stands."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            if "x" not in mode or "vsyscall" in line:
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            memory.seek(begin)
            at = memory.read(end - begin).find(b"\x0f\x05")
            if at >= 0:
                return begin + at
    raise SystemExit("there is no syscall instruction")


class Puppet:
    """A stopped thread that makes system calls for us."""

    def __init__(self, pid, at):
        self.pid, self.at, self.before = pid, at, registers(pid)

    def write(self, data):
        """Puts octets below the stack, more of them further down."""
        self.low = (getattr(self, "low", self.before.rsp - 4096) - len(data) - 16) & ~15
        with open(f"/proc/{self.pid}/mem", "r+b", 0) as memory:
            memory.seek(self.low)
            memory.write(data)
        return self.low

    def text(self, text):
        return self.write(text.encode() + b"\0")

    def call(self, number, *arguments):
        now = Registers.from_buffer_copy(self.before)
        now.rax, now.orig_rax, now.rip = number, 2**64 - 1, self.at
        for name, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments):
            setattr(now, name, value % 2**64)
        ptrace(SETREGS, self.pid, 0, ctypes.addressof(now))
        ptrace(SINGLESTEP, self.pid)
        status = stopped(self.pid)
        self.event = status >> 16
        if self.event:
            message = ctypes.c_ulong()
            ptrace(GETEVENTMSG, self.pid, 0, ctypes.addressof(message))
            self.message = message.value
            ptrace(SINGLESTEP, self.pid)
            stopped(self.pid)
        return ctypes.c_longlong(registers(self.pid).rax).value

    def release(self):
        ptrace(SETREGS, self.pid, 0, ctypes.addressof(self.before))
        ptrace(DETACH, self.pid)


def words(result):
    return "done" if result >= 0 else errno.errorcode.get(-result, str(-result))


def passed(result, *meant):
    """A call with nonsense in it was let through if the nonsense is what it complains of."""
    return "done" if result >= 0 or -result in meant else words(result)


def attempts(child, other):
    here = -100
    yield "read /etc/shadow", words(child.call(257, here, child.text("/etc/shadow"), 0, 0))
    mark = f"/tmp/dunlin-hostile-{os.getpid()}"
    yield "write a file in /tmp", words(child.call(257, here, child.text(mark), 0o101, 0o600))
    if os.path.exists(mark):
        os.unlink(mark)
    yield "have the kernel run a program at the next crash", words(
        child.call(257, here, child.text("/proc/sys/kernel/core_pattern"), 1, 0))
    yield "be root", words(child.call(105, 0))
    yield "trace another process", words(child.call(101, 0x4206, other, 0, 0))
    yield "end another process", words(child.call(62, other, 0))
    tmpfs = child.text("tmpfs")
    yield "mount", words(child.call(165, tmpfs, child.text("/mnt"), tmpfs, 0, 0))
    yield "load a module", passed(child.call(175, 0, 0, child.text("")), errno.EFAULT, errno.ENOEXEC)
    yield "load a BPF program", passed(child.call(321, 5, child.write(bytes(64)), 64), errno.EINVAL, errno.EFAULT, errno.E2BIG)
    host = child.call(257, here, child.text("/proc/1/ns/net"), 0, 0)
    yield "enter the host's network", words(child.call(308, host, 0x40000000) if host >= 0 else host)
    yield "see all packets", words(child.call(41, 17, 3, 0x0300))
    # After it nothing of the host is its own any more.
    yield "make a user namespace", words(child.call(272, 0x10000000))
    shell = child.text("/bin/sh")
    argv = child.write(struct.pack("4Q", shell, child.text("-c"), child.text("exit 77"), 0))
    yield "run a shell", words(child.call(59, shell, argv, child.write(bytes(8))))


def try_all(pid, other):
    at = gadget(pid)
    attach(pid)
    ptrace(SETOPTIONS, pid, 0, TRACEFORK)
    daemon = Puppet(pid, at)
    forked = daemon.call(56, signal.SIGCHLD, 0, 0, 0, 0)
    daemon.release()
    if forked < 0:
        return {"fork": words(forked)}
    # Its number where we are may be another one than in the daemon's namespace.
    child = daemon.message
    stopped(child)
    ptrace(SETOPTIONS, child, 0, EXITKILL)
    result = dict(attempts(Puppet(child, at), other))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, WALL)
    return result


def strip(pid):
    at = gadget(pid)
    told = {}
    for thread in map(int, os.listdir(f"/proc/{pid}/task")):
        attach(thread)
        puppet = Puppet(thread, at)
        header = puppet.write(struct.pack("Ii", 0x20080522, 0))
        told[str(thread)] = words(puppet.call(126, header, puppet.write(bytes(24))))
        puppet.release()
    return told


if __name__ == "__main__":
    what, numbers = sys.argv[1], [int(word) for word in sys.argv[2:]]
    print(json.dumps(try_all(*numbers) if what == "try" else strip(*numbers)))
