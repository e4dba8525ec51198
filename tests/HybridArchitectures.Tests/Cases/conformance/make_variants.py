#!/usr/bin/env python3
"""Makes conformance cases of other sizes, patterns, flags and seeds than make_cases.py, with its machinery.

    python3 make_variants.py --out DIR [--only a,b] [--jobs 8] [--seed N]

Two of every family. Folders and files are those of make_cases.py, whose README in the notes applies.
"""
import argparse
import concurrent.futures
import json
import multiprocessing
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import make_cases as base
import torch

base.LENGTHS = (1, 2, 19, 37)
base.PADS = (0, 3, 1)
INF = float("inf")


def specs(which):
    ids = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2, max_position_embeddings=128)
    rope = lambda theta, **kw: dict(rope_type="default", rope_theta=theta, **kw)
    M, A = "mamba", "attention"
    L, F = "linear_attention", "full_attention"
    s = {}

    def add(name, family, legacy, **kw):
        s[name] = dict(cls=family + "ForCausalLM", cfg=family + "Config", legacy=legacy, kw=dict(kw, **ids))

    add("llama_biases", "Llama", "llama", vocab_size=67, hidden_size=20, intermediate_size=28, num_hidden_layers=2, num_attention_heads=5, num_key_value_heads=1,
        attention_bias=True, mlp_bias=True, tie_word_embeddings=False, rms_norm_eps=1e-6, rope_parameters=rope(5e5))
    add("llama_scaled", "Llama", "llama", vocab_size=71, hidden_size=24, intermediate_size=18, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=3, head_dim=8,
        tie_word_embeddings=True, rope_parameters=dict(rope_type="llama3", rope_theta=3e4, factor=4.0, low_freq_factor=1.5, high_freq_factor=5.0, original_max_position_embeddings=16))
    add("mamba_biases", "Mamba", "mamba", vocab_size=59, hidden_size=20, state_size=6, num_hidden_layers=2, expand=3, conv_kernel=3, time_step_rank=3, use_bias=True, use_conv_bias=False,
        tie_word_embeddings=False, layer_norm_epsilon=1e-6)
    add("mamba_narrow", "Mamba", "mamba", vocab_size=61, hidden_size=36, state_size=3, num_hidden_layers=3, expand=1, conv_kernel=2, time_step_rank="auto", use_bias=False,
        use_conv_bias=True, tie_word_embeddings=True)
    add("falcon_mamba_tied", "FalconMamba", "mamba", vocab_size=63, hidden_size=20, state_size=5, num_hidden_layers=2, expand=2, conv_kernel=3, time_step_rank=4, use_bias=False,
        use_conv_bias=True, mixer_rms_eps=1e-4, tie_word_embeddings=True)
    add("falcon_mamba_biases", "FalconMamba", "mamba", vocab_size=65, hidden_size=24, state_size=4, num_hidden_layers=2, expand=3, conv_kernel=4, time_step_rank=7, use_bias=True,
        use_conv_bias=True, tie_word_embeddings=False)
    add("mamba2_biases", "Mamba2", "mamba", vocab_size=57, hidden_size=24, state_size=6, num_hidden_layers=2, expand=2, num_heads=6, head_dim=8, n_groups=1, conv_kernel=3, chunk_size=8,
        use_bias=True, use_conv_bias=False, tie_word_embeddings=True, layer_norm_epsilon=1e-6)
    add("mamba2_groups", "Mamba2", "mamba", vocab_size=69, hidden_size=20, state_size=4, num_hidden_layers=3, expand=3, num_heads=6, head_dim=10, n_groups=3, conv_kernel=4, chunk_size=16,
        time_step_limit=(0.01, 0.9), use_bias=False, use_conv_bias=True, tie_word_embeddings=False)
    add("bamba_biases", "Bamba", "bamba", vocab_size=73, hidden_size=24, intermediate_size=20, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=3, attn_layer_indices=[0],
        mamba_n_heads=6, mamba_d_head=8, mamba_n_groups=3, mamba_d_state=5, mamba_d_conv=3, mamba_expand=2, mamba_chunk_size=16, mamba_conv_bias=False, mamba_proj_bias=True,
        attention_bias=True, mlp_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-6, rope_parameters=rope(2e4, partial_rotary_factor=0.5))
    add("bamba_wide", "Bamba", "bamba", vocab_size=75, hidden_size=16, intermediate_size=36, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1, attn_layer_indices=[1, 2],
        mamba_n_heads=4, mamba_d_head=12, mamba_n_groups=1, mamba_d_state=8, mamba_d_conv=4, mamba_expand=3, mamba_chunk_size=8, rope_parameters=rope(1e4, partial_rotary_factor=0.5))
    falcon = dict(hidden_size=24, num_hidden_layers=2, mamba_chunk_size=16, rope_parameters=rope(2e4), lm_head_multiplier=1.21, embedding_multiplier=1.7, mlp_multipliers=[0.9, 1.3],
                  key_multiplier=0.8, attention_in_multiplier=1.1, attention_out_multiplier=0.7, ssm_multipliers=[1.2, 0.8, 1.1, 0.9, 1.3], ssm_in_multiplier=0.85, ssm_out_multiplier=1.15)
    add("falcon_h1_wide", "FalconH1", "falcon_h1", vocab_size=77, intermediate_size=28, num_attention_heads=3, num_key_value_heads=1, head_dim=8, mamba_d_ssm=40, mamba_n_heads=5,
        mamba_d_head=8, mamba_n_groups=1, mamba_d_state=4, mamba_d_conv=3, mamba_conv_bias=False, mamba_rms_norm=True, mamba_norm_before_gate=True, attention_bias=True, mlp_bias=False,
        projectors_bias=True, mamba_proj_bias=False, tie_word_embeddings=False, time_step_limit=(0.0, INF), **falcon)
    add("falcon_h1_groups", "FalconH1", "falcon_h1", vocab_size=79, intermediate_size=20, num_attention_heads=4, num_key_value_heads=4, head_dim=6, mamba_d_ssm=48, mamba_n_heads=6,
        mamba_d_head=8, mamba_n_groups=3, mamba_d_state=5, mamba_d_conv=4, mamba_conv_bias=True, mamba_rms_norm=True, mamba_norm_before_gate=False, attention_bias=False, mlp_bias=True,
        projectors_bias=False, mamba_proj_bias=True, tie_word_embeddings=True, time_step_limit=(0.05, 0.5), **falcon)
    nemotron = dict(hidden_size=24, num_attention_heads=3, mamba_head_dim=8, mamba_num_heads=6, chunk_size=16, mlp_hidden_act="relu2", time_step_min=1e-6, use_mamba_kernels=False)
    add("nemotron_h_groups", "NemotronH", "nemotron_h", vocab_size=67, num_key_value_heads=1, head_dim=8, n_groups=3, ssm_state_size=4, conv_kernel=3, intermediate_size=20,
        n_shared_experts=1, moe_intermediate_size=14, moe_shared_expert_intermediate_size=18, n_routed_experts=9, num_experts_per_tok=3, n_group=3, topk_group=2, moe_latent_size=None,
        routed_scaling_factor=0.7, norm_topk_prob=True, hybrid_override_pattern="E*M-", use_bias=True, mlp_bias=False, attention_bias=False, layer_norm_epsilon=1e-6, **nemotron)
    add("nemotron_h_biases", "NemotronH", "nemotron_h", vocab_size=65, num_key_value_heads=3, head_dim=10, n_groups=1, ssm_state_size=7, conv_kernel=4, intermediate_size=22,
        n_shared_experts=1, moe_intermediate_size=10, moe_shared_expert_intermediate_size=12, n_routed_experts=4, num_experts_per_tok=1, n_group=1, topk_group=1, moe_latent_size=14,
        routed_scaling_factor=1.0, norm_topk_prob=True, hybrid_override_pattern="M-E*", use_bias=False, mlp_bias=True, attention_bias=True, use_conv_bias=False, tie_word_embeddings=True, **nemotron)
    granite = dict(hidden_size=24, mamba_d_head=8, mamba_n_heads=6, mamba_d_state=5, mamba_expand=2, mamba_chunk_size=16)
    add("granite_biases", "GraniteMoeHybrid", "granite", vocab_size=63, intermediate_size=14, shared_intermediate_size=10, num_hidden_layers=3, layer_types=[A, M, M], num_local_experts=3,
        num_experts_per_tok=1, num_attention_heads=3, num_key_value_heads=1, mamba_n_groups=1, mamba_d_conv=3, mamba_conv_bias=False, mamba_proj_bias=True, attention_bias=True,
        position_embedding_type="rope", rope_parameters=rope(3e4), tie_word_embeddings=True, embedding_multiplier=1.3, logits_scaling=2.9, residual_multiplier=1.2,
        attention_multiplier=0.17, rms_norm_eps=1e-6, **granite)
    add("granite_shared", "GraniteMoeHybrid", "granite", vocab_size=61, intermediate_size=14, shared_intermediate_size=26, num_hidden_layers=3, layer_types=[M, A, M], num_local_experts=0,
        num_experts_per_tok=0, num_attention_heads=4, num_key_value_heads=4, mamba_n_groups=3, mamba_d_conv=4, position_embedding_type="nope", tie_word_embeddings=False,
        embedding_multiplier=4.1, logits_scaling=0.6, residual_multiplier=0.4, attention_multiplier=0.6, **granite)
    add("jamba_period", "Jamba", "jamba", vocab_size=57, hidden_size=20, intermediate_size=14, num_hidden_layers=4, num_attention_heads=5, num_key_value_heads=1, num_experts=3,
        num_experts_per_tok=1, attn_layer_period=2, attn_layer_offset=0, expert_layer_period=3, expert_layer_offset=2, mamba_d_state=4, mamba_d_conv=3, mamba_expand=3,
        mamba_dt_rank="auto", mamba_conv_bias=False, mamba_proj_bias=True, use_mamba_kernels=False, tie_word_embeddings=True, router_aux_loss_coef=0.02)
    add("jamba_dense", "Jamba", "jamba", vocab_size=59, hidden_size=24, intermediate_size=18, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=3, num_experts=1,
        num_experts_per_tok=1, attn_layer_period=3, attn_layer_offset=2, expert_layer_period=2, expert_layer_offset=1, mamba_d_state=5, mamba_d_conv=4, mamba_expand=2,
        mamba_dt_rank=3, use_mamba_kernels=False, tie_word_embeddings=False)
    add("zamba2_plain", "Zamba2", "zamba2", vocab_size=69, hidden_size=24, num_hidden_layers=4, layers_block_type=["hybrid", M, "hybrid", "hybrid"], mamba_d_state=5, mamba_d_conv=4,
        mamba_expand=2, mamba_ngroups=3, n_mamba_heads=6, chunk_size=16, intermediate_size=18, hidden_act="silu", num_attention_heads=3, num_mem_blocks=1, use_shared_mlp_adapter=True,
        use_shared_attention_adapter=False, adapter_rank=3, use_mem_rope=True, time_step_min=1e-6, add_bias_linear=True, use_mamba_kernels=False, rope_parameters=rope(2e4),
        tie_word_embeddings=False)
    add("zamba2_blocks", "Zamba2", "zamba2", vocab_size=71, hidden_size=20, num_hidden_layers=6, layers_block_type=[M, "hybrid", "hybrid", M, "hybrid", "hybrid"], mamba_d_state=4, mamba_d_conv=3,
        mamba_expand=2, mamba_ngroups=1, n_mamba_heads=5, chunk_size=8, intermediate_size=16, hidden_act="gelu", num_attention_heads=5, num_mem_blocks=3, use_shared_mlp_adapter=True,
        use_shared_attention_adapter=True, adapter_rank=4, use_mem_rope=False, time_step_min=1e-6, rms_norm_eps=1e-6, use_mamba_kernels=False, rope_parameters=rope(1e4))
    add("qwen3_next_biases", "Qwen3Next", "qwen3_next", vocab_size=67, hidden_size=24, intermediate_size=20, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1, head_dim=16,
        linear_conv_kernel_dim=2, linear_key_head_dim=6, linear_value_head_dim=5, linear_num_key_heads=3, linear_num_value_heads=3, decoder_sparse_step=1, mlp_only_layers=[1],
        moe_intermediate_size=9, shared_expert_intermediate_size=11, num_experts=5, num_experts_per_tok=3, norm_topk_prob=False, layer_types=[F, L, F], attention_bias=True,
        tie_word_embeddings=True, router_aux_loss_coef=0.03, rope_parameters=rope(5e4, partial_rotary_factor=0.25))
    add("qwen3_next_dense", "Qwen3Next", "qwen3_next", vocab_size=73, hidden_size=20, intermediate_size=26, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        linear_conv_kernel_dim=4, linear_key_head_dim=4, linear_value_head_dim=8, linear_num_key_heads=2, linear_num_value_heads=6, num_experts=0, num_experts_per_tok=1,
        moe_intermediate_size=8, shared_expert_intermediate_size=8, layer_types=[L, L, L, F], rms_norm_eps=1e-5, rope_parameters=rope(1e4, partial_rotary_factor=1.0))
    add("lfm2_plain", "Lfm2", "lfm2", vocab_size=61, hidden_size=24, intermediate_size=34, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1, conv_L_cache=4, conv_bias=False,
        block_auto_adjust_ff_dim=False, layer_types=["full_attention", "conv", "conv"], norm_eps=1e-6, tie_word_embeddings=True, rope_parameters=rope(7e4))
    add("lfm2_adjusted", "Lfm2", "lfm2", vocab_size=63, hidden_size=20, intermediate_size=52, num_hidden_layers=3, num_attention_heads=5, num_key_value_heads=5, conv_L_cache=2, conv_bias=True,
        block_multiple_of=16, block_ffn_dim_multiplier=0.9, block_auto_adjust_ff_dim=True, layer_types=["conv", "conv", "full_attention"], norm_eps=1e-5, tie_word_embeddings=True,
        rope_parameters=rope(1e4))
    return s


