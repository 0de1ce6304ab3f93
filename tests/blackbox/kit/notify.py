"""The service manager's end of the notification socket."""
import os
import queue
import socket
import threading


class NotifySocket:
    """Reads all the time, as a service manager does: the queue of a datagram socket is short."""

    def __init__(self, path):
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        os.chmod(path, 0o777)
        self.arrived, self.seen = queue.Queue(), []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while True:
            text = self.sock.recv(4096).decode()
            if not text:
                return
            self.arrived.put(dict(line.split("=", 1) for line in text.splitlines()))

    def next(self, timeout=20):
        """The next message as a dict."""
        try:
            message = self.arrived.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"no notification in {timeout} s") from None
        self.seen.append(message)
        return message

    def wait_for(self, name, timeout=20):
        while True:
            message = self.next(timeout)
            if name in message:
                return message

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.path)
        self.thread.join(5)
        self.sock.close()
