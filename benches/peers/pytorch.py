#!/usr/bin/env python3
"""The cases of cases.rs by PyTorch: native code for the processor (or CUDA, where it has it), a ceiling rather than a peer.

    benches/peers/pytorch.py > FILE          a JSON list of {"group", "name", "seconds"}, medians
    benches/peers/pytorch.py --step LAYERS HEADS WIDTH BATCH CONTEXT VOCABULARY
                                             only a training step of this size: eager and compiled, in f32 (with and without
                                             TF32, which is for NVIDIA's matrix units) and with autocast to bf16

Without PyTorch it says so and writes an empty list.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    print("skipped: PyTorch is not installed", file=sys.stderr)
    print("[]")
    sys.exit()

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
VOCABULARY = 65


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def values(*shape):
    return torch.randn(*shape, device=DEVICE)


def ids(count, most):
    return (torch.arange(count, device=DEVICE) * 7919 + 13) % most


def both_ways(forward, *leaves):
    leaves = [leaf.requires_grad_() for leaf in leaves]

    def call():
        out = forward(*leaves)
        out.backward(torch.ones_like(out))
        for leaf in leaves:
            leaf.grad = None

    return call


class Block(nn.Module):
    def __init__(self, heads, width):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        batch, context, width = x.shape
        parts = self.qkv(self.norm1(x)).split(width, 2)
        q, k, v = (part.view(batch, context, self.heads, -1).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, context, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Model(nn.Module):
    def __init__(self, layers, heads, width, context, vocabulary):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*[Block(heads, width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, inputs):
        x = self.tokens(inputs) + self.positions.weight
        return functional.linear(self.norm(self.blocks(x)), self.tokens.weight)


def step(layers, heads, width, batch, context, vocabulary=VOCABULARY, compiled=False, half=False):
    model = Model(layers, heads, width, context, vocabulary).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    inputs, targets = ids(batch * context, vocabulary).view(batch, context), ids(batch * context, vocabulary - 1)
    precision = torch.autocast(DEVICE, torch.bfloat16) if half else contextlib.nullcontext()
    forward = torch.compile(model) if compiled else model

    def call():
        with precision:
            loss = functional.cross_entropy(forward(inputs).view(-1, vocabulary), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()

    return call


def adamw(length):
    weight = nn.Parameter(values(length))
    weight.grad = values(length)
    return torch.optim.AdamW([weight], lr=1e-9).step


def cases():
    yield "training step 4x128 12x64", step(4, 4, 128, 12, 64)
    yield "training step 6x384 4x256", step(6, 6, 384, 4, 256)
    for m, n, k in [(256,) * 3, (512,) * 3, (1024,) * 3, (1024, 1536, 384)]:
        a, b = values(m, k), values(k, n)
        yield f"matmul {m}x{n}x{k}", lambda a=a, b=b: a @ b
    for batch, context, heads, dim in [(12, 64, 4, 32), (4, 256, 6, 64)]:
        q, k, v = (values(batch, heads, context, dim) for _ in range(3))
        attend = lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        yield f"attention {batch}x{context} {heads}x{dim} forward", lambda q=q, k=k, v=v: attend(q, k, v)
        leaves = (values(batch, heads, context, dim) for _ in range(3))
        yield f"attention {batch}x{context} {heads}x{dim} both ways", both_ways(attend, *leaves)
    norm = lambda x, weight, bias: functional.layer_norm(x, (384,), weight, bias)
    x, weight, bias = values(1024, 384), values(384), values(384)
    yield "layernorm 1024x384 forward", lambda: norm(x, weight, bias)
    yield "layernorm 1024x384 both ways", both_ways(norm, values(1024, 384), values(384), values(384))
    yield "softmax 1024x384 both ways", both_ways(lambda x: x.softmax(1), values(1024, 384))
    targets = ids(1024, 4096)
    yield "cross entropy 1024x4096 both ways", both_ways(lambda x: functional.cross_entropy(x, targets), values(1024, 4096))
    rows = ids(1024, 4096)
    yield "embedding 1024 of 4096x384 both ways", both_ways(lambda table: functional.embedding(rows, table), values(4096, 384))
    yield "gelu 1048576 both ways", both_ways(lambda x: functional.gelu(x, approximate="tanh"), values(1 << 20))
    a, b = values(1 << 20), values(1 << 20)
    yield "add 1048576", lambda: a + b
    yield "adamw 1048576", adamw(1 << 20)


def steps(size):
    """A training step of one size in every way that PyTorch offers here."""
    for precision in ["f32", *(["TF32"] if DEVICE == "cuda" else []), "bf16"]:
        torch.set_float32_matmul_precision("high" if precision == "TF32" else "highest")
        for compiled in [False, True]:
            name = f"{precision}, {'compiled' if compiled else 'eager'}"
            try:
                yield name, seconds(step(*size, compiled=compiled, half=precision == "bf16"))
            # Compiling needs a compiler for the device, and large steps its memory.
            except Exception as error:
                print(f"skipped: {name}: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)


def seconds(call):
    """The median of a dozen samples of at least 30 ms, after a warm-up."""
    call()
    wait()
    begun = time.perf_counter()
    call()
    wait()
    count = max(1, round(0.03 / max(time.perf_counter() - begun, 1e-6)))
    samples = []
    for _ in range(12):
        begun = time.perf_counter()
        for _ in range(count):
            call()
        wait()
        samples.append((time.perf_counter() - begun) / count)
    return statistics.median(samples)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--step", nargs=6, type=int, metavar="N")
wanted = parser.parse_args()
name, version = f"PyTorch {DEVICE}", torch.__version__
if wanted.step:
    print(json.dumps([{"name": f"{name}, {how}", "version": version, "seconds": taken} for how, taken in steps(wanted.step)]))
else:
    print(json.dumps([{"group": group, "name": name, "version": version, "seconds": seconds(call)} for group, call in cases()]))
