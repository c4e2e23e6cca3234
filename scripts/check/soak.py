#!/usr/bin/env python3
"""A long stay: a server under mixed load keeps its memory and its word, and nothing that was killed loses anything.

    python3 scripts/check/soak.py                       an hour of load, 200 kills of pretraining, 50 of PPO, 50 of a server
    python3 scripts/check/soak.py --minutes 2 --kills 8 2 3

Load: chats, streams, clients that leave, embeddings, ratings, texts as tokens, and broken requests. Every request gets a whole
answer or the status that it deserves, every rating is in the database, resident memory stays within 10 %, and the 99th
percentile of a short chat is under three times that of an idle server (on a machine that does nothing else).

Kills: SIGKILL at random moments. A killed run that is resumed to its end has the metrics and weights of one that was not
killed, byte for byte but for times; every rating that a killed server has acknowledged is in its database, once.
"""

import argparse
import json
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import serving
from serving import WGPT, Server, check, make_model, wgpt

GOOD = {"messages": [{"role": "user", "content": "the cow?"}], "temperature": 0, "max_tokens": 8}
# What differs between two runs of the same steps.
TIMES = {"seconds", "tokens_per_second"}


def rating(number, rater):
    turn = {"role": "user", "content": f"the cow? {number}"}
    return {"messages": [turn], "answers": [{"text": "moo"}, {"text": "woof"}], "verdict": {"best": 0}, "rater": rater}


def stored(folder, database):
    """How often each prompt is in a database of ratings."""
    out = folder / "ratings.jsonl"
    out.unlink(missing_ok=True)
    wgpt(folder, "feedback", "export", "--feedback", database, "--format", "ratings", "--out", out, "--quiet")
    counts = {}
    for line in out.read_text().splitlines():
        text = json.loads(line)["prompt"]
        counts[text] = counts.get(text, 0) + 1
    return counts


def chat(server, rng, kept):
    body = {**GOOD, "temperature": rng.choice([0, 0.8]), "max_tokens": rng.randint(1, 40), "n": rng.choice([1, 1, 1, 3])}
    status, answer = server.json("POST", "/v1/chat/completions", body)
    return status, status != 200 or len(answer["choices"]) == body["n"]


def stream(server, rng, kept):
    status, content = server.ask("POST", "/v1/chat/completions", {**GOOD, "max_tokens": rng.randint(1, 40), "stream": True})
    return status, status != 200 or content.rstrip().endswith(b"[DONE]")


