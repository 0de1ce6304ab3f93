"""The programs under test, their configurations and command lines.

Each is set up as a good operator would for this job, and all for the same job: one worker, HTTP/1.1
and kept connections on both sides, no access log, no limit on how many requests a connection may
carry, the same four request fields added. A Setup says what else a case asks for: TLS and HTTP/2
towards the client, and what is spoken to the service.

With TLS all have the same certificate, suites, curve and protocols, versions 1.2 and 1.3, and session
tickets without a session cache, which costs and is of no use here; records are as large as they may be. What was
agreed on is in the report.

The buffer settings of nginx are the fastest of those tried, for bodies as well as for uploads; its
defaults take two to four times as long. "haproxy" leaves splicing to its own judgement (option
splice-auto), as its manual advises; "haproxy-splice" forces it and is shown beside it where there
are bodies.
"""

import os
import shutil
from dataclasses import dataclass, field

import certificates

# What each proxy adds to a request; run.py looks at what reaches the origin and says so when
# the sets differ.
ADDED_FIELDS = frozenset({"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "via"})

CONNECTIONS_MAX = 16384

# All that the load may use is in these: it offers the first suite of each version, and X25519.
SUITES_13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
SUITES_12 = ("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
             "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384")
CURVE = "X25519"

NGINX = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
{user}
pid {directory}/nginx.pid;
error_log stderr error;
events {{
    worker_connections {connections};
    multi_accept on;
}}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    {tls}
    client_body_buffer_size 256k;
    client_body_temp_path {directory}/nginx_body;
    proxy_temp_path {directory}/nginx_proxy;
    fastcgi_temp_path {directory}/nginx_fastcgi;
    uwsgi_temp_path {directory}/nginx_uwsgi;
    scgi_temp_path {directory}/nginx_scgi;
    upstream app {{
        server 127.0.0.1:{origin};
        keepalive 2048;
        keepalive_requests 1000000000;
        keepalive_timeout 300s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096{listen};
        location / {{
            {location}
        }}
    }}
}}
"""

NGINX_TLS = """\
ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers {suites_12};
    ssl_conf_command Ciphersuites {suites_13};
    ssl_ecdh_curve {curve};
    ssl_session_tickets on;
    ssl_session_cache off;
    ssl_buffer_size 16k;"""

NGINX_HTTP1 = """\
proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_buffer_size 128k;
            proxy_buffers 8 128k;
            proxy_busy_buffers_size 256k;
            proxy_max_temp_file_size 0;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header Via "{via} nginx";"""

NGINX_GRPC = """\
grpc_pass grpc://app;
            grpc_set_header Host $http_host;
            grpc_set_header X-Forwarded-For $remote_addr;
            grpc_set_header X-Forwarded-Proto $scheme;
            grpc_set_header X-Forwarded-Host $http_host;
            grpc_set_header Via "{via} nginx";"""

HAPROXY = """\
global
    nbthread 1
    maxconn {connections}
    tune.ssl.cachesize 0
    ssl-default-bind-options ssl-min-ver TLSv1.2
    ssl-default-bind-ciphers {suites_12}
    ssl-default-bind-ciphersuites {suites_13}

defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout http-request 300s
    timeout http-keep-alive 300s
    option http-keep-alive
    {splice}
    http-reuse always

frontend bench
    bind 127.0.0.1:{port} backlog 4096{bind}
    maxconn {connections}
    option forwardfor
    http-request set-header X-Forwarded-Proto {scheme}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header Via "{via} haproxy"
    default_backend app

backend app
    server app1 127.0.0.1:{origin}{server}
"""

MAITRED = """\
workers: 1
access_log: off
listeners: [ {{ address: 127.0.0.1:{port}{listener} }} ]
upstreams:
  app: {{ targets: [ 127.0.0.1:{origin} ]{upstream} }}
routes:
  - match: {{ prefix: / }}
    proxy: {{ upstream: app }}
"""

MAITRED_ROUTE = """\
  - match: {{ path: "/svc{number:05d}/users/{{id}}" }}
    proxy: {{ upstream: app }}
