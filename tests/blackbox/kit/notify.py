"""The service manager's end of the notification socket."""
import os
import socket


class NotifySocket:
    def __init__(self, path):
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        os.chmod(path, 0o777)
        self.seen = []

    def next(self, timeout=20):
        """The next message as a dict."""
        self.sock.settimeout(timeout)
        text = self.sock.recv(4096).decode()
        message = dict(line.split("=", 1) for line in text.splitlines())
        self.seen.append(message)
        return message

    def wait_for(self, name, timeout=20):
        while True:
            message = self.next(timeout)
            if name in message:
                return message

    def close(self):
        self.sock.close()
