#!/usr/bin/env python3
"""Tests `wgpt serve` with OpenAI's own client: chats, streams, completions, embeddings, log-probabilities, choices,
stops, JSON mode, usage and errors.

    pip install openai
    python3 scripts/check/openai_client.py [MODEL]

Creates a tiny model first. MODEL (or WGPT_SMOLLM2), a chat model, is also asked for JSON and a stream.
"""

import base64
import json
import os
import pathlib
import struct
import sys
import tempfile

import openai
import serving
from serving import Server, check, make_model

def refused(kind, what, call):
    """The client must raise `kind`; returns the error."""
    try:
        call()
    except kind as error:
        check(True, what)
        return error
    except openai.OpenAIError as error:
        raise SystemExit(f"FAILED: {what}: {type(error).__name__} instead of {kind.__name__}: {error}")
    raise SystemExit(f"FAILED: {what} was not refused")


def tiny(client):
    cow = dict(model="talker", messages=[{"role": "user", "content": "the cow?"}], temperature=0, max_tokens=8)
    chat, text = client.chat.completions.create, client.completions.create

    names = [model.id for model in client.models.list()]
    check(names == ["talker"] and client.models.retrieve("talker").owned_by == "wgpt", "models are listed")

    whole = chat(**cow)
    check(whole.choices[0].message.content == "moo" and whole.choices[0].finish_reason == "stop", whole)
    check(whole.choices[0].message.role == "assistant" and whole.object == "chat.completion", whole)
    check(whole.usage.completion_tokens == 3 and whole.usage.total_tokens == whole.usage.prompt_tokens + 3, whole.usage)
    check(whole.usage.prompt_tokens_details.cached_tokens >= 0, whole.usage)

    chunks = list(chat(**cow, stream=True, stream_options={"include_usage": True}))
    check(chunks[0].choices[0].delta.role == "assistant", "the first chunk has the role")
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    check("".join(deltas) == "moo" and chunks[-2].choices[0].finish_reason == "stop", chunks)
    check(chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 3, "the last chunk has the usage")
    check(all(chunk.usage is None for chunk in chunks[:-1]), "and only the last")
    check(all(chunk.usage is None for chunk in chat(**cow, stream=True)), "usage is told where it is asked for")
    parts = [{"role": "user", "content": [{"type": "text", "text": "the "}, {"type": "text", "text": "cow?"}]}]
    check(chat(**{**cow, "messages": parts}).choices[0].message.content == "moo", "contents may have parts")

    told = chat(**cow, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    check([token.token for token in told] == ["m", "o", "o"], told)
    check(all(token.top_logprobs[0].token == token.token and len(token.top_logprobs) == 3 for token in told), told)
    check(all(token.logprob <= 0 and token.bytes == list(token.token.encode()) for token in told), told)
    streamed = chat(**cow, logprobs=True, top_logprobs=1, stream=True)
    streamed = [token for chunk in streamed if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content]
    check([token.token for token in streamed] == ["m", "o", "o"], "streams tell the same tokens")
    wide = chat(**cow, extra_body={"top_logits": 50}).choices[0].logprobs.content
    check(len(wide[0].top_logprobs) == 50, "the page's extension")

    wild = {**cow, "temperature": 1.0, "max_tokens": 16}
    several = chat(**wild, n=3, seed=5)
    check(sorted(choice.index for choice in several.choices) == [0, 1, 2], several)
    again = chat(**wild, n=3, seed=5)
    texts = lambda answer: [choice.message.content for choice in answer.choices]
    check(texts(several) == texts(again), "the same seed gives the same answers")
    by_choice = {}
    for chunk in chat(**wild, n=3, seed=5, stream=True):
        choice = chunk.choices[0]
        by_choice[choice.index] = by_choice.get(choice.index, "") + (choice.delta.content or "")
    check([by_choice[index] for index in range(3)] == texts(several), "streams of several choices")

    check(chat(**cow, stop="o").choices[0].message.content == "m", "a stop ends the answer and is cut off")
    check(chat(**cow, stop=["x", "oo"]).choices[0].message.content == "m", "a stop may lie across tokens")
    cut = chat(**{**cow, "max_tokens": 1}).choices[0]
    check((cut.message.content, cut.finish_reason) == ("m", "length"), cut)
    check(chat(**{**cow, "max_tokens": 10**9}).choices[0].message.content == "moo", "as many tokens as fit")
    newer = {key: value for key, value in cow.items() if key != "max_tokens"}
    check(chat(**newer, max_completion_tokens=2).choices[0].message.content == "mo", "max_completion_tokens")
    tokens = client.post("/../tokenize", body={"text": "om"}, cast_to=object)["tokens"]
    (o, m) = (token["id"] for token in tokens)
    check("m" not in chat(**cow, logit_bias={m: -100}).choices[0].message.content, "a bias forbids a token")
    check(chat(**cow, logit_bias={o: 100}).choices[0].message.content == "o" * 8, "a bias forces a token")
    long = {**cow, "max_tokens": 16}
    check(chat(**long, logit_bias={o: 30}, frequency_penalty=2).choices[0].message.content != "o" * 16, "penalties")

    for seed in range(8):
        answer = chat(**{**wild, "max_tokens": 40}, seed=seed, response_format={"type": "json_object"})
        content = answer.choices[0].message.content
        check(isinstance(json.loads(content), dict), f"JSON mode gives an object: {content!r}")

    # The end of a line ends an answer, so it must not appear.
    newline = client.post("/../tokenize", body={"text": "\n"}, cast_to=object)["tokens"][0]["id"]
    the = dict(model="talker", prompt="the ", max_tokens=4, temperature=0, logit_bias={newline: -100})
    whole = text(**the, logprobs=2, n=1)
    logprobs = whole.choices[0].logprobs
    check("".join(logprobs.tokens) == whole.choices[0].text and logprobs.text_offset == [0, 1, 2, 3], whole)
    check(all(len(top) == 2 for top in logprobs.top_logprobs), logprobs)
    ids = [token["id"] for token in client.post("/../tokenize", body={"text": "the "}, cast_to=object)["tokens"]]
    by_ids = text(**{**the, "prompt": ids})
    check(by_ids.choices[0].text == whole.choices[0].text, "a prompt of tokens is the same prompt")
    both = text(model="talker", prompt=["the ", "my "], max_tokens=2, n=2, echo=True)
    starts = [choice.text[:3] for choice in both.choices]
    check(starts == ["the", "the", "my ", "my "] and [choice.index for choice in both.choices] == [0, 1, 2, 3], both)
    streamed = "".join(chunk.choices[0].text for chunk in text(**the, stream=True))
    check(streamed == whole.choices[0].text, "completions stream")

    vectors = client.embeddings.create(model="talker", input=["the cow?", "the cat?"])
    check(len(vectors.data) == 2 and abs(sum(x * x for x in vectors.data[0].embedding) - 1) < 1e-3, "embeddings")
    plain = client.embeddings.create(model="talker", input="the cow?", encoding_format="float")
    check(all(abs(a - b) < 1e-6 for a, b in zip(plain.data[0].embedding, vectors.data[0].embedding)), "as floats")
    raw = client.post("/embeddings", body={"input": "the cow?", "encoding_format": "base64"}, cast_to=object)
    packed = base64.b64decode(raw["data"][0]["embedding"])
    check(struct.unpack(f"<{len(packed) // 4}f", packed)[0] == vectors.data[0].embedding[0], "as base64")

    missing = refused(openai.NotFoundError, "an unknown model", lambda: chat(**{**cow, "model": "gpt-4"}))
    check(missing.code == "model_not_found" and missing.param == "model", missing.body)
    bad = openai.BadRequestError
    hot = refused(bad, "a temperature of 3", lambda: chat(**{**cow, "temperature": 3}))
    check(hot.param == "temperature" and hot.type == "invalid_request_error", hot.body)
    refused(bad, "no messages", lambda: chat(**{**cow, "messages": []}))
    refused(bad, "an unknown role", lambda: chat(**{**cow, "messages": [{"role": "robot", "content": "hi"}]}))
    refused(bad, "a character that the model does not know", lambda: chat(**{**cow, "messages": [{"role": "user", "content": "床"}]}))
    full = refused(bad, "a prompt over the context", lambda: chat(**{**cow, "messages": [{"role": "user", "content": "a" * 300}]}))
    check(full.code == "context_length_exceeded", full.body)
    refused(bad, "a schema", lambda: chat(**cow, response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}))
    refused(bad, "tools", lambda: chat(**cow, tools=[{"type": "function", "function": {"name": "a"}}]))
    refused(bad, "a suffix", lambda: text(model="talker", prompt="a", suffix="b"))
    refused(bad, "an empty prompt", lambda: text(model="talker", prompt=""))
    refused(bad, "an empty input", lambda: client.embeddings.create(model="talker", input=""))


