"""The program as a command line."""
import json
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import jsonschema
import pytest

from kit import ports
from kit.certificates import Authority
from kit.gateway import BINARY, ROOT, Gateway, run, wait_until
from kit.wire import connect

COMMANDS = ("run", "check", "proxy", "schema", "reference", "version", "demo-service")
FINE, FAULT, USAGE, CONFIG = 0, 1, 2, 3


def test_help_lists_every_command_and_the_exit_codes():
    for arguments in (["--help"], ["-h"], ["help"]):
        result = run(*arguments)
        assert result.returncode == FINE and result.stderr == ""
        for command in COMMANDS:
            assert re.search(rf"^ +{command} ", result.stdout, re.M), command
        assert "Exit codes" in result.stdout


def test_without_a_command_help_goes_to_stderr_and_the_exit_code_says_usage():
    result = run()
    assert result.returncode == USAGE and result.stdout == "" and "Usage" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_its_help(command):
    result = run(command, "--help")
    assert result.returncode == FINE and result.stderr == "" and result.stdout.startswith("Usage: maitred " + command)


@pytest.mark.parametrize("arguments", [
    ["frobnicate"], ["run"], ["run", "--frob"], ["run", "-c"], ["check"], ["check", "a", "b"], ["proxy"], ["proxy", "--listen", ":8080"],
    ["proxy", "--to", "127.0.0.1:1"], ["proxy", "--frob", "x"], ["proxy", "--listen"], ["demo-service", "--frob", "x"]])
def test_wrong_arguments_are_told_with_where_help_is(arguments):
    result = run(*arguments)
    assert result.returncode == USAGE and result.stdout == ""
    assert "maitred" in result.stderr and "--help" in result.stderr


@pytest.mark.parametrize("command", ["version", "schema", "reference"])
def test_commands_without_arguments_refuse_any(command):
    assert run(command, "surplus").returncode == USAGE


def test_version_names_the_version():
    for argument in ("version", "--version"):
        result = run(argument)
        assert result.returncode == FINE and re.match(r"maitred \d+\.\d+\.\d+", result.stdout)


def test_output_that_cannot_be_written_is_no_success():
    with open("/dev/full", "w") as full:
        for command in ("schema", "reference", "version"):
            assert subprocess.run([BINARY, command], stdout=full, stderr=subprocess.DEVNULL, timeout=30).returncode == FAULT, command


# ---- schema and reference ----


@pytest.fixture(scope="module")
def schema():
    result = run("schema")
    assert result.returncode == FINE and result.stderr == ""
    return json.loads(result.stdout)


def test_the_schema_is_valid_json_schema(schema):
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def valid(schema, document):
    return jsonschema.Draft202012Validator(schema).is_valid(document)


MINIMAL = {"listeners": [":8080"], "routes": [{"respond": 200}]}


@pytest.mark.parametrize("change", [
    {}, {"listeners": ":8080"}, {"listeners": [{"address": "unix:/x", "mode": "0660"}]}, {"workers": 2}, {"workers": "auto"},
    {"admin": "127.0.0.1:9900"}, {"access_log": "stdout"}, {"access_log": {"to": "/x", "format": "combined"}},
    {"limits": {"head": "16KiB", "body": 1000}}, {"timeouts": {"request_head": "1m30s", "exchange": 0}},
    {"upstreams": {"app": {"targets": "127.0.0.1:80"}}, "routes": [{"proxy": "app"}]},
    {"upstreams": {"app": {"targets": [{"address": "a:80", "weight": 3}], "algorithm": "least_connections"}}, "routes": [{"proxy": {"upstream": "app"}}]},
    {"routes": [{"match": {"path": "/x", "headers": {"A": "b", "C": {"regex": "d"}}}, "redirect": "/y"}]},
    {"policies": [{"headers": {"request": {"remove": "X"}}}]}, {"x-anchors": {"anything": 1}}, {"forwarding": {"trusted": "10.0.0.0/8"}}])
