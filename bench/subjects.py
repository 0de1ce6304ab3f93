"""The programs under test, their configurations and command lines.

Each is set up as a good operator would for this job, and all for the same job: one worker, HTTP/1.1
and kept connections on both sides, no access log, no limit on how many requests a connection may
carry, the same four request fields added.

The buffer settings of nginx are the fastest of those tried, for bodies as well as for uploads; its
defaults take two to four times as long. "haproxy" leaves splicing to its own judgement (option
splice-auto), as its manual advises; "haproxy-splice" forces it and is shown beside it where there
are bodies.
"""

import os
import shutil
from dataclasses import dataclass, field

# What each proxy adds to a request; run.py looks at what reaches the origin and says so when
# the sets differ.
ADDED_FIELDS = frozenset({"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "via"})

CONNECTIONS_MAX = 16384

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
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
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
            proxy_set_header Via "1.1 nginx";
        }}
    }}
}}
"""

HAPROXY = """\
global
    nbthread 1
    maxconn {connections}

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
    bind 127.0.0.1:{port} backlog 4096
    maxconn {connections}
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header Via "1.1 haproxy"
    default_backend app

backend app
    server app1 127.0.0.1:{origin}
"""

MAITRED = """\
workers: 1
access_log: off
listeners: [ {{ address: 127.0.0.1:{port} }} ]
upstreams:
  app: {{ targets: [ 127.0.0.1:{origin} ] }}
routes:
  - match: {{ prefix: / }}
    proxy: {{ upstream: app }}
"""

MAITRED_ROUTE = """\
  - match: {{ path: "/svc{number:05d}/users/{{id}}" }}
    proxy: {{ upstream: app }}
"""


@dataclass(frozen=True)
class Places:
    """What a command line is made of."""

    directory: str
    port: int
    origin: int
    files: int


@dataclass
class Subject:
    """One program under test."""

    name: str
    program: str
    command: callable = field(repr=False)
    version_args: tuple = ()
    missing: str = ""


def write_config(places, name, text):
    """Write a configuration that a program without privileges may read; returns its path."""
    path = os.path.join(places.directory, name)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
    return path


def nginx_command(program, places, _routes):
    text = NGINX.format(directory=places.directory, files=places.files, connections=CONNECTIONS_MAX,
                        origin=places.origin, port=places.port, user="user root;" if os.geteuid() == 0 else "")
    config = write_config(places, "nginx.conf", text)
    return [program, "-p", places.directory, "-e", "stderr", "-c", config]


def haproxy_config(places, splice):
    # It refuses to start without descriptors for two sockets a connection and a pipe for every fourth.
    connections = min(CONNECTIONS_MAX, (places.files - 200) // 3)
    return HAPROXY.format(connections=connections, port=places.port, origin=places.origin, splice=splice)


def haproxy_command(program, places, _routes):
    text = haproxy_config(places, "option splice-auto")
    return [program, "-db", "-f", write_config(places, "haproxy.cfg", text)]


def haproxy_splice_command(program, places, _routes):
    text = haproxy_config(places, "option splice-request\n    option splice-response")
    return [program, "-db", "-f", write_config(places, "haproxy_splice.cfg", text)]


def maitred_command(program, places, routes):
    text = MAITRED.format(port=places.port, origin=places.origin)
    text += "".join(MAITRED_ROUTE.format(number=number) for number in range(routes))
    return [program, "run", "-c", write_config(places, "maitred.yaml", text)]


def relay_command(program, places, _routes):
    return [program, f"127.0.0.1:{places.port}", f"127.0.0.1:{places.origin}"]


def splice_command(program, places, _routes):
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
        Subject("relay", relay, relay_command),
        Subject("relay-splice", relay, splice_command),
    ]
    return {subject.name: subject for subject in subjects}


def is_present(subject):
    return os.path.isfile(subject.program) and os.access(subject.program, os.X_OK)