"""


@dataclass(frozen=True)
class Setup:
    """How a proxy is set up for a case."""

    routes: int = 0
    tls: str = ""       # the certificate's kind, "ecdsa" or "rsa"; "": in clear
    h2: bool = False    # the load speaks HTTP/2
    up: str = "h1"      # what the service speaks: h1, h2 (in clear), grpc (unary calls over it)

    def load(self):
        """The options of the load that belong to it."""
        return (("--tls",) if self.tls else ()) + (("--h2",) if self.h2 else ())

    def text(self):
        """For people."""
        down = ("HTTP/2" if self.h2 else "HTTP/1") + (f" over TLS, {self.tls.upper()}" if self.tls else "")
        return f"{down}, {({'h1': 'HTTP/1', 'h2': 'HTTP/2', 'grpc': 'gRPC'})[self.up]} to the service"


@dataclass(frozen=True)
class Places:
    """What a command line is made of."""

    directory: str
    port: int
    origin: int         # the port of the service that the setup asks for
    files: int

    def certificate(self, setup):
        """The file with certificate and key."""
        return certificates.path(self.directory, setup.tls)


@dataclass
class Subject:
    """One program under test."""

    name: str
    program: str
    command: callable = field(repr=False)
    version_args: tuple = ()
    missing: str = ""
    adds_fields: bool = True


def write_config(places, name, text):
    """Write a configuration that a program without privileges may read; returns its path."""
    path = os.path.join(places.directory, name)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
    return path


def via_version(setup):
    """The version that Via names, as the request was received."""
    return "2" if setup.h2 else "1.1"


def nginx_command(program, places, setup):
    tls = NGINX_TLS.format(certificate=places.certificate(setup), suites_12=SUITES_12, suites_13=SUITES_13, curve=CURVE)
    location = (NGINX_GRPC if setup.up == "grpc" else NGINX_HTTP1).format(via=via_version(setup))
    listen = " ssl http2" if setup.tls else " http2" if setup.h2 else ""
    text = NGINX.format(directory=places.directory, files=places.files, connections=CONNECTIONS_MAX,
                        origin=places.origin, port=places.port, user="user root;" if os.geteuid() == 0 else "",
                        tls=tls if setup.tls else "", location=location, listen=listen)
    config = write_config(places, "nginx.conf", text)
    return [program, "-p", places.directory, "-e", "stderr", "-c", config]


def haproxy_config(places, setup, splice):
    # It refuses to start without descriptors for two sockets a connection and a pipe for every fourth.
    connections = min(CONNECTIONS_MAX, (places.files - 200) // 3)
    bind = ""
    if setup.tls:
        bind = f" ssl crt {places.certificate(setup)} alpn h2,http/1.1 curves {CURVE}"
    elif setup.h2:
        bind = " proto h2"
    return HAPROXY.format(connections=connections, port=places.port, origin=places.origin, splice=splice, bind=bind,
                          server="" if setup.up == "h1" else " proto h2", scheme="https" if setup.tls else "http",
                          via=via_version(setup), suites_12=SUITES_12, suites_13=SUITES_13)


def haproxy_command(program, places, setup):
    text = haproxy_config(places, setup, "option splice-auto")
    return [program, "-db", "-f", write_config(places, "haproxy.cfg", text)]


def haproxy_splice_command(program, places, setup):
    text = haproxy_config(places, setup, "option splice-request\n    option splice-response")
    return [program, "-db", "-f", write_config(places, "haproxy_splice.cfg", text)]


def maitred_command(program, places, setup):
    file = places.certificate(setup)
    listener = f", tls: {{ certificates: [ {{ cert: {file}, key: {file} }} ] }}" if setup.tls else ""
    upstream = "" if setup.up == "h1" else ", protocol: h2"
    text = MAITRED.format(port=places.port, origin=places.origin, listener=listener, upstream=upstream)
    text += "".join(MAITRED_ROUTE.format(number=number) for number in range(setup.routes))
    return [program, "run", "-c", write_config(places, "maitred.yaml", text)]


def relay_command(program, places, _setup):
    return [program, f"127.0.0.1:{places.port}", f"127.0.0.1:{places.origin}"]


def splice_command(program, places, _setup):
    return [program, "--splice", f"127.0.0.1:{places.port}", f"127.0.0.1:{places.origin}"]


def find_program(name):
    """A program on the search path or where distributions keep servers."""
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin" + os.pathsep + "/usr/local/sbin"
    return shutil.which(name, path=path) or name


def all_subjects(build, tools):
    """Every subject by its name, present or not."""
    maitred = os.path.join(build, "src", "main", "maitred")
    relay = os.path.join(tools, "bench_relay")
    peer_missing = "not installed: run ./dev setup"
    subjects = [
        Subject("maitred", maitred, maitred_command, ("--version",), f"{maitred} is not built: run ./dev build"),
        Subject("nginx", find_program("nginx"), nginx_command, ("-v",), peer_missing),
        Subject("haproxy", find_program("haproxy"), haproxy_command, ("-v",), peer_missing),
        Subject("haproxy-splice", find_program("haproxy"), haproxy_splice_command, (), peer_missing),
        Subject("relay", relay, relay_command, adds_fields=False),
        Subject("relay-splice", relay, splice_command, adds_fields=False),
    ]
    return {subject.name: subject for subject in subjects}


def is_present(subject):
    return os.path.isfile(subject.program) and os.access(subject.program, os.X_OK)
