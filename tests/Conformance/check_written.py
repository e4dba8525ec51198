#!/usr/bin/env python3
"""Asks transformers whether it reads what this library wrote.

    dotnet run -c Release --project tests/Conformance -- export CASES DIR
    python3 check_written.py DIR

Every folder in DIR is loaded as it is, in float32; no weight may be missing, unexpected or of another shape, and the logits must be those in NAME.logits.safetensors beside it.
"""
import os
import sys
import traceback

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import torch
import transformers
from safetensors.torch import load_file


def check(folder):
    recorded = load_file(folder + ".logits.safetensors")
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    model = model.eval()
    try:
        model.set_experts_implementation("eager")     # the grouped products refuse widths as small as these
    except Exception:
        pass
    wrong = [f"{kind} {sorted(map(str, info.get(kind) or []))[:4]}" for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if info.get(kind)]
    with torch.no_grad():
        logits = model(input_ids=recorded["ids"], use_cache=False).logits
    error, tolerance = (logits.double() - recorded["logits"].double()).abs().max().item(), recorded["tolerance"].item()
    return type(model).__name__, error, tolerance, wrong, sum(p.numel() for p in model.parameters())


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    root = sys.argv[1]
    names = sorted(n for n in os.listdir(root) if os.path.isdir(os.path.join(root, n)))
    passed = 0
    for name in names:
        try:
            kind, error, tolerance, wrong, count = check(os.path.join(root, name))
            good = error <= tolerance and not wrong
            print(f"{name} {kind} {count} {error:.3g} {tolerance:.3g} {'pass' if good else 'fail'} {' '.join(wrong)}".rstrip(), flush=True)
            passed += good
        except Exception:
            print(f"{name} fail {traceback.format_exc().strip().splitlines()[-1][:300]}", flush=True)
    print(f"transformers {transformers.__version__}: {passed} of {len(names)} passed")
    return 0 if names and passed == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
