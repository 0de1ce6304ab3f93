"""A name server for one zone, whose answers the test changes as it goes."""
import queue
import socket
import struct
import threading

from . import ports

A, AAAA, CNAME, SRV = 1, 28, 5, 33


class NameServer:
    def __init__(self, port=None):
        self.port = port or ports.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.records, self.codes = {}, {}   # name -> (addresses, ttl); name -> response code
        self.services = {}                  # name -> ([(priority, weight, port, host)], ttl)
        self.asked = queue.Queue()          # names, as they are asked for
        self.silent = False
        self.may_answer = threading.Event()  # cleared: answers wait
        self.may_answer.set()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", self.port))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def set(self, name, *addresses, ttl=1):
        self.codes.pop(name, None)
        self.records[name] = (addresses, ttl)

    def set_srv(self, name, *records, ttl=1):
        """Each record is (priority, weight, port, host)."""
        self.codes.pop(name, None)
        self.services[name] = (records, ttl)

    def fail(self, name, code=2):
        self.codes[name] = code

    def _serve(self):
        while True:
            query, peer = self.sock.recvfrom(4096)
            if not query:
                return
            at, labels = 12, []
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
                at += 1 + query[at]
            name, kind = ".".join(labels), struct.unpack("!H", query[at + 1 : at + 3])[0]
            if kind in (A, SRV):
                self.asked.put(name)
            self.may_answer.wait()
            if not self.silent:
                self.sock.sendto(self._answer(query[:2], query[12 : at + 5], name, kind), peer)

    def _answer(self, number, question, name, kind):
        code = self.codes.get(name, 0 if name in self.records or name in self.services else 3)
        if kind == SRV:
            records, ttl = self.services.get(name, ((), 1))
            packed = [] if code else [struct.pack("!HHH", *r[:3]) + b"".join(bytes([len(l)]) + l.encode() for l in [*r[3].split("."), ""]) for r in records]
            return self._message(number, code, question, kind, ttl, packed)
        addresses, ttl = self.records.get(name, ((), 1))
        family = socket.AF_INET if kind == A else socket.AF_INET6
        packed = [socket.inet_pton(family, a) for a in addresses if (":" in a) == (kind == AAAA)] if kind in (A, AAAA) and not code else []
        return self._message(number, code, question, kind, ttl, packed)

    @staticmethod
    def _message(number, code, question, kind, ttl, packed):
        answers = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(p)) + p for p in packed)
        return number + struct.pack("!HHHHH", 0x8580 | code, 1, len(packed), 0, 0) + question + answers

    def stop(self):
        self.may_answer.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join(5)
        self.sock.close()
