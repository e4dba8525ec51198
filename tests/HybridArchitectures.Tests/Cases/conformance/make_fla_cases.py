#!/usr/bin/env python3
"""Makes conformance cases of flash-linear-attention families, on the CPU and without Triton.

    python3 make_fla_cases.py --fla CHECKOUT --mamba CHECKOUT --out DIR [--only a,b]

The checkouts are github.com/fla-org/flash-linear-attention (for the recorded cases, commit bc3b101d of 2026-08-22) and, for Mamba-3, whose scan is the
reference in its tests, github.com/state-spaces/mamba (commit e9594ce1 of 2026-07-23). Its models, layers and the
formulas in fla/ops/*/naive.py run as they are. What needs Triton, transformers or flash-attn is replaced by short PyTorch code below: norms, short
convolutions, rotary positions, softmax attention, and the base classes of transformers. Needs torch 1.13 or later and numpy, nothing else.
"""
import argparse
import json
import math
import os
import re
import struct
import sys
import types

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

LENGTHS, PADS = (1, 3, 16, 37, 70), (0, 2, 5)


def execute(path, name, start="", end="", **members):
    """Runs a source file, or a part of it, with the default type of torch in place of float32, so that it can run in float64."""
    module = types.ModuleType(name)
    module.__dict__.update(members, wide=torch.get_default_dtype)
    source = open(path).read()
    source = source[source.index(start):source.index(end) if end else len(source)]
    future = "from __future__ import annotations\n"
    source = future + source.replace(future, "").replace("torch.float32", "wide()").replace(".float()", ".to(wide())")
    sys.modules[name] = module
    exec(compile(source, path, "exec"), module.__dict__)
    return module


# --- einops: the patterns of the layers, with at most one ellipsis ---