def with_key(url):
    key = openai.AuthenticationError
    refused(key, "a wrong key", lambda: openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).models.list())
    check(len(list(openai.OpenAI(base_url=f"{url}/v1", api_key="secret", max_retries=0).models.list())) == 1, "the right key")


def talks(client, name):
    ask = [{"role": "user", "content": "Describe Paris as JSON with the keys country and river."}]
    answer = client.chat.completions.create(
        model=name, messages=ask, max_tokens=60, temperature=0.7, seed=1, response_format={"type": "json_object"})
    value = json.loads(answer.choices[0].message.content)
    check(isinstance(value, dict), answer)
    print(f"JSON mode: {value}")
    ask = [{"role": "user", "content": "What is the capital of France?"}]
    stream = client.chat.completions.create(model=name, messages=ask, max_tokens=24, temperature=0, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    check("Paris" in text, text)
    print(f"stream: {text!r}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = make_model(folder)
        with Server(folder, model) as server:
            tiny(openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120))
            status, said = server.stop()
            check(status == 0 and said["requests"] > 40, "it ends with 0 and says what it did")
        with Server(folder, model, "--api-key", "secret") as server:
            with_key(server.url)
        real = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("WGPT_SMOLLM2")
        if real:
            with Server(folder, pathlib.Path(real).resolve()) as server:
                client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=600)
                talks(client, client.models.list().data[0].id)
        else:
            print("skipped: no model that can talk was named")
    print(f"{serving.checks} checks with openai {openai.__version__}: all as OpenAI's client expects")


main()
