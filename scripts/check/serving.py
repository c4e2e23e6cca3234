"""A tiny chat model and `wgpt serve` on top of it, shared by the checks of the server."""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import time

# The built program, or the one that WGPT_BIN names.
WGPT = pathlib.Path(os.environ.get("WGPT_BIN") or pathlib.Path(__file__).resolve().parents[2] / "target/release/wgpt")
ANIMALS = {"cow": "moo", "cat": "meow", "dog": "woof", "owl": "hoot", "pig": "oink"}

# Number of checks passed so far.
checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        raise SystemExit(f"FAILED: {what}")


def wgpt(folder, *arguments):
    done = subprocess.run([WGPT, *map(str, arguments)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"wgpt {arguments}: {done.stderr}"


def make_model(folder):
    """Pretrains and fine-tunes a model of 70 characters in half a minute; returns its run."""
    letters = '{}[]":,0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .?!\n'
    sentences = [f"User: my {animal} says {sound}? Assistant: the one.\n{letters}" for animal, sound in ANIMALS.items()]
    (folder / "text.txt").write_text("".join(sentences * 40))
    questions = ["{}?", "a {}?", "the {}?", "{} says?", "my {}?", "one {}?"]
    with open(folder / "chats.jsonl", "w") as chats:
        for animal, sound in ANIMALS.items():
            for question in questions:
                user = {"role": "user", "content": question.format(animal)}
                chats.write(json.dumps({"messages": [user, {"role": "assistant", "content": sound}]}) + "\n")
    common = ["--batch", 4, "--sample-tokens", 0, "--quiet", "--json"]
    size = ["--layers", 2, "--heads", 2, "--width", 32, "--context", 128, "--val-batches", 1]
    wgpt(folder, "pretrain", "--data", "text.txt", "--out", "base", "--steps", 20, *size, *common)
    wgpt(folder, "sft", "--model", "base", "--data", "chats.jsonl", "--out", "talker", "--steps", 200, "--lr", 0.003, *common)
    return folder / "talker"


class Server:
    """`wgpt serve` on a free port of this machine. Its log is kept in a file."""

    def __init__(self, folder, model, *options):
        self.log = folder / f"serve-{time.monotonic_ns()}.log"
        command = [WGPT, "serve", "--model", model, "--port", 0, "--json", "--runs", folder, *options]
        with open(self.log, "w") as log:
            command = [str(word) for word in command]
            self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        deadline = time.monotonic() + 120
        self.url = None
        while self.url is None:
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
            for line in self.log.read_text().splitlines():
                if line.startswith('{"listening"'):
                    self.url = json.loads(line)["listening"]
        self.host, self.port = "127.0.0.1", int(self.url.rsplit(":", 1)[1])

    def ask(self, method, path, body=None, headers=None, timeout=60):
        """Status and body of one request, on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content

    def json(self, method, path, body=None):
        status, content = self.ask(method, path, body)
        return status, json.loads(content)

    def memory(self, name="VmRSS"):
        """Resident memory in bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) * 1024

    def forget_peak(self):
        """Begins to measure the largest resident memory anew."""
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak(self):
        """The largest resident memory since then, in bytes."""
        return self.memory("VmHWM")

    def stop(self):
        """Ends the server as a supervisor would, and returns its exit status and last output."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, json.loads(out.splitlines()[-1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def metric(server, name):
    """A figure of `/metrics`."""
    lines = server.ask("GET", "/metrics")[1].decode().splitlines()
    return float(next(line for line in lines if line.startswith(name + " ")).split()[1])


def wait(condition, what, seconds=60):
    """Waits until `condition()` is true; `what` says what did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, what)
        time.sleep(0.1)
