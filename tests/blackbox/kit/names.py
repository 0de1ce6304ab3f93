"""A name server for one test: answers A queries from a table, late or never when told to."""
import socket
import struct
import threading

from . import ports


class NameServer:
    def __init__(self, ttl=1):
        self.port, self.ttl = ports.free_port(), ttl
        self.names = {}              # name -> list of IPv4 addresses; a name that is not here does not exist
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", self.port))
        self.stopped = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def _serve(self):
        while True:
            query, peer = self.sock.recvfrom(512)
            if self.stopped:
                return
            self.asked.release()
            self.may_answer.wait()
            self.sock.sendto(self._answer(query), peer)

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        known = self.names.get(".".join(labels).lower())
        addresses = known if known and kind == 1 else []
        head = query[:2] + struct.pack("!HHHHH", 0x8180 | (0 if known else 3), 1, len(addresses), 0, 0)
        records = [struct.pack("!HHHIH", 0xC00C, 1, 1, self.ttl, 4) + socket.inet_aton(a) for a in addresses]
        return head + query[12:at + 5] + b"".join(records)

    def stop(self):
        self.stopped = True
        self.may_answer.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join(5)
        self.sock.close()
