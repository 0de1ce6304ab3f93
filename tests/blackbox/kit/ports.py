"""Free ports that stay free.

Ports come from below the kernel's ephemeral range, so that no outgoing connection of anybody takes one, in blocks; a block belongs to
the process that holds its lock, an abstract unix socket that goes away with the process.  Parallel runs never meet.
"""
import socket

BLOCK = 400
FIRST, LAST = 11000, 32000


def _lock(first):
    """The lock of the ports from there on, or None when somebody has it."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(f"\0gateway-test-ports-{first}")
        return lock
    except OSError:
        lock.close()
        return None


class _Block:
    def __init__(self):
        for self.first in range(FIRST, LAST, BLOCK):
            self.lock, self.next = _lock(self.first), self.first
            if self.lock:
                return
        raise RuntimeError("no block of ports is free")

    def take(self):
        for _ in range(BLOCK):
            port = self.next
            self.next = self.first + (self.next + 1 - self.first) % BLOCK
            if _is_free(port):
                return port
        raise RuntimeError("no port is free")


def _is_free(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


_block = None


def free_port():
    global _block
    if _block is None:
        _block = _Block()
    return _block.take()


_low_locks = []


def free_low_port():
    """One that only root may bind; None when none is free."""
    for port in range(1023, 600, -1):
        lock = _lock(port)
        if lock and _is_free(port):
            _low_locks.append(lock)
            return port
        if lock:
            lock.close()
    return None