def test_the_schema_takes_what_check_takes(schema, folder, change):
    document = {**MINIMAL, **change}
    (folder / "a.yaml").write_text(json.dumps(document))
    result = run("check", folder / "a.yaml")
    assert result.returncode == FINE, result.stderr
    jsonschema.Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize("change", [
    {"listeners": []}, {"listeners": None}, {"routes": []}, {"frob": 1}, {"workers": ["auto"]}, {"limits": {"head": "16 parsecs"}}, {"limits": {"fields": 3}},
    {"upstreams": {"app": {"targets": []}}}, {"upstreams": {"app": {}}}, {"upstreams": {"app": {"targets": ["a:1"], "algorithm": "guess"}}},
    {"routes": [{"respond": 200, "redirect": "/x"}]}, {"routes": [{"match": {"path": "/x"}}]}, {"routes": [{"respond": 700}]},
    {"policies": [{"frob": {}}]}, {"timeouts": {"request_head": "soon"}}, {"access_log": {"format": "xml"}}])
def test_the_schema_refuses_what_check_refuses(schema, folder, change):
    document = {**MINIMAL, **change}
    (folder / "a.yaml").write_text(json.dumps(document))
    assert run("check", folder / "a.yaml").returncode == CONFIG
    assert not valid(schema, document)


def test_the_reference_is_the_page_in_the_documentation():
    result = run("reference")
    assert result.returncode == FINE and len(result.stdout) > 5000
    assert (ROOT / "docs/reference.md").read_text() == result.stdout


EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def to_json(path):
    """YAML to JSON by the system's own reader, where there is one, with YAML 1.2's booleans: `on` is a name."""
    yaml = pytest.importorskip("yaml")

    class Core(yaml.SafeLoader):
        pass

    boolean = "tag:yaml.org,2002:bool"
    Core.yaml_implicit_resolvers = {first: [(tag, shape) for tag, shape in resolvers if tag != boolean]
                                    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    Core.add_implicit_resolver(boolean, re.compile(r"^(?:true|false)$"), list("tf"))
    return yaml.load(Path(path).read_text(), Core)


def make_certificates(folder, text):
    """Those that a configuration names."""
    pairs = re.findall(r"cert: ([\w./-]+), key: ([\w./-]+)", text)
    authorities = re.findall(r"ca: ([\w./-]+)", text)
    if not pairs:
        return
    authority = Authority(folder)
    for cert, key in pairs:
        made = authority.issue(f"{Path(cert).stem}.test")
        (folder / cert).parent.mkdir(exist_ok=True)
        made.cert.rename(folder / cert)
        made.key.rename(folder / key)
    for path in authorities:
        shutil.copy(authority.path, folder / path)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_every_example_is_free_of_mistakes(folder, path):
    make_certificates(folder, path.read_text())
    copy = shutil.copy(path, folder)  # `nobody` may be unable to look into the clone, and check would warn of that
    result = run("check", copy)
    assert result.returncode == FINE, result.stderr
    assert "warning" not in result.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_every_example_fits_the_schema(schema, path):
    jsonschema.Draft202012Validator(schema).validate(to_json(path))


def blocks(path):
    """The YAML blocks of a Markdown page that are whole configurations."""
    found = re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.M | re.S)
    return [b for b in found if re.search(r"^listeners:", b, re.M) and re.search(r"^routes:", b, re.M)]


PAGES = [p for p in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if p.exists() and blocks(p)]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_whole_configurations_in_the_documentation_are_free_of_mistakes(folder, page):
    for block in blocks(page):
        make_certificates(folder, block)
        (folder / "a.yaml").write_text(block)
        result = run("check", folder / "a.yaml")
        assert result.returncode == FINE, (block, result.stderr)


# ---- proxy and demo-service ----


