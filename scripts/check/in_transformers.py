#!/usr/bin/env python3
"""The mean negative log-likelihood of a text by transformers, in the windows of `wgpt eval`, to check a saved folder.

    pip install torch transformers
    python3 scripts/check/in_transformers.py FOLDER TEXT [CONTEXT]

FOLDER is a model saved by wgpt (config.json, model.safetensors, tokenizer.json). Prints tokens, scored tokens and the
mean, which must equal those of `wgpt eval --model FOLDER --text TEXT --context CONTEXT --json`. Fails if weights are
missing, unexpected or of the wrong shape.
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional as F
from transformers import AutoModelForCausalLM


def main(folder, text, context=None):
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    found = {key: value for key, value in report.items() if value}
    if found:
        sys.exit(f"{folder} does not fit: {found}")
    ids = Tokenizer.from_file(f"{folder}/tokenizer.json").encode(
        Path(text).read_text(encoding="utf-8"), add_special_tokens=False
    )
    ids = torch.tensor(ids.ids)
    context = int(context or model.config.max_position_embeddings)
    windows = ids[: len(ids) // context * context].view(-1, context)
    total = 0.0
    with torch.no_grad():
        for window in windows:
            logits = model.eval()(window[None]).logits[0, :-1]
            total += F.cross_entropy(logits.double(), window[1:], reduction="sum").item()
    scored = windows.shape[0] * (context - 1)
    print({"tokens": len(ids), "scored": scored, "mean_nll": total / scored})


if __name__ == "__main__":
    main(*sys.argv[1:])
