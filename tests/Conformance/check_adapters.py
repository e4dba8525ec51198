#!/usr/bin/env python3
"""Asks PEFT whether it reads the adapters that this library wrote, and has it write some that this library reads.

    dotnet run -c Release --project tests/Conformance -- export-adapters CASES DIR
    python3 check_adapters.py DIR
    dotnet run -c Release --project tests/Conformance -- adapters DIR

Every folder in DIR holds a checkpoint, "base", and adapters of it, "adapter". No tensor may be missing or unexpected, and the logits must be those in
"adapted.safetensors". PEFT then makes adapters for the same layers with other ranks, "peft", and leaves its logits in "peft.safetensors".
"""
import json
import os
import sys
import traceback
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file


def base(place):
    path = os.path.join(place, "base")
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    try:
        model.set_experts_implementation("eager")     # the grouped products refuse widths as small as these
    except Exception:
        pass
    return model


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits


def check(place):
    recorded = load_file(os.path.join(place, "adapted.safetensors"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = peft.PeftModel.from_pretrained(base(place), os.path.join(place, "adapter")).eval()
    wrong = [str(w.message)[:200] for w in caught if "adapter keys" in str(w.message) or "unexpected" in str(w.message).lower()]
    names = load_file(os.path.join(place, "adapter", "adapter_model.safetensors"))
    loaded = peft.get_peft_model_state_dict(model)
    if set(names) != set(loaded):
        wrong.append(f"tensors differ: {sorted(set(names) ^ set(loaded))[:4]}")
    error = (logits(model, recorded["ids"]).double() - recorded["logits"].double()).abs().max().item()
    return error, recorded["tolerance"].item(), wrong


def write(place, seed):
    recorded = load_file(os.path.join(place, "adapted.safetensors"))
    with open(os.path.join(place, "adapter", "adapter_config.json")) as file:
        targets = sorted(json.load(file)["target_modules"])
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=3, lora_dropout=0.1, target_modules=targets, use_rslora=seed % 2 == 1,
                             rank_pattern={targets[0]: 4}, alpha_pattern={targets[-1]: 7})
    torch.manual_seed(seed)
    model = peft.get_peft_model(base(place), config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.normal_(std=0.1)
    model.save_pretrained(os.path.join(place, "peft"))
    save_file({"logits": logits(model, recorded["ids"]).contiguous()}, os.path.join(place, "peft.safetensors"))


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    root = sys.argv[1]
    names = sorted(n for n in os.listdir(root) if os.path.isdir(os.path.join(root, n)))
    passed = 0
    for seed, name in enumerate(names):
        place = os.path.join(root, name)
        try:
            error, tolerance, wrong = check(place)
            good = error <= tolerance and not wrong
            print(f"{name} {error:.3g} {tolerance:.3g} {'pass' if good else 'fail'} {' '.join(wrong)}".rstrip(), flush=True)
            write(place, seed)
            passed += good
        except Exception:
            print(f"{name} fail {traceback.format_exc().strip().splitlines()[-1][:300]}", flush=True)
    print(f"peft {peft.__version__}, transformers {transformers.__version__}: {passed} of {len(names)} passed")
    return 0 if names and passed == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