@pytest.fixture
def demo():
    """Starts demo services: demo(name) -> port."""
    started = []

    def start(name):
        port = ports.free_port()
        process = subprocess.Popen([BINARY, "demo-service", "--listen", f"127.0.0.1:{port}", "--name", name],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        started.append(process)
        wait_until(lambda: is_open(port), "the demo service listens")
        return port

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == FINE
        process.stderr.close()


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_demo_service_says_who_it_is_and_what_it_was_sent(demo):
    with connect(demo("one")) as wire:
        wire.ask("/a/b?c=d", "POST", fields=[("X-Mine", "yes")], body=b"hello")
        response = wire.response()
        said = json.loads(response.body)
        assert response.status == 200 and said["service"] == "one"
        assert (said["method"], said["path"], said["query"], said["body"], said["headers"]["X-Mine"]) == ("POST", "/a/b", "c=d", "hello", "yes")
        assert wire.get("/?status=503").status == 503
        assert len(wire.get("/?size=100KiB").body) == 102400
        assert wire.get("/?delay=50ms").status == 200


def test_proxy_balances_without_a_file(demo, folder):
    one, two = demo("one"), demo("two")
    port, admin = ports.free_port(), ports.free_port()
    gw = Gateway(folder, None, ["proxy", "--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{one}", "--to", f"127.0.0.1:{two}",
                                "--admin", f"127.0.0.1:{admin}", "--access-log", "stdout", "--algorithm", "least_connections"])
    gw.port, gw.admin_port = port, admin
    gw.start()
    with gw.connect() as wire:
        assert {json.loads(wire.get("/").body)["service"] for _ in range(8)} == {"one", "two"}
    assert gw.admin("/readyz").status == 200
    assert gw.line(path="/")["upstream"]
    gw.finish()


def test_proxy_reloads_and_upgrades_like_run(demo, folder):
    one, port, admin = demo("one"), ports.free_port(), ports.free_port()
    gw = Gateway(folder, None, ["proxy", "--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{one}", "--admin", f"127.0.0.1:{admin}"])
    gw.port, gw.admin_port = port, admin
    gw.start()
    gw.reload()
    assert gw.get("/").status == 200
    gw.upgrade()
    gw.wait_for_old()
    assert gw.get("/").status == 200
    gw.finish()


@pytest.mark.parametrize("arguments", [
    ["--listen", "nowhere", "--to", "127.0.0.1:1"], ["--listen", "127.0.0.1:0x1", "--to", "127.0.0.1:1"], ["--listen", ":8080", "--to", "nonsense"],
    ["--listen", ":8080", "--to", "a:1", "--algorithm", "guess"], ["--listen", ":8080", "--to", "a:1", "--admin", "0.0.0.0:9900"]])
def test_proxy_tells_of_values_that_make_no_sense(arguments):
    result = run("proxy", *arguments)
    assert result.returncode == CONFIG and "error" in result.stderr


# ---- starting ----


def test_a_file_that_is_not_there_is_told_by_name(folder):
    for command in (["check", "nothing.yaml"], ["run", "-c", "nothing.yaml"]):
        result = run(*command, cwd=folder)
        assert result.returncode == CONFIG and "nothing.yaml" in result.stderr


def test_run_tells_every_mistake_and_does_not_start(folder):
    (folder / "a.yaml").write_text("listeners: [ nowhere ]\nroutez: []\n")
    result = run("run", "-c", folder / "a.yaml")
    assert result.returncode == CONFIG
    for word in ("a.yaml:1:", "a.yaml:2:", "did you mean `routes`"):
        assert word in result.stderr


def test_a_port_in_use_is_told_with_its_place(folder):
    with socket.create_server(("127.0.0.1", ports.free_port())) as taken:
        (folder / "a.yaml").write_text("listeners:\n  - 127.0.0.1:%d\nroutes: [ { respond: 200 } ]\n" % taken.getsockname()[1])
        result = run("run", "-c", folder / "a.yaml")
    assert result.returncode == FAULT
    assert "a.yaml:2" in result.stderr and "in use" in result.stderr.lower() and "`ss -lntxp`" in result.stderr


def test_an_admin_port_in_use_is_told(folder):
    with socket.create_server(("127.0.0.1", ports.free_port())) as taken:
        (folder / "a.yaml").write_text("listeners: [ 127.0.0.1:%d ]\nadmin: 127.0.0.1:%d\nuser: root\nroutes: [ { respond: 200 } ]\n"
                                       % (ports.free_port(), taken.getsockname()[1]))
        result = run("run", "-c", folder / "a.yaml")
    assert result.returncode == FAULT and "in use" in result.stderr.lower()


def test_a_log_that_cannot_be_opened_is_told_with_its_place(folder):
    (folder / "a.yaml").write_text(f"listeners: [ 127.0.0.1:{ports.free_port()} ]\nroutes: [ {{ respond: 200 }} ]\naccess_log: /nowhere/at/all.log\n")
    result = run("run", "-c", folder / "a.yaml")
    assert result.returncode == CONFIG and "a.yaml:3" in result.stderr and "/nowhere/at/all.log" in result.stderr