def leave(server, rng, kept):
    body = json.dumps({**GOOD, "max_tokens": 100, "temperature": 1.5, "stream": True}).encode()
    client = socket.create_connection((server.host, server.port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    if rng.random() < 0.7:
        client.recv(300)
    client.close()
    return 200, True


def embeddings(server, rng, kept):
    texts = ["the cow?"] * rng.randint(1, 20)
    status, answer = server.json("POST", "/v1/embeddings", {"input": texts})
    return status, status != 200 or len(answer["data"]) == len(texts)


def rate(server, rng, kept):
    number = f"{rng.getrandbits(64):x}"
    status, answer = server.json("POST", "/wgpt/rate", rating(number, "soak"))
    if status == 200:
        kept.append(f"the cow? {number}")
    return status, status != 200 or answer["stored"]


def tokenize(server, rng, kept):
    text = "the cow says moo " * rng.choice([1, 10, 3000])
    status, answer = server.json("POST", "/tokenize", {"text": text})
    return status, status != 200 or "".join(token["text"] for token in answer["tokens"]).endswith(text)


def broken(server, rng, kept):
    body = rng.choice([b"{", b"[]", b"\xff\xfe", b'{"messages": []}', b'{"messages": 3}', b"x" * 2_000_000, b"[" * 9999])
    status, content = server.ask("POST", "/v1/chat/completions", body)
    return status, status in (400, 413) and b'"error"' in content


KINDS = [chat, chat, stream, leave, embeddings, rate, rate, tokenize, broken]


def short_chats(server, stop, times):
    """Asks for a short answer again and again, as one person would."""
    while not stop.is_set():
        begun = time.monotonic()
        status, answer = server.json("POST", "/v1/chat/completions", GOOD)
        times.append(time.monotonic() - begun)
        check(status == 200 and answer["choices"][0]["message"]["content"] == "moo", f"a short chat: {status} {answer}")
        stop.wait(0.25)


def p99(times):
    return statistics.quantiles(times, n=100)[98]


def load(folder, model, minutes):
    database = folder / "soak.sqlite"
    with Server(folder, model, "--feedback", database) as server:
        for _ in range(20):
            server.json("POST", "/v1/chat/completions", GOOD)
        stop, idle = threading.Event(), []
        person = threading.Thread(target=short_chats, args=(server, stop, idle))
        person.start()
        time.sleep(min(60, minutes * 10))
        stop.set()
        person.join()

        stop, busy, kept, counts, wrong = threading.Event(), [], [], {}, []

        def client(seed):
            rng = random.Random(seed)
            while not stop.is_set():
                kind = rng.choice(KINDS)
                try:
                    status, fine = kind(server, rng, kept)
                except OSError as error:
                    status, fine = str(error), False
                if not fine or status not in (200, 400, 413, 429, 503):
                    wrong.append(f"{kind.__name__}: {status}")
                counts[kind.__name__, status] = counts.get((kind.__name__, status), 0) + 1
                stop.wait(rng.uniform(0, 0.5))

        clients = [threading.Thread(target=client, args=(seed,)) for seed in range(4)]
        clients.append(threading.Thread(target=short_chats, args=(server, stop, busy)))
        [one.start() for one in clients]
        memory, end = [], time.monotonic() + minutes * 60
        while time.monotonic() < end and not wrong and all(one.is_alive() for one in clients):
            time.sleep(min(10, minutes * 2))
            memory.append(server.memory())
            if len(memory) % 30 == 0:
                print(f"{len(memory) // 6} min: {sum(counts.values())} requests, {memory[-1] / 2**20:.1f} MiB", flush=True)
        stop.set()
        [one.join() for one in clients]
        check(not wrong, f"wrong answers: {wrong[:5]}")
        check(server.stop()[0] == 0, "the server ends with 0")
    found = stored(folder, database)
    lost = [text for text in kept if found.get(text) != 1]
    check(not lost, f"{len(lost)} of {len(kept)} ratings are not in the database once: {lost[:3]}")
    for (kind, status), count in sorted(counts.items(), key=str):
        print(f"{kind:12} {status}: {count}")
    tenth = max(len(memory) // 10, 1)
    early, late = statistics.mean(memory[tenth : 2 * tenth] or memory[:1]), statistics.mean(memory[-tenth:])
    print(f"{sum(counts.values())} requests and {len(busy)} short chats in {minutes:g} min; {len(kept)} ratings kept")
    print(f"memory: {early / 2**20:.1f} MiB in the second tenth of the time, {late / 2**20:.1f} MiB in the last ({late / early - 1:+.1%})")
    print(f"short chat: 99 % within {p99(idle) * 1e3:.0f} ms idle, {p99(busy) * 1e3:.0f} ms under load ({p99(busy) / p99(idle):.2f} times)")
    check(late < 1.1 * early, "memory stays within 10 %")
    check(p99(busy) < 3 * p99(idle), "a short chat takes under three times as long")


def metrics(run):
    """The log of a run without its times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def steps(run):
    try:
        return (run / "metrics.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def kill_runs(folder, what, command, last, kills, seed):
    """Kills a training `kills` times, over as many runs as that takes, and compares each with one that was not killed."""
    whole = folder / f"{what}-whole"
    # Two short runs find out what there is to find out about kernels: later ones begin with the same choices.
    for run in ("first", "second"):
        wgpt(folder, *command, "--out", folder / f"{what}-{run}", "--steps", 2)
    wgpt(folder, *command, "--out", whole, "--steps", last)
    weights = lambda run: (run / f"checkpoint-{last:08}" / "model.safetensors").read_bytes()
    rng, done, runs, begun = random.Random(seed), 0, 0, time.monotonic()
    while done < kills:
        run = folder / f"{what}-killed-{runs}"
        runs += 1
        ended = False
        while not ended:
            arguments = [*command, "--out", run, "--steps", last, *(["--resume"] if (run / "metrics.jsonl").exists() else [])]
            process = subprocess.Popen([WGPT, *map(str, arguments)], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            before, wanted = steps(run), rng.randint(0, 12)
            limit = time.monotonic() + 60
            while done < kills and process.poll() is None and steps(run) < before + wanted and time.monotonic() < limit:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.02))
            if done < kills and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
                if done % 50 == 0:
                    print(f"{what}: {done} kills in {time.monotonic() - begun:.0f} s", flush=True)
                continue
            _, said = process.communicate(timeout=600)
            check(process.returncode == 0, f"{what} goes on after {done} kills: {said.decode()[-500:]}")
            ended = True
        differ = [pair for pair in zip(metrics(run), metrics(whole), strict=True) if pair[0] != pair[1]]
        check(not differ, f"{what}: the log after {done} kills is that of a run that was not killed: {differ[:1]}")
        check(weights(run) == weights(whole), f"{what}: the weights after {done} kills are those of a run that was not killed")
    print(f"{what}: {done} kills over {runs} runs in {time.monotonic() - begun:.0f} s; logs and weights are the same")


def kill_servers(folder, model, kills, seed):
    """Kills a server while it stores ratings."""
    database, kept, rng, begun = folder / "killed.sqlite", [], random.Random(seed), time.monotonic()
    sent = set()
    for number in range(kills):
        with Server(folder, model, "--feedback", database) as server:
            end = threading.Event()

            def client(name):
                count = 0
                while not end.is_set():
                    text = f"{number} {name} {count}"
                    count += 1
                    sent.add(f"the cow? {text}")
                    try:
                        status, _ = server.json("POST", "/wgpt/rate", rating(text, name))
                    except (OSError, ValueError, serving.http.client.HTTPException):
                        return
                    if status == 200:
                        kept.append(f"the cow? {text}")

            clients = [threading.Thread(target=client, args=(name,)) for name in ("anna", "bob", "carl")]
            [one.start() for one in clients]
            time.sleep(rng.uniform(0, 0.4))
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            end.set()
            [one.join() for one in clients]
    found = stored(folder, database)
    lost = [text for text in kept if found.get(text) != 1]
    strange = [text for text, count in found.items() if text not in sent or count != 1]
    check(kept and not lost, f"{len(lost)} of {len(kept)} acknowledged ratings are lost: {lost[:3]}")
    check(not strange, f"ratings that nobody sent, or twice: {strange[:3]}")
    print(f"server: {kills} kills in {time.monotonic() - begun:.0f} s; {len(kept)} ratings acknowledged, {len(found)} stored, none lost")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="of load; 0 for none")
    parser.add_argument("--kills", type=int, nargs=3, default=[200, 50, 50], metavar=("PRETRAIN", "PPO", "SERVER"))
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = make_model(folder)
        common = ["--sample-tokens", 0, "--quiet", "--json"]
        size = ["--layers", 1, "--heads", 2, "--width", 16, "--context", 16, "--batch", 2, "--val-batches", 2]
        pretrain = ["pretrain", "--data", "text.txt", "--save-every", 7, "--dropout", 0.1, "--val-every", 50, *size, *common]
        ppo = ["ppo", "--model", "base", "--prompts", "text.txt", "--judge", "pattern:e", "--batch", 8, "--prompt-tokens", 4]
        ppo += ["--max-tokens", 24, "--normalise", 16, "--save-every", 2, "--sample-every", 1, "--quiet", "--json"]
        if given.kills[0]:
            kill_runs(folder, "pretrain", pretrain, 400, given.kills[0], given.seed)
        if given.kills[1]:
            kill_runs(folder, "ppo", ppo, 30, given.kills[1], given.seed)
        if given.kills[2]:
            kill_servers(folder, model, given.kills[2], given.seed)
        if given.minutes:
            load(folder, model, given.minutes)
    print(f"{serving.checks} checks: nothing is lost")


main()
