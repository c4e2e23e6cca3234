#!/usr/bin/env python3
"""Malicious and accidental misuse of a server: `wgpt serve` must refuse it, must not grow, and must answer the next
valid request.

    python3 scripts/check/abuse.py

Creates a tiny model first; needs nothing but Python.
"""

import json
import pathlib
import signal
import socket
import tempfile
import threading
import time

import serving
from serving import Server, check, make_model, metric, wait

TIMEOUT = 4  # seconds that the server waits for a silent client
GOOD = {"messages": [{"role": "user", "content": "the cow?"}], "temperature": 0, "max_tokens": 8}
# The memory that the guide promises as the most beside the model.
MEMORY = 256 << 20
# Sixteen answers up to the end of the context with fifty likely tokens each: megabytes that a client may leave unread.
LARGE = {**GOOD, "temperature": 1.5, "max_tokens": 1000, "n": 16, "stream": True, "top_logits": 50, "logit_bias": {}}


def good(server, what):
    status, answer = server.json("POST", "/v1/chat/completions", GOOD)
    check(status == 200 and answer["choices"][0]["message"]["content"] == "moo", f"a good request {what}: {answer}")


def connect(server, receive=None):
    client = socket.socket()
    if receive:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    client.settimeout(60)
    client.connect((server.host, server.port))
    return client


def head(server, length, path="/v1/chat/completions", more=""):
    return f"POST {path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nContent-Length: {length}\r\n{more}\r\n".encode()


def send(server, body, receive=None):
    body = json.dumps(body).encode()
    client = connect(server, receive)
    client.sendall(head(server, len(body)) + body)
    return client


def rest(client):
    """Everything received until the server closes the connection."""
    data = b""
    try:
        while part := client.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    client.close()
    return data


def healthy(server):
    try:
        return server.ask("GET", "/health")[0] == 200
    except OSError:
        return False  # turned away while it asked


