#!/usr/bin/env python3
"""Asks a chat model 200 everyday questions whose wording no training has seen, and counts the answers that do what was asked for.

    scripts/check/talker.py                     the model in weights/
    scripts/check/talker.py MODEL --show        another, and every answer with the verdict on it
    scripts/check/talker.py --json              the shares as one JSON object

talker.json, beside this script, has the questions by language and intent, and what an acceptable answer looks like: regular
expressions, given for a language, an intent or a question, of which one of "any", all of "all" and none of "none" must be
found. An answer that says the same three times over is never acceptable. Nothing may be trained on these questions; none that is in
data/, or that a template of the demo's questions can make, is accepted here. Answers are the likeliest, of at most 64 tokens. Needs a built wgpt (target/release/wgpt, or WGPT_BIN).
"""

import argparse
import json
import pathlib
import re
import sys
import tempfile
import time

from serving import Server

PATTERNS = ["any", "all", "none"]
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Three times the same few words, or characters of a script without spaces.
REPEATED = [r"\b(\w+(?:\W+\w+){1,5})(?:\W+\1\b){2,}", r"([\u4e00-\u9fff，。]{2,12})\1{2,}"]


def accepted(question, answer):
    if any(re.search(pattern, answer, re.IGNORECASE) for pattern in REPEATED):
        return False
    found = lambda pattern: re.search(pattern, answer, re.IGNORECASE) is not None
    any_of, all_of, none_of = (question[name] for name in PATTERNS)
    return any(map(found, any_of)) and all(map(found, all_of)) and not any(map(found, none_of))


def questions():
    """All of them, each with all its patterns."""
    for language, of_language in json.loads((HERE / "talker.json").read_text()).items():
        for intent, of_intent in of_language["intents"].items():
            for question in of_intent["questions"]:
                levels = (of_language, of_intent, question)
                patterns = {name: [pattern for level in levels for pattern in level.get(name, [])] for name in PATTERNS}
                yield {"language": language, "intent": intent, "prompt": question["prompt"]} | patterns


def plain(text):
    """A text's letters and digits in small letters: two wordings that differ only in marks and spaces are the same."""
    return re.sub(r"[\W_]", "", text.lower())


def taught():
    """The users' messages in the data that models are taught."""
    for file in (ROOT / "data").glob("*.jsonl"):
        for line in map(json.loads, file.read_text().splitlines()):
            prompt = line.get("prompt", [])
            messages = line.get("messages") or ([{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)
            yield from (plain(message["content"]) for message in messages if message["role"] == "user")


def templates():
    """What the demo's questions can be, as regular expressions over what `plain` leaves of a question."""
    for file in (ROOT / "crates/wgpt-cli/questions").glob("*.json"):
        content = json.loads(file.read_text())
        for topic in content["topics"]:
            values = {name: set(some) for name, some in topic.get("slots", {}).items()}
            for fact in topic.get("facts", []):
                for name, value in fact.items():
                    values.setdefault(name, set()).add(value)
            alternatives = lambda texts: "(?:" + "|".join(sorted({re.escape(plain(text)) for text in texts})) + ")"
            numbers = alternatives(content["numbers"])[:-1] + r"|\d+)"
            computed = alternatives(topic["words"]) if "words" in topic else numbers
            for ask in topic["ask"]:
                parts = re.split(r"\{(\w+)\}", ask)
                of_slot = lambda name: alternatives(values[name]) if name in values else computed
                yield re.compile("".join(of_slot(part) if index % 2 else plain(part) for index, part in enumerate(parts)))


def answers(model, asked):
    """The answers, with the time left said every ten seconds."""
    begun = said = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Server(pathlib.Path(folder), model.resolve()) as server:
        _, listed = server.json("GET", "/v1/models")
        name = listed["data"][0]["id"]
        for number, question in enumerate(asked, 1):
            messages = [{"role": "user", "content": question["prompt"]}]
            body = {"model": name, "messages": messages, "temperature": 0, "max_tokens": 64}
            status, answer = server.json("POST", "/v1/chat/completions", body)
            if status != 200:
                sys.exit(f"{question['prompt']!r}: {answer}")
            yield answer["choices"][0]["message"]["content"].strip()
            if time.monotonic() - said > 10:
                said = time.monotonic()
                left = (said - begun) / number * (len(asked) - number)
                print(f"{number} of {len(asked)} questions, about {left:.0f} s left", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=pathlib.Path, default=ROOT / "weights/talker.gguf", metavar="MODEL")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    asked = list(questions())
    known, made = set(taught()), list(templates())
    spoils = lambda said: said in known or any(template.fullmatch(said) for template in made)
    if spoilt := [question["prompt"] for question in asked if spoils(plain(question["prompt"]))]:
        sys.exit(f"these questions are taught, so they tell nothing: {spoilt}")
    tally = {}
    for question, answer in zip(asked, answers(arguments.model, asked)):
        good = accepted(question, answer)
        for key in ((question["language"], "all"), (question["language"], question["intent"])):
            right, of = tally.get(key, (0, 0))
            tally[key] = (right + good, of + 1)
        if arguments.show:
            print(f"{'+' if good else '-'} {question['language']} {question['intent']}: {question['prompt']}\n    {answer!r}")
    if arguments.json:
        languages = sorted({language for language, _ in tally})
        shares = {
            language: {intent: {"accepted": right, "of": of} for (other, intent), (right, of) in tally.items() if other == language}
            for language in languages
        }
        print(json.dumps(shares))
        return
    for (language, intent), (right, of) in sorted(tally.items(), key=lambda entry: (entry[0][0], entry[0][1] != "all", entry[0][1])):
        print(f"{language} {intent:<14}{right:>4} of {of:>3}  {100 * right / of:3.0f} %")


if __name__ == "__main__":
    main()
