#!/usr/bin/env python3
"""Runs nginx with the configuration that docs/several-gpus.md recommends, in front of two `wgpt serve`, and talks
through it: chats, streams, clients that go away, a server that goes away.

    python3 scripts/check/nginx.py [NGINX]

Creates a tiny model first; needs Python and nginx (Debian: nginx-light).
"""

import contextlib
import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading

import serving
from serving import Server, check, make_model, metric, wait

NGINX = "nginx"
GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs/several-gpus.md"
COW = {"messages": [{"role": "user", "content": "the cow?"}], "temperature": 0, "max_tokens": 8}
# Many answers, as long as the context allows.
LONG = {**COW, "temperature": 1.5, "max_tokens": 1000, "n": 16, "stream": True}
PIECES = 5
PATIENCE = 60  # seconds that anything may take on a busy machine


def replaced(text, what, by):
    """`text` with its only occurrence of the pattern `what` replaced."""
    text, count = re.subn(what, by, text)
    assert count == 1, f"{GUIDE.name}: {count} places look like {what!r}; scripts/check/nginx.py expects one"
    return text


def guide():
    """The configuration and the name for clients, from the guide."""
    text = GUIDE.read_text()
    found = re.findall(r"^```nginx\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = set(re.findall(r"--allow-host (\S+)", text))
    assert len(found) == 1 and len(names) == 1, f"{GUIDE.name} has {len(found)} configurations for the names {names}"
    return found[0], names.pop()


@contextlib.contextmanager
def front(folder, recipe, ports):
    """nginx with the recipe, in front of these ports of this machine. Gives its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    servers = " ".join(f"server 127.0.0.1:{one};" for one in ports)
    recipe = replaced(recipe, r"server alpha:8001; server alpha:8002; server beta:8001;", servers)
    recipe = replaced(recipe, r"listen 80;", f"listen 127.0.0.1:{port};")
    # Its usual places belong to another user.
    own = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    log = folder / "nginx.log"
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {log};\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{own}{recipe}}}\n")
    process = subprocess.Popen([NGINX, "-p", folder, "-e", log, "-c", folder / "nginx.conf"])
    try:
        def listens():
            assert process.poll() is None, f"nginx does not start:\n{log.read_text() if log.exists() else ''}"
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        wait(listens, "nginx listens", PATIENCE)
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)


def ask(port, host, method, path, body=None, headers=None):
    """An answered request: the connection, and the response to read from."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, json.dumps(body) if body else None, {"Host": host, **(headers or {})})
    return connection, connection.getresponse()


def whole(*request, **more):
    connection, response = ask(*request, **more)
    with contextlib.closing(connection):
        return response.status, response.read().decode()


def through(port, host, servers):
    status, body = whole(port, host, "GET", "/health")
    check(status == 200 and json.loads(body), f"/health: {status} {body}")
    status, body = whole(port, host, "POST", "/v1/chat/completions", COW, headers={"Origin": f"http://{host}"})
    check(status == 200 and json.loads(body)["choices"][0]["message"]["content"] == "moo", f"a chat: {status} {body}")
    status, body = whole(port, host, "POST", "/v1/chat/completions", COW, headers={"Origin": f"https://{host}"})
    check(status == 403, f"a page of another scheme, which nginx reports to the server: {status} {body}")
    status, body = whole(port, "evil.example", "GET", "/health")
    check(status == 403, f"a name that the servers do not know: {status} {body}")
    status, body = whole(port, host, "POST", "/v1/chat/completions", {**COW, "temperature": 9})
    check(status == 400 and json.loads(body)["error"]["param"] == "temperature", f"an error is the server's: {body}")

    connection, response = ask(port, host, "POST", "/v1/chat/completions", {**COW, "stream": True})
    with contextlib.closing(connection):
        check(response.getheader("content-type", "").startswith("text/event-stream"), "a stream is one of events")
        events = [line[6:] for line in response.read().decode().splitlines() if line.startswith("data: ")]
    check(events[-1] == "[DONE]", f"a stream that ends: {events}")
    deltas = [choice["delta"].get("content") or "" for event in events[:-1] for choice in json.loads(event)["choices"]]
    check("".join(deltas) == "moo" and sum(map(bool, deltas)) == 3, f"a streamed chat: {deltas}")

    def busy(name):
        return sum(metric(server, name) for server in servers)
    connection, response = ask(port, host, "POST", "/v1/chat/completions", LONG)
    check(response.read(6) == b"data: ", "a long answer begins")
    response.close()
    connection.close()
    wait(lambda: busy("wgpt_running") + busy("wgpt_waiting") == 0, "answers end when their client goes away", PATIENCE)

    servers[0].stop()
    for _ in range(4):
        status, body = whole(port, host, "POST", "/v1/chat/completions", COW)
        check(status == 200, f"one server answers for another that is away: {status} {body}")


class Paced(http.server.BaseHTTPRequestHandler):
    """Sends each piece of a stream only after the client has received the one before. Below /left it sends one piece, and
    waits until the connection is closed. The stream ends with its connection: nginx, if it buffers, passes on the chunks of
    other streams one by one as well."""

    protocol_version = "HTTP/1.1"
    received, left = threading.Semaphore(0), threading.Semaphore(0)

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for index in range(PIECES):
            self.wfile.write(f"data: {index}\n\n".encode())
            if self.path == "/left":
                self.connection.settimeout(PATIENCE)
                with contextlib.suppress(TimeoutError):
                    if self.connection.recv(1) == b"":
                        self.left.release()
                return
            if not self.received.acquire(timeout=PATIENCE / 2):
                return

    def log_message(self, *_):
        pass


def one_by_one(folder, recipe, host):
    """A piece that nginx held back would never be followed by another."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Paced)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with front(folder, recipe, [server.server_address[1]]) as port:
        connection, response = ask(port, host, "GET", "/")
        with contextlib.closing(connection):
            for index in range(PIECES):
                line = response.readline()
                check(line == b"data: %d\n" % index, f"piece {index} arrives before the next is sent: {line}")
                response.readline()
                Paced.received.release()
            check(response.read() == b"", "the stream ends")
        connection, response = ask(port, host, "GET", "/left")
        check(response.readline() == b"data: 0\n", "the first piece arrives")
        # The response holds the socket too.
        response.close()
        connection.close()
        check(Paced.left.acquire(timeout=PATIENCE), "the server learns that a client went away")
    server.shutdown()


def main():
    global NGINX
    NGINX = sys.argv[1] if len(sys.argv) > 1 else NGINX
    recipe, host = guide()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        one_by_one(folder, recipe, host)
        model = make_model(folder)
        with Server(folder, model, "--allow-host", host) as one, Server(folder, model, "--allow-host", host) as other:
            with front(folder, recipe, [one.port, other.port]) as port:
                through(port, host, [one, other])
    print(f"{serving.checks} checks: nginx as in {GUIDE.name} lets everything through")


if __name__ == "__main__":
    main()