def bodies(server):
    ask = lambda body, path="/v1/chat/completions": server.ask("POST", path, body)[0]
    check(ask(b"x" * ((1 << 20) + 1)) == 413, "a body over the limit")
    check(ask(b'{"a":') == 400 and ask(b"[]") == 400 and ask(b"") == 400, "broken JSON")
    check(ask(b'{"messages": "\xff\xfe"}') == 400 and ask(b"\xff" * 99) == 400, "invalid UTF-8")
    check(ask(b"[" * 100_000) == 400, "deep JSON")
    check(ask(json.dumps({**GOOD, "max_tokens": 2**63})) == 200, "huge max_tokens are as many as fit")
    check(ask(json.dumps({**GOOD, "max_tokens": -1})) == 400, "negative max_tokens")
    check(ask(json.dumps({**GOOD, "n": 10**6})) == 400, "a million choices")
    check(ask(json.dumps({"prompt": [[1]] * 100_000}), "/v1/completions") == 400, "a hundred thousand prompts")
    check(ask(json.dumps({"input": "a" * 1_000_000}), "/v1/embeddings") == 400, "a long text to embed")
    chunked = connect(server)
    chunked.sendall(head(server, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
    try:
        for _ in range(40):
            chunked.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        chunked.sendall(b"0\r\n\r\n")
    except OSError:
        pass
    check(b" 413 " in rest(chunked)[:20], "a chunked body over the limit")
    for garbage in [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\x00" * 1000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 999 + b"\r\n"]:
        client = connect(server)
        client.sendall(garbage)
        check(b" 200 " not in rest(client)[:20], "what is no HTTP")
    good(server, "after broken bodies")


def strangers(server):
    ask = lambda path, headers=None: server.ask("GET", path, headers=headers)[0]
    for path in ["/web/../Cargo.toml", "/web/..%2f..%2fetc%2fpasswd", "/web/%2e%2e/index.html", "/wgpt/runs/..%2ftalker",
                 "/wgpt/runs/%2e%2e", "/wgpt/runs/..%5ctalker", "/wgpt/runs/talker%00", "//etc/passwd", "/web/%ff"]:
        check(ask(path) in (400, 404), f"{path} leads out")
    check(ask("/wgpt/runs/talker") == 200, "a run")
    check(ask("/health", {"Host": "evil.example"}) == 403, "a name that was made to point here")
    check(ask("/health", {"Origin": "http://evil.example"}) == 403 and ask("/health", {"Origin": "null"}) == 403, "another site")
    own = f"http://{server.host}:{server.port}"
    check(ask("/health", {"Origin": own}) == 200, "the page itself")
    good(server, "after strangers")


def idle(server):
    clients = [connect(server) for _ in range(500)]
    good(server, "beside 500 idle connections")
    half = connect(server)
    half.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: ")
    late = connect(server)
    late.sendall(head(server, 100) + b'{"mess')
    begun = time.monotonic()
    check(b" 408 " in rest(late)[:20] and time.monotonic() - begun < TIMEOUT + 10, "a body that does not come")
    rest(half)
    for client in clients:
        rest(client)
    check(time.monotonic() - begun < TIMEOUT + 20, "silent connections are closed")
    good(server, "after 500 idle connections")


def crowded(folder, model):
    """More connections than are allowed, all before the first silent one is closed."""
    with Server(folder, model, "--timeout", 300, "--connections", 40) as server:
        good(server, "before the crowd")
        wait(lambda: metric(server, "wgpt_connections") <= 1, "connections end with their clients")
        many = [connect(server) for _ in range(60)]
        # A refused client is told at once; one that was let in is closed without a word, because it asks nothing. Which ones
        # are refused depends on when the connection of the last question ends, which has a place until then.
        answers = [client.recv(12) for client in many]
        refused = answers.count(b"HTTP/1.1 503")
        check(20 <= refused <= 21 and refused + answers.count(b"") == 60, f"connections over the limit are turned away: {answers}")
        for client in many:
            client.close()
        wait(lambda: healthy(server), "there is room again")
        good(server, "after the crowd")


def slow(server):
    clients = [send(server, LARGE, receive=2048) for _ in range(3)]
    drip = clients[0]
    drip.settimeout(0.5)
    end = time.monotonic() + 3 * TIMEOUT
    got = 0
    while time.monotonic() < end:
        try:
            part = drip.recv(1)
            got += len(part)
            if not part:
                break
        except TimeoutError:
            pass
        except OSError:
            break
        time.sleep(0.5)
    check(got > 0, "a slow client gets something")
    wait(lambda: metric(server, "wgpt_running") + metric(server, "wgpt_waiting") == 0, "what nobody reads is cancelled")
    wait(lambda: metric(server, "wgpt_connections") <= 1, "clients that read nothing are closed", 10 * TIMEOUT)
    for client in clients:
        client.close()
    good(server, "after slow clients")


def cancelled(server):
    for _ in range(1000):
        send(server, {**LARGE, "n": 1, "top_logits": None}).close()
    good_after = time.monotonic()
    while True:
        status, answer = server.json("POST", "/v1/chat/completions", GOOD)
        if status == 200:
            break
        check(status == 429 and time.monotonic() - good_after < 30, f"a good request after 1000 cancelled ones: {answer}")
        time.sleep(0.1)
    wait(lambda: metric(server, "wgpt_running") + metric(server, "wgpt_waiting") == 0, "cancelled requests end")


def full(server):
    clients = [send(server, {**LARGE, "top_logits": None}) for _ in range(24)]
    statuses = [client.recv(12).split()[-1] for client in clients]
    check(b"429" in statuses and b"200" in statuses, f"a full queue says so: {statuses}")
    for client in clients:
        client.close()
    wait(lambda: metric(server, "wgpt_running") + metric(server, "wgpt_waiting") == 0, "they end with their clients")
    good(server, "after a full queue")


def ends(folder, model):
    with Server(folder, model) as server:
        client = send(server, {**LARGE, "n": 2, "top_logits": None})
        first = client.recv(64)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(first + rest(client)))
        thread.start()
        try:
            check(server.ask("POST", "/v1/chat/completions", GOOD)[0] == 503, "new requests are told to go")
        except OSError:
            pass  # it had ended already
        thread.join()
        check(answers[0].rstrip().endswith(b"0") and b"[DONE]" in answers[0], "a running answer ends whole")
        check(server.process.wait(timeout=30) == 0, "and then the server, with 0")
    with Server(folder, model) as server:
        client = send(server, LARGE)
        client.recv(64)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        server.process.send_signal(signal.SIGINT)
        check(server.process.wait(timeout=10) in (0, 130), "a second signal ends it at once")
        client.close()


def heavy(folder, model):
    """Everything large that a client can send, from many clients at once: beside the model, the server takes no more memory
    than the guide says, and answers short requests meanwhile."""
    million = (1 << 20) - 100
    pairs = b'{"messages":[' + b'{"":0},' * (million // 7) + b"0]}"
    values = b'{"input":[' + b"1," * (million // 2) + b"1]}"
    text = json.dumps({"text": "the cow says moo " * (million // 17)}).encode()
    chat = json.dumps({**GOOD, "messages": [{"role": "user", "content": "the cow? " * (million // 9)}]}).encode()
    kinds = [("/v1/chat/completions", pairs), ("/v1/embeddings", values), ("/tokenize", text), ("/v1/chat/completions", chat)]
    with Server(folder, model) as server:
        for _ in range(5):
            good(server, "to begin with")
        try:
            server.forget_peak()
        except OSError as error:
            print(f"skipped: the server's largest memory cannot be measured here: {error}")
            return
        before, statuses, patience = server.memory(), [], []

        def client(path, body):
            try:
                statuses.append(server.ask("POST", path, body, timeout=120)[0])
            except OSError:
                statuses.append(0)

        for path, body in kinds:
            threads = [threading.Thread(target=client, args=(path, body)) for _ in range(100)]
            # Bodies that never come to their end.
            stuck = [connect(server) for _ in range(100)]
            for one in stuck:
                one.settimeout(5)
                try:
                    one.sendall(head(server, len(body), path) + body[:-1])
                except OSError:
                    pass
            [thread.start() for thread in threads]
            begun = time.monotonic()
            good(server, f"beside large ones for {path}")
            patience.append(time.monotonic() - begun)
            [thread.join() for thread in threads]
            [one.close() for one in stuck]
            print(f"heavy {path}: {sorted(set(statuses))}, at most {(server.peak() - before) / 2**20:.0f} MiB, a short one took {patience[-1]:.1f} s")
        # Clients that read their long answers slowly keep nobody else from asking.
        readers = [connect(server, receive=2048) for _ in range(12)]
        for one in readers:
            one.sendall(head(server, len(text), "/tokenize") + text)
            one.recv(1000)
        ordinary = {**GOOD, "messages": [{"role": "user", "content": "the cow? " * 1400}]}
        begun = time.monotonic()
        status = server.ask("POST", "/v1/chat/completions", ordinary)[0]
        check(status == 400 and time.monotonic() - begun < 10, f"a text of 12 KB, too long for this model, beside slow readers: {status}")
        [one.close() for one in readers]
        grown = server.peak() - before
        check(grown < MEMORY, f"{grown / 2**20:.0f} MiB beside the model, the guide says {MEMORY >> 20}")
        check(set(statuses) <= {0, 200, 400, 408, 413, 503} and 200 in statuses, f"{sorted(set(statuses))}")
        good(server, "after large ones")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = make_model(folder)
        with Server(folder, model, "--timeout", TIMEOUT, "--connections", 600) as server:
            # One round first, so that pools, pipelines and the allocator have reached their size.
            for step in (bodies, strangers, slow, full):
                step(server)
            for _ in range(20):
                good(server, "to begin with")
            before = server.memory()
            for step in (bodies, strangers, idle, slow, cancelled, full):
                begun = time.monotonic()
                step(server)
                memory = server.memory()
                print(f"{step.__name__}: {time.monotonic() - begun:.1f} s, {memory / 2**20:.1f} MiB of {before / 2**20:.1f} before")
            check(server.memory() < 1.2 * before, f"memory grew from {before} to {server.memory()}")
            code, said = server.stop()
            check(code == 0, "it ends with 0")
            print(f"served: {said}")
        crowded(folder, model)
        heavy(folder, model)
        ends(folder, model)
    print(f"{serving.checks} checks: the server stands")


main()
