#!/usr/bin/env python3
"""Records a layer of RWKV-7 of flash-linear-attention, on the CPU in float64 and without Triton.

    python3 make_case.py --fla CHECKOUT

The checkout is github.com/fla-org/flash-linear-attention (for the recorded case, commit bc3b101d of 2026-08-22). Its layer runs as it is, with the
formulas that it keeps next to its kernels: token shift, mixture, keys, output, and the recurrence of fla/ops/generalized_delta_rule/dplr/naive.py.
The norm of the keys (x / sqrt(sum x^2 + 1e-6)) and the norm of each head are short PyTorch code in make_fla_cases.py. The layer is the first of a
model, which has no values of an earlier layer. Needs torch 1.13 or later and numpy, nothing else. Writes layer.safetensors next to this file.
"""
import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "conformance"))
import make_fla_cases as cases                                              # noqa: E402

import torch                                                                # noqa: E402

BATCH, LENGTH, WIDTH, HEADS = 2, 21, 12, 3


def layer_class(fla):
    cases.install(fla)
    return cases.execute(os.path.join(fla, "fla", "layers", "rwkv7.py"), "fla.layers.rwkv7").RWKV7Attention


def write(path, tensors):
    """Safetensors in float64."""
    import json
    import struct
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        raw = tensor.detach().contiguous().numpy().tobytes()
        header[name] = dict(dtype="F64", shape=list(tensor.shape), data_offsets=[len(data), len(data) + len(raw)])
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fla", required=True)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(7)
    layer = layer_class(parser.parse_args().fla)(
        hidden_size=WIDTH, head_dim=None, num_heads=HEADS, decay_low_rank_dim=5, gate_low_rank_dim=7, a_low_rank_dim=3, v_low_rank_dim=2, layer_idx=0,
        num_hidden_layers=2, fuse_norm=True)
    layer.train(False)
    # everything random, so that a dropped or swapped tensor shows; weights are float32
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_((torch.randn_like(parameter) * 0.5 + (1 if "norm.weight" in name else 0)).float())
    x = (torch.randn(BATCH, LENGTH, WIDTH)).float().double().requires_grad_()
    y = layer(x)[0]
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    tensors = dict(x=x, y=y, weights=weights, state=cases.RECORD["recurrent_states"], **{"grad.x": x.grad})
    for name, parameter in layer.named_parameters():
        tensors[name], tensors["grad." + name] = parameter, parameter.grad
    write(os.path.join(HERE, "layer.safetensors"), tensors)
    print({name: list(value.shape) for name, value in tensors.items() if not name.startswith("grad.")})
