"""gRPC for tests: a service of python3-grpcio without generated code, and channels to it through the gateway.

A method is a function of (request or requests, context); messages are bytes.  Every service has the methods of METHODS.
"""
import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # gateways are started with calls open

import json
import threading
from concurrent import futures

import grpc

from . import ports

WAIT = 10  # seconds: for what is sure to come


class CallService:
    """Answers as `/test.Service/<method>`; what arrived stands in `calls`: (method, metadata, seconds left or None)."""

    def __init__(self, name="service", port=None, certificate=None, **methods):
        self.name, self.calls, self.lock, self.faults = name, [], threading.Lock(), []
        self.cancelled, self.began, self.go = threading.Event(), threading.Event(), threading.Event()
        self.methods = {
            "Say": grpc.unary_unary_rpc_method_handler(self.say),
            "Upload": grpc.stream_unary_rpc_method_handler(self.upload),
            "Download": grpc.unary_stream_rpc_method_handler(self.download),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "HangOpen": grpc.stream_stream_rpc_method_handler(self.hang_open),
        }
        self.methods.update(methods)
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=32),
                                  options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
        handlers = {n: self._recorded(n, h) for n, h in self.methods.items()}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
        self.port = port or ports.free_port()
        self.address = f"127.0.0.1:{self.port}"
        if certificate:
            pair = certificate.key.read_bytes(), certificate.cert.read_bytes()
            assert self.server.add_secure_port(self.address, grpc.ssl_server_credentials([pair])) == self.port
        else:
            assert self.server.add_insecure_port(self.address) == self.port
        self.server.start()

    def _recorded(self, name, handler):
        def note(inner):
            def outer(request, context):
                with self.lock:
                    left = context.time_remaining()
                    self.calls.append((name, dict(context.invocation_metadata()), left if left is None or left < 1e6 else None))
                return inner(request, context)

            return outer

        kinds = {"unary_unary": grpc.unary_unary_rpc_method_handler, "stream_unary": grpc.stream_unary_rpc_method_handler,
                 "unary_stream": grpc.unary_stream_rpc_method_handler, "stream_stream": grpc.stream_stream_rpc_method_handler}
        for kind, make in kinds.items():
            if getattr(handler, kind):
                return make(note(getattr(handler, kind)))
        raise AssertionError(name)

    # ---- the four kinds ----

    def say(self, request, context):
        context.send_initial_metadata((("x-initial", "one"), ("x-initial-bin", b"\0\xff")))
        context.set_trailing_metadata((("x-last", "two"), ("x-last-bin", b"\1\2"), ("x-name", self.name)))
        return b"you said " + request

    def upload(self, requests, context):
        return b"+".join(requests)

    def download(self, request, context):
        count, size = json.loads(request)
        for i in range(count):
            yield bytes([i % 256]) * size

    def chat(self, requests, context):
        for request in requests:
            yield b"you said " + request

    # ---- what goes wrong ----

    def fail(self, request, context):
        """With the status, details and trailing metadata asked for: an answer of trailers alone."""
        code, details, metadata = json.loads(request)
        context.set_trailing_metadata(tuple(metadata.items()))
        context.abort(grpc.StatusCode[code], details)

    def fail_late(self, request, context):
        yield b"first"
        context.abort(grpc.StatusCode[request.decode()], "too late")

    def _hang(self, context):
        context.add_callback(self.cancelled.set)
        self.began.set()
        self.cancelled.wait(30)

    def hang(self, request, context):
        self._hang(context)
        return b""

    def hang_open(self, requests, context):
        yield next(requests)
        self._hang(context)

    def stop(self):
        self.server.stop(None).wait(WAIT)


class Channel:
    """A client's: methods by kind, bytes in and out."""

    def __init__(self, port, authority=None, name="a.test"):
        """With an authority: over TLS, to a gateway of that name."""
        options = [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1),
                   ("grpc.enable_http_proxy", 0)]
        if authority:
            trusted = grpc.ssl_channel_credentials(authority.path.read_bytes())
            options.append(("grpc.ssl_target_name_override", name))
            self.channel = grpc.secure_channel(f"127.0.0.1:{port}", trusted, options=options)
        else:
            self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)

    def __getattr__(self, kind):
        """unary_unary("Say") and so on."""
        make = getattr(self.channel, kind)
        return lambda method, service="test.Service": make(f"/{service}/{method}")

    def say(self, request=b"hello", **more):
        return self.unary_unary("Say")(request, timeout=more.pop("timeout", WAIT), **more)

    def error(self, method="Say", request=b"hello", timeout=WAIT, service="test.Service", **more):
        """The RpcError of a unary call that has to fail."""
        try:
            answer = self.unary_unary(method, service)(request, timeout=timeout, **more)
        except grpc.RpcError as error:
            return error
        raise AssertionError(f"answered {answer!r}")

    def close(self):
        self.channel.close()
