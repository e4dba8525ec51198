#!/usr/bin/env python3
"""Records a layer of RWKV-7 of flash-linear-attention, on the CPU in float64 and without Triton.

    python3 make_case.py --fla CHECKOUT

The checkout is github.com/fla-org/flash-linear-attention (for the recorded case, commit bc3b101d of 2026-08-22). Its layer runs as it is, with the
formulas that it keeps next to its kernels: token shift, mixture, keys, output, and the recurrence of fla/ops/generalized_delta_rule/dplr/naive.py.
The norm of the keys (x / sqrt(sum x^2 + 1e-6)) and the norm of each head are short PyTorch code below. The layer is the first of a model, which has
no values of an earlier layer. Needs torch 1.13 or later and numpy, nothing else. Writes layer.safetensors next to this file.
"""
import argparse
import os
import sys
import types

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "conformance"))
import make_fla_cases as cases                                              # noqa: E402

import torch                                                                # noqa: E402
import torch.nn as nn                                                       # noqa: E402
import torch.nn.functional as F                                             # noqa: E402

BATCH, LENGTH, WIDTH, HEADS = 2, 21, 12, 3


class GroupNorm(nn.Module):
    def __init__(self, num_groups, hidden_size, elementwise_affine=True, bias=True, eps=1e-5, **kw):
        super().__init__()
        self.groups, self.eps = num_groups, eps
        self.weight, self.bias = nn.Parameter(torch.ones(hidden_size)), nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x):
        return F.group_norm(x.flatten(0, 1), self.groups, self.weight, self.bias, self.eps).view_as(x)


def layer_class(fla):
    def part(path, start, end):
        return cases.execute(os.path.join(fla, *path.split("/")), path.replace("/", "."), start, end, torch=torch, nn=nn)

    cases.install(fla)
    module = lambda name, **members: sys.modules.__setitem__(name, types.SimpleNamespace(**members))
    shift = part("fla/modules/token_shift.py", "def token_shift_ref", "@triton").token_shift_ref
    mixture = part("fla/ops/rwkv7/fused_addcmul.py", "def torch_addcmul_rwkv7", "").torch_addcmul_rwkv7
    keys = part("fla/ops/rwkv7/fused_k_update.py", "def k_update_ref", "@triton").k_update_ref
    output = part("fla/ops/rwkv7/gate_output_correction.py", "def gate_output_correction_ref", "def gate_output_correction_backward_ref")
    naive = cases.execute(os.path.join(fla, "fla", "ops", "generalized_delta_rule", "dplr", "naive.py"), "naive_dplr").dplr_recurrence

    def recurrence(r, w, k, v, kk, a, scale, **kw):
        assert scale == 1.0
        swap = lambda x: x.transpose(1, 2)
        # it scales queries by the root of their size
        o, state = naive(swap(r) * r.shape[-1] ** 0.5, swap(k), swap(v), swap(-kk), swap(kk * a), swap(w))
        cases.RECORD["state"] = state.detach()
        return swap(o), state

    module("fla.layers.rwkv6", LoRA=part("fla/layers/rwkv6.py", "class LoRA", "class DDLerpLinear").LoRA)
    module("fla.modules", GroupNorm=GroupNorm)
    module("fla.modules.l2norm", l2_norm=cases.l2norm)
    module("fla.modules.token_shift", token_shift=lambda x, *a, **kw: (shift(x), None))
    module("fla.ops.rwkv7", chunk_rwkv7=None, fused_mul_recurrent_rwkv7=recurrence)
    module("fla.ops.rwkv7.fused_addcmul", fused_addcmul_rwkv7=mixture)
    module("fla.ops.rwkv7.fused_k_update", fused_k_rwkv7=keys)
    module("fla.ops.rwkv7.gate_output_correction", gate_output_correction=output.gate_output_correction_ref)
    if not hasattr(torch, "compiler"):
        torch.compiler = types.SimpleNamespace(disable=lambda f: f)
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
    tensors = dict(x=x, y=y, weights=weights, state=cases.RECORD["state"], **{"grad.x": x.grad})
    for name, parameter in layer.named_parameters():
        tensors[name], tensors["grad." + name] = parameter, parameter.grad
    write(os.path.join(HERE, "layer.safetensors"), tensors)
    print({name: list(value.shape) for name, value in tensors.items() if not name.startswith("grad.")})
