"""Mistakes in a configuration: all of them, each with its place and a way out."""
import json
import os
import re

import pytest

from kit.gateway import run

GOOD = """\
listeners: [ 127.0.0.1:8080 ]
upstreams:
  app: { targets: [ 127.0.0.1:9001 ] }
routes:
  - match: { path: "/users/{id}" }
    proxy: app
"""
FINE, CONFIG = 0, 3


def check(folder, text, **more):
    path = folder / "a.yaml"
    path.write_text(text)
    return run("check", "a.yaml", cwd=folder, **more)


def test_a_good_file_is_fine(folder):
    result = check(folder, GOOD)
    assert result.returncode == FINE, result.stderr
    assert "fine" in result.stdout and "1 upstream" in result.stdout


MISTAKES = {  # what stands for what in GOOD: line, column, path in the document, words of the message
    "a misspelt field": (("targets:", "targtes:"), 3, 10, "upstreams.app.targtes", ["unknown field `targtes`", "did you mean `targets`?"]),
    "another number": (("targets: [", "protocol: http2, targets: ["), 3, 20, "upstreams.app.protocol", ["unknown word `http2`; expected `http1` or `h2`"]),
    "a misspelt section": (("upstreams:", "upstream:"), 2, 1, "upstream", ["unknown field `upstream`", "did you mean `upstreams`?"]),
    "a misspelt handler": (("proxy: app", "prxy: app"), 6, 5, "routes[0].prxy", ["did you mean `proxy`?"]),
    "a misspelt upstream": (("proxy: app", "proxy: ap"), 6, 12, "routes[0].proxy", ["`ap`", "did you mean `app`?"]),
    "a bad target": (("127.0.0.1:9001", "127.0.0.1"), 3, 21, "upstreams.app.targets[0]", []),
    "a bad port": (("127.0.0.1:8080", "127.0.0.1:80800"), 1, 14, "listeners[0]", []),
    "a template that is none": (("/users/{id}", "users/{id}"), 5, 20, "routes[0].match.path", []),
    "a capture twice": (("/users/{id}", "/{id}/{id}"), 5, 20, "routes[0].match.path", ["id"]),
    "a capture without an end": (("/users/{id}", "/users/{id"), 5, 20, "routes[0].match.path", []),
    "an address twice": (("[ 127.0.0.1:8080 ]", "[ 127.0.0.1:8080, 127.0.0.1:8080 ]"), 1, 30, "listeners[1]", ["listeners[0]"]),
    "a list where a text belongs": (('"/users/{id}"', "[a, b]"), 5, 20, "routes[0].match.path", []),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_line_column_path_and_suggestion(folder, name):
    (old, new), line, column, path, words = MISTAKES[name]
    result = check(folder, GOOD.replace(old, new))
    assert result.returncode == CONFIG
    assert re.search(rf"^a\.yaml:{line}:{column}: error: {re.escape(path)}: ", result.stderr, re.M), result.stderr
    for word in words:
        assert word in result.stderr
    assert "could not be built" not in result.stderr, "what follows from a mistake is no mistake"
    assert "fine" not in result.stdout


def test_every_mistake_is_told_at_once(folder):
    result = check(folder, """\
listeners: [ nowhere, 127.0.0.1:99999 ]
workers: several
limits: { head: 3 parsecs, frob: 1 }
timeouts: { request_head: soon }
upstreams:
  app: { targets: [ nonsense ], algorithm: guess }
  empty: { targets: [] }
routes:
  - match: { path: /a, prefix: /b }
    respond: 99
  - match: { regex: "(" }
    proxy: nobody
  - { respond: 200, redirect: /x }
  - { match: { path: /y } }
admin: 0.0.0.0:9900
access_log: { format: xml }
""")
    assert result.returncode == CONFIG
    lines = {int(n) for n in re.findall(r"^a\.yaml:(\d+):\d+: error:", result.stderr, re.M)}
    assert lines >= {1, 2, 3, 4, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16}, result.stderr
    count = int(re.search(r"(\d+) mistakes", result.stderr)[1])
    assert count == len(re.findall(r": error:", result.stderr)) >= 16


def test_a_missing_section_is_told(folder):
    result = check(folder, "listeners: [ 127.0.0.1:8080 ]\n")
    assert result.returncode == CONFIG and "routes" in result.stderr


@pytest.mark.parametrize("text", ["", "\n", "just a text", "- a\n- b\n", "a: [", "a: }", "\tlisteners: x\n", "a: &x [*x]\n", "listeners: *nobody\n", "a: 'b", "%YAML 9.9\n---\na: b\n",
                                  "a: b\n---\nc: d\n", "\x00", "a: \x07\n", "!!python/object:os.system x: y\n"])
def test_what_is_no_such_yaml_is_a_mistake_and_no_crash(folder, text):
    result = check(folder, text)
    assert result.returncode == CONFIG and "error" in result.stderr


@pytest.mark.parametrize("text, hint", [
    ("listeners: [ :8080 ]\n", "needs quotes"), ("listeners: [ 127.0.0.1:${PORT} ]\n", "a text with `${...}` needs quotes"),
    ("a: b: c\n", "needs quotes"), ("a:\n\t- b\n", "use spaces")])
def test_what_usually_is_the_matter_is_told(folder, text, hint):
    result = check(folder, text)
    assert result.returncode == CONFIG and hint in result.stderr


def test_a_name_twice_in_a_mapping_is_a_mistake(folder):
    result = check(folder, GOOD + "routes: []\n")
    assert result.returncode == CONFIG and "a.yaml:7:1" in result.stderr


def test_anchors_aliases_and_merges_work(folder):
    result = check(folder, """\
x-limits: &slow { connect: 3s, response: 1m }
listeners: [ 127.0.0.1:8080 ]
upstreams:
  a: &a { targets: [ 127.0.0.1:1 ], timeouts: *slow }
  b: { <<: *a, algorithm: least_connections }
routes:
  - { match: { path: /a }, proxy: a }
  - { match: { path: /b }, proxy: b }
""")
    assert result.returncode == FINE, result.stderr


def test_the_expansion_of_aliases_is_bounded(folder):
    bomb = "x-a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"x-{chr(b)}: &{chr(b)} [{', '.join(['*' + chr(b - 1)] * 9)}]\n" for b in range(ord("b"), ord("k")))
    result = check(folder, bomb + GOOD)
    assert result.returncode == CONFIG and "error" in result.stderr


def test_nesting_is_bounded(folder):
    assert check(folder, "x-deep: " + "[" * 100000 + "]" * 100000 + "\n" + GOOD).returncode == CONFIG


def test_environment_variables_are_put_in_after_parsing(folder):
    text = GOOD.replace("127.0.0.1:9001", '"${TARGET}"').replace("127.0.0.1:8080", '"127.0.0.1:${PORT:-8080}"')
    assert check(folder, text, env={"TARGET": "127.0.0.1:9001"}).returncode == FINE
    result = check(folder, text, env={"TARGET": "127.0.0.1:1 ], algorithm: [ x"})
    assert result.returncode == CONFIG and "a.yaml:3" in result.stderr  # a value, however it looks
    result = check(folder, text)
    assert result.returncode == CONFIG and "TARGET" in result.stderr


def test_a_route_that_can_never_match_is_warned_of(folder):
    result = check(folder, GOOD + "  - match: { path: \"/users/{other}\" }\n    respond: 404\n")
    assert result.returncode == FINE
    assert re.search(r"^a\.yaml:7:\d+: warning: routes\[1\]: .*never", result.stderr, re.M), result.stderr


@pytest.mark.parametrize("policy, words", [
    ({"headers": {"request": {"set": {"Content-Length": "1"}}}}, ["Content-Length"]),
    ({"headers": {"request": {"set": {"Bad Name": "1"}}}}, ["Bad Name"]),
    ({"headers": {"response": {"set": {"X": "a\r\nSet-Cookie: b"}}}}, []),
    ({"headers": {"response": {"set": {"Host": "a"}}}}, ["Host"]),
    ({"headrs": {}}, ["did you mean `headers`?"])])
def test_mistakes_of_policies_are_told(folder, policy, words):
    result = check(folder, json.dumps({"listeners": [":80"], "routes": [{"respond": 200, "policies": [policy]}]}, indent=1))
    assert result.returncode == CONFIG and "routes[0].policies[0]" in result.stderr
    for word in words:
        assert word in result.stderr


def test_a_large_and_wrong_file_is_read_in_one_go(folder):
    routes = "".join(f"  - match: {{ path: /{i} }}\n    prxy: app\n" for i in range(2000))
    result = check(folder, GOOD.split("routes:")[0] + "routes:\n" + routes)
    assert result.returncode == CONFIG and "did you mean `proxy`?" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: who else could become another user")
class TestAsRoot:
    """What a reload could not do as the user that the gateway becomes."""

    def test_a_file_that_the_user_cannot_read_is_warned_of(self, folder):
        (folder / "a.yaml").write_text(GOOD)
        (folder / "a.yaml").chmod(0o600)
        result = run("check", "a.yaml", cwd=folder)
        assert result.returncode == FINE
        assert "nobody" in result.stderr and "read" in result.stderr and "warning" in result.stderr

    def test_a_log_that_the_user_cannot_write_is_warned_of(self, folder):
        log = folder / "closed"
        log.mkdir()
        log.chmod(0o700)
        result = check(folder, GOOD + f"access_log: {log}/access.log\n")
        assert result.returncode == FINE and "a.yaml:7" in result.stderr and "warning" in result.stderr

    def test_a_user_that_does_not_exist_is_warned_of(self, folder):
        result = check(folder, GOOD + "user: nobody-of-that-name\n")
        assert "nobody-of-that-name" in result.stderr and "warning" in result.stderr

    def test_low_ports_are_no_trouble(self, folder):
        result = check(folder, GOOD.replace(":8080", ":80"))
        assert result.returncode == FINE and result.stderr == ""