def rearrange(x, pattern, **sizes):
    left, right = (re.findall(r"\([^)]*\)|\S+", side) for side in pattern.split("->"))
    names = lambda item: item.strip("()").split()
    free = x.dim() - (len(left) - (1 if "..." in left else 0))
    expand = lambda items: [one for item in items for one in ([f"_{i}" for i in range(free)] if item == "..." else [item])]
    left, right = expand(left), expand(right)
    shape = {}
    for item, size in zip(left, x.shape):
        unknown = [name for name in names(item) if name not in sizes]
        known = int(np.prod([sizes[name] for name in names(item) if name in sizes]))
        for name in names(item):
            shape[name] = sizes.get(name, size // known if unknown else None)
    order = [name for item in left for name in names(item)]
    x = x.reshape([shape[name] for name in order])
    target = [name for item in right for name in names(item)]
    x = x.permute([order.index(name) for name in target])
    return x.reshape([int(np.prod([shape[name] for name in names(item)])) for item in right])


# --- modules that flash-linear-attention implements in Triton ---

class RMSNorm(nn.Module):
    def __init__(self, hidden_size, elementwise_affine=True, eps=1e-5, **kw):
        super().__init__()
        self.eps, self.weight, self.bias = eps, nn.Parameter(torch.ones(hidden_size)), None

    def normed(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight

    def forward(self, x, residual=None, prenorm=False):
        if residual is None:
            return self.normed(x)
        total = x + residual
        return (self.normed(total), total) if prenorm else self.normed(total)


class FusedRMSNormGated(RMSNorm):
    def forward(self, x, gate):
        return self.normed(x) * F.silu(gate)


class RMSNormGated(nn.Module):
    def __init__(self, hidden_size, eps=1e-5, norm_before_gate=False, group_size=None, **kw):
        super().__init__()
        self.eps, self.before, self.group = eps, norm_before_gate, group_size or hidden_size
        self.weight = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x, gate=None):
        if gate is not None and not self.before:
            x = x * F.silu(gate)
        parts = x.unflatten(-1, (x.shape[-1] // self.group, self.group))
        x = (parts * torch.rsqrt(parts.pow(2).mean(-1, keepdim=True) + self.eps)).flatten(-2) * self.weight
        return x * F.silu(gate) if gate is not None and self.before else x


class LayerNorm(nn.LayerNorm):
    def __init__(self, hidden_size, elementwise_affine=True, bias=True, eps=1e-5, **kw):
        super().__init__(hidden_size, eps)

    def forward(self, x, residual=None, prenorm=False):
        total = x if residual is None else x + residual
        return (super().forward(total), total) if prenorm else super().forward(total)


class GroupNorm(nn.Module):
    def __init__(self, num_groups, hidden_size, elementwise_affine=True, bias=True, eps=1e-5, **kw):
        super().__init__()
        self.groups, self.eps = num_groups, eps
        self.weight, self.bias = nn.Parameter(torch.ones(hidden_size)), nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x):
        return F.group_norm(x.flatten(0, 1), self.groups, self.weight, self.bias, self.eps).view_as(x)


def causal_conv1d(x, weight, bias=None, activation=None, backend=None, **kw):
    width = weight.shape[-1]
    y = F.conv1d(F.pad(x.transpose(1, 2), (width - 1, 0)), weight.unsqueeze(1), bias, groups=x.shape[-1]).transpose(1, 2)
    return (F.silu(y) if activation in ("silu", "swish") else y), None


class ShortConvolution(nn.Conv1d):
    def __init__(self, hidden_size, kernel_size, bias=False, activation="silu", **kw):
        super().__init__(hidden_size, hidden_size, kernel_size, groups=hidden_size, bias=bias)
        self.activation, self.backend = activation, "torch"

    def forward(self, x, **kw):
        self.inputs = x.detach()
        return causal_conv1d(x, self.weight.squeeze(1), self.bias, self.activation)[0], None


class RotaryEmbedding(nn.Module):
    def __init__(self, dim, base=10000.0, **kw):
        super().__init__()
        self.dim, self.base = dim, base

    def forward(self, q, k, **kw):
        angles = torch.outer(torch.arange(q.shape[1]).double(), self.base ** (-torch.arange(0, self.dim, 2).double() / self.dim))
        cosine, sine = (t[None, :, None, :].to(q.dtype) for t in (angles.cos(), angles.sin()))

        def turn(x):
            a, b = x.chunk(2, -1)
            return torch.cat([a * cosine - b * sine, b * cosine + a * sine], -1)
        return turn(q), turn(k)


RECORD = {}


def flash_attn_func(q, k, v, causal=True, window_size=(-1, -1)):
    RECORD["keys"], RECORD["values"] = k.detach().transpose(1, 2), v.detach().transpose(1, 2)
    k, v = (t.repeat_interleave(q.shape[2] // t.shape[2], 2) for t in (k, v))
    scores = torch.einsum("blhd,bmhd->bhlm", q, k) * q.shape[-1] ** -0.5
    far = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])[None, :]
    hidden = (far < 0) | ((far > window_size[0]) if window_size[0] >= 0 else False)
    return torch.einsum("bhlm,bmhd->blhd", scores.masked_fill(hidden, float("-inf")).softmax(-1), v)


def l2norm(x):
    return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)


def repeat(x, pattern, **sizes):
    """The repetitions of the reference of Mamba-3: of heads, and of the last dimension."""
    if pattern == "... d -> ... d e":
        return x.unsqueeze(-1).expand(*x.shape, sizes["e"])
    return x.repeat_interleave(sizes["g"], 2)


def siso(mamba):
    """The scan of Mamba-3, from the reference in the tests of mamba_ssm."""
    path = os.path.join(mamba, "tests", "ops", "triton", "test_mamba3_siso.py")
    reference = execute(path, "siso", "def _segsum", "def detach_clone", torch=torch, F=F, math=math, rearrange=rearrange, repeat=repeat,
                        Optional=None, Tuple=None).mamba3_siso_fwd_ref

    def scan(Q, K, V, ADT, DT, Trap, Q_bias, K_bias, Angles, D, Z, chunk_size, **kw):
        y, states = reference(Q, K, V, ADT, DT, Trap, Q_bias, K_bias, Angles, D=D, Z=Z, dtype=torch.get_default_dtype())
        RECORD["recurrent_states"] = states[1].detach()
        return y
    return scan


def operators(fla):
    """The operators of the layers, from the formulas in naive.py."""
    def load(name):
        return execute(os.path.join(fla, "fla", "ops", name, "naive.py"), "naive_" + name)
    delta, gated, gla = load("delta_rule"), load("gated_delta_rule"), load("gla")

    def gated_delta_rule(q, k, v, g, beta, A_log, dt_bias, allow_neg_eigval, **kw):
        group = v.shape[2] // q.shape[2]
        q, k = (l2norm(t).repeat_interleave(group, 2) for t in (q, k))
        decay = -A_log.exp() * F.softplus(g + dt_bias)
        o, state = gated.naive_recurrent_gated_delta_rule(q, k, v, beta.sigmoid() * (2 if allow_neg_eigval else 1), decay, output_final_state=True)
        RECORD["recurrent_states"] = state.detach()
        return o, None

    def delta_rule(q, k, v, beta, use_qk_l2norm_in_kernel, **kw):
        assert use_qk_l2norm_in_kernel
        o, state = delta.delta_rule_recurrence(*(t.transpose(1, 2) for t in (l2norm(q), l2norm(k), v, beta)))
        RECORD["recurrent_states"] = state.detach()
        return o.transpose(1, 2), None

    def linear_attention(q, k, v, g=None, gk=None, **kw):
        o, state = gla.naive_recurrent_gla(q, k, v, g if gk is None else gk, output_final_state=True)
        RECORD["recurrent_states"] = state.detach().transpose(2, 3)
        return o, None
    return gated_delta_rule, delta_rule, linear_attention


def install_rwkv7(fla):
    """The operators of RWKV-7, from the formulas next to their kernels."""
    def part(path, start, end):
        return execute(os.path.join(fla, *path.split("/")), path.replace("/", "."), start, end, torch=torch, nn=nn, math=math)

    def module(name, **members):
        sys.modules[name] = types.SimpleNamespace(**members)

    shift = part("fla/modules/token_shift.py", "def token_shift_ref", "@triton").token_shift_ref
    mixture = part("fla/ops/rwkv7/fused_addcmul.py", "def torch_addcmul_rwkv7", "").torch_addcmul_rwkv7
    keys = part("fla/ops/rwkv7/fused_k_update.py", "def k_update_ref", "@triton").k_update_ref
    output = part("fla/ops/rwkv7/gate_output_correction.py", "def gate_output_correction_ref", "def gate_output_correction_backward_ref")
    naive = execute(os.path.join(fla, "fla", "ops", "generalized_delta_rule", "dplr", "naive.py"), "naive_dplr").dplr_recurrence

    # the shift of the mixer comes before that of the feed-forward; two inputs, of which the next step needs the newest
    def token_shift(x, *a, **kw):
        RECORD["shift_states" if "conv_states" in RECORD else "conv_states"] = x.detach()[:, -2:].transpose(1, 2)
        return shift(x), None

    def chunk(r, w, k, v, a, b, scale, **kw):
        assert scale == 1.0
        swap = lambda x: x.transpose(1, 2)
        # it scales queries by the root of their size
        o, state = naive(swap(r) * r.shape[-1] ** 0.5, swap(k), swap(v), swap(a), swap(b), swap(w))
        RECORD["recurrent_states"] = state.detach()
        return swap(o), state

    def recurrent(r, w, k, v, kk, a, scale, **kw):
        return chunk(r, w, k, v, -kk, kk * a, scale)

    module("fla.layers.rwkv6", LoRA=part("fla/layers/rwkv6.py", "class LoRA", "class DDLerpLinear").LoRA)
    module("fla.modules.l2norm", l2_norm=l2norm)
    module("fla.modules.token_shift", token_shift=token_shift)
    module("fla.ops.rwkv7", chunk_rwkv7=chunk, fused_mul_recurrent_rwkv7=recurrent)
    module("fla.ops.rwkv7.fused_addcmul", fused_addcmul_rwkv7=mixture)
    module("fla.ops.rwkv7.fused_k_update", fused_k_rwkv7=keys)
    module("fla.ops.rwkv7.gate_output_correction", gate_output_correction=output.gate_output_correction_ref)
    nn.LayerNorm = LayerNorm        # older ones cannot leave the bias out
    if not hasattr(torch, "compiler"):
        torch.compiler = types.SimpleNamespace(disable=lambda f: f)


# --- what the layers import ---

class Config:
    def __init__(self, **kw):
        self.output_attentions = self.output_hidden_states = False
        self.use_return_dict = True
        for key, value in kw.items():
            setattr(self, key, value)


class Model(nn.Module):
    def __init__(self, config, *a, **kw):
        super().__init__()
        self.config = config

    def post_init(self):
        pass


class Output(dict):
    __getattr__ = dict.get

    def __getitem__(self, key):
        return list(self.values())[key] if isinstance(key, int) else dict.__getitem__(self, key)


def install(fla):
    def module(name, **members):
        one = types.ModuleType(name)
        one.__path__ = [os.path.join(fla, *name.split("."))] if name.startswith("fla") else []
        one.__getattr__ = lambda attribute: (_ for _ in ()).throw(AttributeError(attribute)) if attribute.startswith("__") else None
        for key, value in members.items():
            setattr(one, key, value)
        sys.modules[name] = one
    module("einops", rearrange=rearrange)
    gated_delta_rule, delta_rule, linear_attention = operators(fla)
    quiet = types.SimpleNamespace(get_logger=lambda *a: types.SimpleNamespace(warning=print, warning_once=lambda *a: None))
    module("flash_attn", flash_attn_func=flash_attn_func)
    module("transformers")
    module("transformers.configuration_utils", PretrainedConfig=Config)
    module("transformers.modeling_outputs", BaseModelOutputWithPast=Output, CausalLMOutputWithPast=Output)
    module("transformers.modeling_utils", PreTrainedModel=Model)
    module("transformers.modeling_layers", GradientCheckpointingLayer=nn.Module)
    module("transformers.utils", logging=quiet, ModelOutput=Output)
    module("transformers.utils.deprecation", deprecate_kwarg=lambda *a, **kw: lambda f: f)
    module("fla")
    for name in ("models", "layers", "modules", "ops", "models.gated_deltanet", "models.delta_net", "models.gla", "models.hgrn2", "models.mamba3",
                 "models.rwkv7"):
        module("fla." + name)

    class GatedMLP(nn.Module):
        def __init__(self, hidden_size, hidden_ratio=None, intermediate_size=None, **kw):
            super().__init__()
            if intermediate_size is None:
                intermediate_size = 256 * ((int(hidden_size * (hidden_ratio or 4) * 2 / 3) + 255) // 256)
            self.gate_proj, self.up_proj = (nn.Linear(hidden_size, intermediate_size, bias=False) for _ in range(2))
            self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)

        def forward(self, x, **kw):
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
    module("fla.modules", RMSNorm=RMSNorm, FusedRMSNormGated=FusedRMSNormGated, ShortConvolution=ShortConvolution, RotaryEmbedding=RotaryEmbedding,
           GatedMLP=GatedMLP, LayerNorm=LayerNorm, GroupNorm=GroupNorm)
    module("fla.modules.convolution", causal_conv1d=causal_conv1d, causal_conv1d_update=None)
    module("fla.modules.activations", ACT2FN={"silu": F.silu, "swish": F.silu, "relu": F.relu,
           "sqrelu": lambda x: F.relu(x) ** 2}, swish=F.silu)
    # its default epsilon, which the layers of hgrn2 leave as it is
    module("fla.modules.layernorm", rms_norm_linear=lambda x, weight, bias, projection, other, eps=1e-5:
           F.linear(x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight, projection))
    module("fla.modules.layernorm_gated", RMSNormGated=RMSNormGated)
    module("fla.modules.l2warp")
    module("fla.ops.gated_delta_rule", chunk_gated_delta_rule=gated_delta_rule, fused_recurrent_gated_delta_rule=gated_delta_rule)
    module("fla.ops.delta_rule", chunk_delta_rule=delta_rule, fused_recurrent_delta_rule=delta_rule)
    module("fla.ops.gla", chunk_gla=linear_attention, fused_recurrent_gla=linear_attention, fused_chunk_gla=None)
    module("fla.ops.attnres")
    module("fla.ops.utils.index")
    module("fla.models.utils", Cache=tuple, FLAUnsupportedCacheGenerationMixin=object, FLAGenerationMixin=object)
    module("fla.layers.utils", get_layer_cache=lambda *a: None, update_layer_cache=lambda *a, **kw: None,
           unpad_hidden_states=lambda x, c, mask, length: (x, None, c), repad_hidden_states=lambda x, *a: x)
    install_rwkv7(fla)


def model_class(fla, mamba, family, name):
    def load(dotted):
        return execute(os.path.join(fla, *dotted.split(".")) + ".py", dotted)
    for dotted in ("fla.models.hybrid", "fla.layers.attn", f"fla.layers.{family}"):
        layer = load(dotted)
    if family == "mamba3":
        layer.mamba3_siso_combined = siso(mamba)
        layer.Mamba3.forward = lambda self, hidden_states, **kw: (self.cuda_kernels_forward(hidden_states)[0], None, None)
    config = getattr(load(f"fla.models.{family}.configuration_{family}"), name + "Config")
    return config, getattr(load(f"fla.models.{family}.modeling_{family}"), name + "ForCausalLM")


# --- files ---

def write_safetensors(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        raw = tensor.detach().contiguous().numpy().tobytes()
        header[name] = dict(dtype="I64" if tensor.dtype == torch.int64 else "F32", shape=list(tensor.shape), data_offsets=[len(data), len(data) + len(raw)])
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


CASES = {
    "gated_deltanet": ("gated_deltanet", "GatedDeltaNet", dict(
        vocab_size=67, hidden_size=24, num_hidden_layers=3, num_heads=2, num_v_heads=4, head_dim=6, expand_v=1.5, conv_size=4, intermediate_size=20,
        norm_eps=1e-5, attn=dict(layers=[1], num_heads=4, num_kv_heads=2, qkv_bias=True, window_size=9, rope_theta=5000.0))),
    "gated_deltanet_plain": ("gated_deltanet", "GatedDeltaNet", dict(
        vocab_size=61, hidden_size=20, num_hidden_layers=2, num_heads=5, head_dim=4, expand_v=2.0, conv_size=3, hidden_ratio=1, use_gate=False,
        allow_neg_eigval=True, tie_word_embeddings=True, pad_token_id=0)),
    "delta_net": ("delta_net", "DeltaNet", dict(
        vocab_size=59, hidden_size=24, num_hidden_layers=3, num_heads=3, expand_k=0.75, expand_v=1.25, intermediate_size=26, conv_size=4,
        attn=dict(layers=[2], num_heads=3))),
    "delta_net_gated": ("delta_net", "DeltaNet", dict(
        vocab_size=63, hidden_size=20, num_hidden_layers=2, num_heads=2, use_gate=True, allow_neg_eigval=True, intermediate_size=18, conv_size=2,
        tie_word_embeddings=True)),
    "gla": ("gla", "GLA", dict(
        vocab_size=57, hidden_size=24, num_hidden_layers=3, num_heads=3, expand_k=0.5, expand_v=1.5, intermediate_size=22,
        attn=[dict(layers=[0], num_heads=2, num_kv_heads=1), dict(layers=[2], num_heads=4, window_size=7, rope_theta=700.0)])),
    "mamba3": ("mamba3", "Mamba3", dict(
        vocab_size=53, hidden_size=24, num_hidden_layers=2, state_size=10, expand=2, head_dim=8, n_groups=3, rope_fraction=0.5, chunk_size=16,
        norm_eps=1e-5)),
    "mamba3_biases": ("mamba3", "Mamba3", dict(
        vocab_size=55, hidden_size=20, num_hidden_layers=3, state_size=6, expand=3, head_dim=12, n_groups=1, rope_fraction=1.0, A_floor=0.05,
        use_bias=True, tie_word_embeddings=True)),
    "hgrn2": ("hgrn2", "HGRN2", dict(
        vocab_size=51, hidden_size=24, num_hidden_layers=4, expand_ratio=8, intermediate_size=22,
        attn=dict(layers=[2], num_heads=3, num_kv_heads=1, window_size=11))),
    "hgrn2_free": ("hgrn2", "HGRN2", dict(
        vocab_size=49, hidden_size=20, num_hidden_layers=2, expand_ratio=None, num_heads=2, use_lower_bound=False, intermediate_size=18,
        tie_word_embeddings=True)),
    "rwkv7": ("rwkv7", "RWKV7", dict(
        vocab_size=47, hidden_size=24, num_hidden_layers=3, head_dim=6, decay_low_rank_dim=5, a_low_rank_dim=3, v_low_rank_dim=4,
        gate_low_rank_dim=7, intermediate_size=40, norm_eps=2e-5, fuse_norm=False, pad_token_id=0)),
    "rwkv7_plain": ("rwkv7", "RWKV7", dict(
        vocab_size=44, hidden_size=20, num_hidden_layers=2, head_dim=None, num_heads=5, decay_low_rank_dim=None, a_low_rank_dim=None,
        v_low_rank_dim=None, gate_low_rank_dim=None, hidden_ratio=2, hidden_act="relu", norm_first=False, tie_word_embeddings=True)),
}


def record(model, family, inputs):
    """Everything that a case records, of a model in its own type."""
    base = model.backbone if family == "mamba3" else model.model
    final = base.norm_f if family == "mamba3" else base.norm
    mixer = lambda layer: layer.mixer if family == "mamba3" else layer.attn
    expected, layers = dict(inputs), base.layers
    logits_of = lambda ids: model(ids, use_cache=False).logits
    with torch.no_grad():
        for length in LENGTHS:
            expected[f"logits.T{length}"] = logits_of(inputs[f"ids.T{length}"])
    ids = inputs["ids.T37"]
    hooks = [layers[0].register_forward_pre_hook(lambda m, args: expected.__setitem__("hidden.embed", args[0].detach()))]
    for i, layer in enumerate(layers):
        # separate convolutions, whose inputs are recorded
        if hasattr(mixer(layer), "_use_fused_qkv_conv"):
            layer.attn._use_fused_qkv_conv = lambda *a: False

        def keep(m, args, result, i=i, layer=layer):
            expected[f"hidden.layer.{i}"] = result[0].detach()
            for kind, value in RECORD.items():
                # a window holds the newest window - 1 positions
                if kind in ("keys", "values") and getattr(mixer(layer), "window_size", None):
                    value = value[:, :, -(mixer(layer).window_size - 1):]
                expected[f"cache.{i}.{kind}"] = value.clone()
            if hasattr(mixer(layer), "q_conv1d"):
                convs = [layer.attn.q_conv1d, layer.attn.k_conv1d, layer.attn.v_conv1d]
                expected[f"cache.{i}.conv_states"] = torch.cat([conv.inputs for conv in convs], -1).transpose(1, 2)[:, :, -convs[0].kernel_size[0]:]
            RECORD.clear()
        hooks.append(layer.register_forward_hook(keep))
    hooks.append(final.register_forward_hook(lambda m, args, result: expected.__setitem__("hidden.norm", result.detach())))
    RECORD.clear()
    logits_of(ids)
    for hook in hooks:
        hook.remove()
    rows = inputs["batch.ids"]
    with torch.no_grad():
        alone = torch.zeros(*rows.shape, model.config.vocab_size)
        for row, count in enumerate(PADS):
            alone[row, count:] = logits_of(rows[row:row + 1, count:])[0]
        steps, text = [], ids
        for _ in range(8):
            steps.append(logits_of(text)[0, -1])
            text = torch.cat([text, steps[-1].argmax().view(1, 1)], 1)
        expected.update({"batch.logits": alone, "greedy.ids": text[0, -8:], "greedy.logits": torch.stack(steps)})
    loss = F.cross_entropy(logits_of(ids)[0, :-1], inputs["labels.T37"][0, 1:], ignore_index=-100)
    loss.backward()
    expected["loss"] = loss.detach().view(1)
    for key, parameter in model.named_parameters():
        expected["grad." + key] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return expected


def build(config_class, causal, settings, family):
    config = config_class(**settings)
    model = causal(config)
    base = model.backbone if family == "mamba3" else model.model
    if config.tie_word_embeddings:
        model.lm_head.weight = base.embeddings.weight
    if config.pad_token_id is not None and family != "mamba3":
        base.embeddings.padding_idx = config.pad_token_id
    model.train(False)
    return config, model


def difference(one, other, kind, scaled=False):
    worst = 0.0
    for key in one:
        if key.startswith(kind) and not key.endswith("ids"):
            error = float((one[key].double() - other[key].double()).abs().max())
            worst = max(worst, error / max(1.0, float(other[key].abs().max())) if scaled else error)
    return worst


def case(fla, mamba, name, out, seed):
    family, cls, settings = CASES[name]
    config_class, causal = model_class(fla, mamba, family, cls)
    torch.manual_seed(seed)
    config, model = build(config_class, causal, settings, family)
    # everything random, so that a dropped or swapped tensor shows
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.25 if parameter.dim() > 1 else 0.3) + (1 if "norm" in key else 0))
    draw = lambda *shape: torch.randint(1, config.vocab_size, shape)
    inputs = {f"ids.T{length}": draw(1, length) for length in LENGTHS}
    rows, mask, labels = draw(len(PADS), 16), torch.ones(len(PADS), 16, dtype=torch.int64), draw(1, 37)
    for row, count in enumerate(PADS):
        mask[row, :count], rows[row, :count] = 0, config.pad_token_id or 0
    labels[0, 3] = -100
    inputs.update({"batch.ids": rows, "batch.mask": mask, "labels.T37": labels})
    single = record(model, family, inputs)
    torch.set_default_dtype(torch.float64)
    double = build(config_class, causal, settings, family)[1].double()
    double.load_state_dict(model.state_dict())
    expected = {key: value.float() if value.is_floating_point() else value for key, value in record(double, family, inputs).items()}
    torch.set_default_dtype(torch.float32)
    margin = min(float(a - b) for step in expected["greedy.logits"] for a, b in [step.topk(2).values])
    measured = dict(logits_abs=difference(single, expected, ("logits", "greedy", "batch")), hidden_scaled=difference(single, expected, "hidden", True),
                    cache_scaled=difference(single, expected, "cache", True), loss_abs=difference(single, expected, "loss"),
                    grad_abs=difference(single, expected, "grad"))
    tolerance = {key: max(2e-5, 6 * value) for key, value in measured.items()}
    tensors = {key: value for key, value in model.state_dict().items() if not (config.tie_word_embeddings and key == "lm_head.weight")}
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors)
    write_safetensors(os.path.join(folder, "expected.safetensors"), expected)
    stored = {key.lstrip("_"): value for key, value in vars(config).items()
              if key not in ("output_attentions", "output_hidden_states", "use_return_dict")}
    stored.update(model_type=config_class.model_type, architectures=[cls + "ForCausalLM"], torch_dtype="float32")
    sparse = {key: stored[key] for key in ("model_type", "architectures", "pad_token_id") if key in stored}
    sparse.update(settings)
    dump = lambda file, value: open(os.path.join(folder, file), "w").write(json.dumps(value, indent=2, sort_keys=True) + "\n")
    dump("config.json", stored)
    dump("config.legacy.json", sparse)
    dump("generation_config.json", dict(bos_token_id=1, eos_token_id=2))
    dump("notes.json", dict(
        case=name, seed=seed, smallest_greedy_margin=margin, measured=measured, tolerance=tolerance,
        reference="flash-linear-attention bc3b101d on torch " + torch.__version__ + ", CPU, naive operators; float64, rounded to float32",
        remark="config.legacy.json leaves out settings with their default value. A tolerance is six times the difference of float32, at least 2e-5.",
        keys={key: ["float32", list(value.shape)] for key, value in tensors.items()}))
    print(name, "margin", round(margin, 3), {key: f"{value:.1e}" for key, value in measured.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--fla", required=True)
    parser.add_argument("--mamba", default="")
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    install(arguments.fla)
    for number, one in enumerate(CASES):
        if not arguments.only or one in arguments.only.split(","):
            case(arguments.fla, arguments.mamba, one, arguments.out, 100 + number)
