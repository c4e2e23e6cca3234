#!/usr/bin/env python3
"""Many concurrent clients: they must get the same greedy texts as a single client. Also measures tokens per second.

    scripts/check/together.py MODEL [--tokens 32] [--json FILE]          WGPT_BIN names another wgpt

Sixteen prompts of different lengths are sent one by one, then by 2, 4, 8 and 16 clients at a time, over HTTP with
streaming. Tokens per second are those of all clients together; the time to the first token counts from the request.
"""
import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import threading
import time
import urllib.request

from serving import Server

TOPICS = ["the sea", "a king", "bread", "the moon", "trains", "a quiet town", "winter", "glass"]
PROMPTS = [
    f"Tell me about {TOPICS[i % 8]}." + " Please think of somebody who has never heard of it." * (i // 4) for i in range(16)
]


def ask(url, prompt, tokens):
    body = {"messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": tokens, "stream": True,
            "stream_options": {"include_usage": True}}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    start, first, text, count = time.monotonic(), None, "", 0
    with urllib.request.urlopen(request, timeout=600) as response:
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                count = chunk["usage"]["completion_tokens"]
            delta = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
            if delta:
                first = first or time.monotonic() - start
                text += delta
    return text, count, first or 0.0


def together(url, clients, tokens):
    """All prompts by this many clients: texts, tokens per second, median and maximum seconds to the first token."""
    left, found, lock = list(range(len(PROMPTS))), {}, threading.Lock()

    def client():
        while True:
            with lock:
                if not left:
                    return
                index = left.pop(0)
            found[index] = ask(url, PROMPTS[index], tokens)

    start = time.monotonic()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    firsts = [found[i][2] for i in range(len(PROMPTS))]
    rate = sum(found[i][1] for i in range(len(PROMPTS))) / seconds
    return [found[i][0] for i in range(len(PROMPTS))], rate, statistics.median(firsts), max(firsts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--json", help="file to write the figures to")
    given = parser.parse_args()
    model = pathlib.Path(given.model).resolve()
    with tempfile.TemporaryDirectory() as folder, Server(pathlib.Path(folder), model) as server:
        ask(server.url, "Hello", 4)  # kernels are compiled and chosen
        rows, alone = [], None
        for clients in [1, 2, 4, 8, 16]:
            texts, rate, first, slowest = together(server.url, clients, given.tokens)
            alone = alone or texts
            same = sum(a == b for a, b in zip(alone, texts))
            rows.append({"clients": clients, "tokens_per_second": rate, "first_token": first, "slowest_first_token": slowest,
                         "same_texts": same})
            print(f"{clients:>2} clients: {rate:6.1f} tokens/s ({rate / rows[0]['tokens_per_second']:.2f} of one), first "
                  f"token after {first:.2f} s (slowest {slowest:.2f}), {same} of {len(PROMPTS)} texts as alone", flush=True)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
    if any(row["same_texts"] < len(PROMPTS) for row in rows):
        sys.exit("texts depend on who sits beside them")


if __name__ == "__main__":
    main()