def one(job):
    name, which, seed, out = job
    if name != "trajectory_variants":
        return base.one(job)
    # the two places of the recorded trajectories, taken by other families
    original = base.specs
    base.specs = lambda w: dict(llama=original(w)["falcon_mamba_biases"], bamba=original(w)["zamba2_blocks"])
    try:
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        torch.set_num_threads(1)
        notes = base.trajectory_case(base.specs(which), which, seed, folder)
        return name, True, 0.0, 0, {"odd": notes.get("odd")}
    except Exception as error:
        return name, False, 0.0, 0, [repr(error)[:300]]
    finally:
        base.specs = original


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", required=True)
    ap.add_argument("--seed", type=int, default=20261124)
    ap.add_argument("--only", default="")
    ap.add_argument("--jobs", type=int, default=8)
    args = ap.parse_args()
    base.specs = specs
    torch.set_num_threads(1)
    os.makedirs(args.out, exist_ok=True)
    names = [n for n in [*specs("variants"), "trajectory_variants"] if not args.only or n in args.only.split(",")]
    failed = {}
    with concurrent.futures.ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        for name, ok, secs, size, info in pool.map(one, [(n, "variants", args.seed, args.out) for n in names]):
            print(f"{'ok  ' if ok else 'FAIL'} {name} {secs}s {size // 1024} KiB {json.dumps(info if not ok else info.get('odd'))[:700]}", flush=True)
            if not ok:
                failed[name] = info
    print(f"made {len(names) - len(failed)} of {len(names)}; failed {sorted(failed)}", flush=True)


if __name__ == "__main__":
    main()
