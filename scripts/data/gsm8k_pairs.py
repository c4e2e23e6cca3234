#!/usr/bin/env python3
"""Creates preference pairs from GSM8K's model solutions: a right and a wrong solution of the same question.

    scripts/data/gsm8k_pairs.py example_model_solutions.jsonl --most 600 > pairs.jsonl

Every question with both kinds yields one pair, drawn with a seed; --most keeps the shortest ones, which a machine
without a GPU processes sooner. Calculator marks (<<3*4=12>>) are removed, so that a reader has to understand the text.
"""
import argparse
import json
import random
import re

MODELS = ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("solutions", help="example_model_solutions.jsonl of openai/grade-school-math")
    arguments.add_argument("--most", type=int, default=None, help="keep so many of the shortest pairs")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--keep-marks", action="store_true", help="keep the calculator's marks")
    given = arguments.parse_args()
    draw = random.Random(given.seed)
    text = (lambda s: s) if given.keep_marks else (lambda s: re.sub(r"<<[^>]*>>", "", s))
    pairs = []
    with open(given.solutions, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            right = [text(row[m]["solution"]) for m in MODELS if row[m]["is_correct"]]
            wrong = [text(row[m]["solution"]) for m in MODELS if not row[m]["is_correct"]]
            if right and wrong:
                pairs.append({"prompt": row["question"], "chosen": draw.choice(right), "rejected": draw.choice(wrong)})
    pairs.sort(key=lambda pair: sum(map(len, pair.values())))
    pairs = pairs[: given.most]
    draw.shuffle(pairs)
    for pair in pairs:
        print(json.dumps(pair, ensure_ascii=False))


if __name__ == "__main__":
    main()
