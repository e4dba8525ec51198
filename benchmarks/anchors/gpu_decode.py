"""Decoding of models of about 1B parameters in Hugging Face transformers: random weights, bfloat16, greedy. The static cache, which it compiles, is
tried next to its default cache where the model supports it; the faster counts. Each is warmed up with the measured number of tokens. A line of JSON
each."""
import json
import sys
import time

import torch
from transformers import BambaConfig, BambaForCausalLM, LlamaConfig, LlamaForCausalLM

SHARED = dict(vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_attention_heads=32, num_key_value_heads=8, tie_word_embeddings=True)


def seconds(model, ids, count, cache):
    options = {"cache_implementation": cache} if cache else {}
    torch.cuda.synchronize()
    start = time.perf_counter()
    with torch.no_grad():
        model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0, **options)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(name, model, batch, prompt=512, count=96):
    ids = torch.randint(0, 1000, (batch, prompt), device="cuda")
    best = None
    for cache in (None, "static") if "llama" in name else (None,):
        try:
            seconds(model, ids, count, cache)
            seconds(model, ids, 1, cache)
            first = min(seconds(model, ids, 1, cache) for _ in range(2))
            step = (min(seconds(model, ids, count, cache) for _ in range(2)) - first) / (count - 1)
            print(f"{name}, batch {batch}, cache {cache or 'default'}: {batch / step:.0f} tokens/s", file=sys.stderr, flush=True)
            if best is None or step < best[0]:
                best = (step, first)
        except Exception as error:
            print(f"{name}, batch {batch}, cache {cache}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr, flush=True)
    step, first = best
    print(json.dumps(dict(design=name, batch=batch, tokens_per_second=batch / step, step_ms=1e3 * step, first_ms=1e3 * first)), flush=True)


def run(name, make):
    try:
        model = make().to("cuda", torch.bfloat16).eval()
        for batch in (1, 4):
            measure(name, model, batch)
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)


torch.set_default_device("cuda")
run("1B-llama", lambda: LlamaForCausalLM(LlamaConfig(num_hidden_layers=16, **SHARED)))
run("1B-inter-1:5", lambda: BambaForCausalLM(BambaConfig(num_hidden_layers=13, attn_layer_indices=[3, 7], mamba_n_heads=32, mamba_d_head=128, mamba_d_state=128,
    mamba_n_groups=1, mamba_expand=2, **SHARED)))
