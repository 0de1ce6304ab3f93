"""Free ports that stay free.

Ports come from below the kernel's ephemeral range, so that no outgoing connection of anybody takes one, in blocks; a block belongs to
the process that holds its lock, an abstract unix socket that goes away with the process.  Parallel runs never meet.
"""
import socket

BLOCK = 400
FIRST, LAST = 11000, 32000


class _Block:
    def __init__(self):
        for first in range(FIRST, LAST, BLOCK):
            lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                lock.bind(f"\0gateway-test-ports-{first}")
            except OSError:
                lock.close()
                continue
            self.lock, self.first, self.next = lock, first, first
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
