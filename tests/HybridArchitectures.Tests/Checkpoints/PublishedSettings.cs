namespace HybridArchitectures.Tests.Checkpoints;

/// <summary>Contains settings under the names of published checkpoints, with the number of parameters where it is published.</summary>
static class PublishedSettings
{
    public static readonly IReadOnlyDictionary<string, (string Config, long? Parameters)> All = new Dictionary<string, (string, long?)>
    {
        ["Llama 3.2 1B"] = ("""
            {
              "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
              "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
              "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
              "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
              "rope_scaling": { "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
                "rope_type": "llama3" },
              "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.45.0.dev0",
              "use_cache": true, "vocab_size": 128256, "_name_or_path": "somewhere", "unsloth_fixed": true
            }
            """, 1_235_814_400),
        ["SmolLM2"] = ("""
            {
              "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
              "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664, "intermediate_size": 1536,
              "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 9,
              "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
              "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
              "transformers.js_config": { "kv_cache_dtype": { "fp16": "float16" } }, "use_cache": true, "vocab_size": 49152
            }
            """, 134_515_008),
        ["RecurrentGemma 2B"] = ("""
            {
              "architectures": ["RecurrentGemmaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "attention_window_size": 2048,
              "block_types": ["recurrent", "recurrent", "attention"], "bos_token_id": 2, "conv1d_width": 4, "embeddings_scale_by_sqrt_dim": true,
              "eos_token_id": 1, "final_w_init_variance_scale": 0.07692307692307693, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
              "hidden_size": 2560, "intermediate_size": 15360, "logits_soft_cap": 30.0, "lru_width": 2560, "model_type": "recurrent_gemma",
              "num_attention_heads": 10, "num_hidden_layers": 26, "num_key_value_heads": 1, "pad_token_id": 0, "partial_rotary_factor": 0.5,
              "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "torch_dtype": "bfloat16", "transformers_version": "4.40.0.dev0", "use_cache": true,
              "vocab_size": 256000, "w_init_variance_scale": 0.01
            }
            """, 2_682_862_080),
        ["Gated DeltaNet 1.3B"] = ("""
            {
              "allow_neg_eigval": false, "architectures": ["GatedDeltaNetForCausalLM"], "attn": null, "attn_mode": "chunk", "bos_token_id": 1,
              "conv_size": 4, "eos_token_id": 2, "expand_v": 2, "fuse_cross_entropy": true, "fuse_norm": true, "fuse_swiglu": true, "head_dim": 256,
              "hidden_act": "swish", "hidden_ratio": 4, "hidden_size": 2048, "initializer_range": 0.006, "intermediate_size": null,
              "max_position_embeddings": 8192, "model_type": "gated_deltanet", "norm_eps": 1e-06, "num_heads": 6, "num_hidden_layers": 21,
              "num_v_heads": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true, "use_gate": true,
              "use_short_conv": true, "vocab_size": 32000
            }
            """, null),
        // sizes and elements of huggingface.co/m-a-p/1.3B-100B-GatedDeltaNet-pure, without 24 tensors "attn.D" that are not used
        ["Gated DeltaNet of 100 billion tokens"] = ("""
            {
              "architectures": ["GatedDeltaNetForCausalLM"], "attn": null, "attn_mode": "chunk", "bos_token_id": 1, "conv_size": 4,
              "eos_token_id": 2, "expand_v": 1, "fuse_cross_entropy": true, "fuse_norm": true, "head_dim": 256, "hidden_act": "swish",
              "hidden_ratio": 4, "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": null, "max_position_embeddings": 4096,
              "model_type": "gated_deltanet", "norm_eps": 1e-06, "num_heads": 8, "num_hidden_layers": 24, "tie_word_embeddings": false,
              "torch_dtype": "float32", "use_cache": true, "use_gate": true, "use_short_conv": true, "vocab_size": 32000
            }
            """, 1_466_343_808),
        // the parameters of huggingface.co/fla-hub/delta_net-1.3B-100B
        ["DeltaNet 1.3B"] = ("""
            {
              "architectures": ["DeltaNetForCausalLM"], "attn": null, "attn_mode": "chunk", "bos_token_id": 1, "conv_size": 4, "eos_token_id": 2,
              "expand_k": 1, "expand_v": 1, "fuse_cross_entropy": true, "hidden_act": "swish", "hidden_ratio": 4, "hidden_size": 2048,
              "initializer_range": 0.02, "intermediate_size": null, "max_position_embeddings": 2048, "model_type": "delta_net", "norm_eps": 1e-06,
              "num_heads": 16, "num_hidden_layers": 24, "pad_token_id": 2, "qk_activation": "silu", "qk_norm": "l2", "tie_word_embeddings": false,
              "torch_dtype": "bfloat16", "use_beta": true, "use_cache": true, "use_gate": false, "use_output_norm": true, "use_short_conv": true,
              "vocab_size": 32000
            }
            """, 1_365_677_056),
        // the parameters of huggingface.co/fla-hub/gla-1.3B-100B
        ["GLA 1.3B"] = ("""
            {
              "architectures": ["GLAForCausalLM"], "attn": null, "attn_mode": "chunk", "bos_token_id": 1, "clamp_min": null, "conv_size": 4,
              "elementwise_affine": true, "eos_token_id": 2, "expand_k": 0.5, "expand_v": 1, "feature_map": null, "fuse_cross_entropy": true,
              "fuse_norm": true, "hidden_act": "swish", "hidden_ratio": 4, "hidden_size": 2048, "initializer_range": 0.02,
              "intermediate_size": null, "max_position_embeddings": 2048, "model_type": "gla", "norm_eps": 1e-06, "num_heads": 4,
              "num_hidden_layers": 24, "num_kv_heads": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true,
              "use_gk": true, "use_gv": false, "use_output_gate": true, "use_short_conv": false, "vocab_size": 32000
            }
            """, 1_365_514_240),
        // the elements of the 244 tensors of huggingface.co/fla-hub/hgrn2-1.3B-100B, without the lower bounds of the first layer, which are 0
        ["HGRN2 1.3B"] = ("""
            {
              "_name_or_path": "somewhere", "architectures": ["HGRN2ForCausalLM"], "attn_mode": "fused_chunk", "bos_token_id": 1,
              "clamp_min": null, "conv_size": 4, "eos_token_id": 2, "expand_ratio": 128, "fuse_cross_entropy": true, "hidden_act": "swish",
              "hidden_ratio": 4, "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": null, "max_position_embeddings": 2048,
              "model_type": "hgrn2", "num_heads": null, "num_hidden_layers": 24, "rms_norm_eps": 1e-06, "share_conv_kernel": true,
              "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.40.0.dev0", "use_cache": true,
              "use_lower_bound": true, "use_short_conv": false, "vocab_size": 32000
            }
            """, 1_364_396_032 - 2048),
        ["HGRN2 of 18 layers"] = ("""
            {
              "architectures": ["HGRN2ForCausalLM"], "attn_mode": "chunk", "bos_token_id": 1, "conv_size": 4, "elementwise_affine": true,
              "eos_token_id": 2, "expand_ratio": 128, "fuse_cross_entropy": true, "hidden_act": "swish", "hidden_ratio": 4,
              "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": null, "max_position_embeddings": 2048,
              "model_type": "hgrn2", "norm_eps": 1e-06, "num_heads": null, "num_hidden_layers": 18, "tie_word_embeddings": false,
              "torch_dtype": "float32", "transformers_version": "4.44.1", "use_cache": true, "use_lower_bound": true,
              "use_short_conv": false, "vocab_size": 16000
            }
            """, null),
        // the elements of published files in the form of transformers, which are those of huggingface.co/RWKV in four sizes
        ["RWKV-7 World 0.1B"] = ("""
            {
              "a_low_rank_dim": 64, "architectures": ["RWKV7ForCausalLM"], "attn": null, "attn_mode": "chunk",
              "auto_map": { "AutoConfig": "modeling_rwkv7.RWKV7Config", "AutoModelForCausalLM": "modeling_rwkv7.RWKV7ForCausalLM" },
              "bos_token_id": 1, "decay_low_rank_dim": 64, "eos_token_id": 2, "fuse_cross_entropy": true, "fuse_norm": false,
              "gate_low_rank_dim": 128, "head_dim": 64, "hidden_act": "sqrelu", "hidden_ratio": 4.0, "hidden_size": 768,
              "initializer_range": 0.02, "intermediate_size": 3072, "max_position_embeddings": 2048, "model_type": "rwkv7", "norm_bias": true,
              "norm_eps": 1e-05, "norm_first": true, "num_heads": null, "num_hidden_layers": 12, "tie_word_embeddings": false,
              "torch_dtype": "float32", "transformers_version": "4.48.0", "use_cache": true, "v_low_rank_dim": 32,
              "value_dim": [768, 768, 768, 768, 768, 768, 768, 768, 768, 768, 768, 768], "vocab_size": 65536
            }
            """, 191_034_624),
        ["RWKV-7 World 0.4B"] = ("""
            {
              "a_low_rank_dim": 64, "architectures": ["RWKV7ForCausalLM"], "attn": null, "attn_mode": "chunk",
              "auto_map": { "AutoConfig": "modeling_rwkv7.RWKV7Config", "AutoModelForCausalLM": "modeling_rwkv7.RWKV7ForCausalLM" },
              "bos_token_id": 1, "decay_low_rank_dim": 64, "eos_token_id": 2, "fuse_cross_entropy": true, "fuse_norm": false,
              "gate_low_rank_dim": 128, "head_dim": 64, "hidden_act": "sqrelu", "hidden_ratio": 4.0, "hidden_size": 1024,
              "initializer_range": 0.02, "intermediate_size": 4096, "max_position_embeddings": 2048, "model_type": "rwkv7", "norm_bias": true,
              "norm_eps": 1e-05, "norm_first": true, "num_heads": null, "num_hidden_layers": 24, "tie_word_embeddings": false,
              "torch_dtype": "float32", "transformers_version": "4.48.0", "use_cache": true, "v_low_rank_dim": 32,
              "value_dim": 1024, "vocab_size": 65536
            }
            """, 450_767_872),
        ["RWKV-7 World 1.5B"] = ("""
            {
              "a_low_rank_dim": 96, "architectures": ["RWKV7ForCausalLM"], "attn": null, "attn_mode": "chunk",
              "auto_map": { "AutoConfig": "modeling_rwkv7.RWKV7Config", "AutoModelForCausalLM": "modeling_rwkv7.RWKV7ForCausalLM" },
              "bos_token_id": 1, "decay_low_rank_dim": 96, "eos_token_id": 2, "fuse_cross_entropy": true, "fuse_norm": false,
              "gate_low_rank_dim": 256, "head_dim": 64, "hidden_act": "sqrelu", "hidden_ratio": 4.0, "hidden_size": 2048,
              "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 2048, "model_type": "rwkv7", "norm_bias": true,
              "norm_eps": 1e-05, "norm_first": true, "num_heads": null, "num_hidden_layers": 24, "tie_word_embeddings": false,
              "torch_dtype": "float32", "transformers_version": "4.48.0", "use_cache": true, "v_low_rank_dim": 64,
              "value_dim": 2048, "vocab_size": 65536
            }
            """, 1_527_404_544),
        ["RWKV-7 World 2.9B"] = ("""
            {
              "a_low_rank_dim": 96, "architectures": ["RWKV7ForCausalLM"], "attn": null, "attn_mode": "chunk",
              "auto_map": { "AutoConfig": "modeling_rwkv7.RWKV7Config", "AutoModelForCausalLM": "modeling_rwkv7.RWKV7ForCausalLM" },
              "bos_token_id": 1, "decay_low_rank_dim": 96, "eos_token_id": 2, "fuse_cross_entropy": true, "fuse_norm": false,
              "gate_low_rank_dim": 320, "head_dim": 64, "hidden_act": "sqrelu", "hidden_ratio": 4.0, "hidden_size": 2560,
              "initializer_range": 0.02, "intermediate_size": 10240, "max_position_embeddings": 2048, "model_type": "rwkv7", "norm_bias": true,
              "norm_eps": 1e-05, "norm_first": true, "num_heads": null, "num_hidden_layers": 32, "tie_word_embeddings": false,
              "torch_dtype": "float32", "transformers_version": "4.48.0", "use_cache": true, "v_low_rank_dim": 64,
              "value_dim": 2560, "vocab_size": 65536
            }
            """, 2_947_735_040),
        ["Mamba-2 of flash-linear-attention"] = ("""
            {
              "A_init_range": [1, 16], "D_has_hdim": false, "architectures": ["Mamba2ForCausalLM"], "bos_token_id": 1, "chunk_size": 256,
              "conv_init": null, "conv_kernel": 4, "dt_init_floor": 0.0001, "dt_limit": [0.0, Infinity], "dt_max": 0.1, "dt_min": 0.001,
              "eos_token_id": 2, "expand": 2, "fuse_cross_entropy": true, "fuse_norm": true, "head_dim": 64, "hidden_act": "silu",
              "hidden_size": 2048, "initializer_range": 0.02, "model_type": "mamba2", "n_groups": 1, "norm_before_gate": false, "norm_eps": 1e-05,
              "num_hidden_layers": 48, "pad_token_id": 0, "rescale_prenorm_residual": true, "residual_in_fp32": true, "rmsnorm": true,
              "state_size": 128, "tie_word_embeddings": false, "use_bias": false, "use_cache": true, "use_conv_bias": true, "vocab_size": 32000
            }
            """, null),
        ["Mamba of flash-linear-attention"] = ("""
            {
              "architectures": ["MambaForCausalLM"], "bos_token_id": 1, "conv_kernel": 4, "dt_init_floor": 0.0001, "dt_init_scheme": "random",
              "dt_max": 0.1, "dt_min": 0.001, "dt_rank": "auto", "dt_scale": 1.0, "eos_token_id": 2, "expand": 2, "fuse_cross_entropy": true,
              "fuse_norm": true, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "model_type": "mamba", "norm_eps": 1e-05,
              "num_hidden_layers": 48, "pad_token_id": 0, "rescale_prenorm_residual": false, "residual_in_fp32": false, "state_size": 16,
              "tie_word_embeddings": false, "use_bias": false, "use_cache": true, "use_conv_bias": true, "vocab_size": 32000
            }
            """, null),
        ["Mamba 130M"] = ("""
            {
              "_name_or_path": "somewhere", "architectures": ["MambaForCausalLM"], "bos_token_id": 0, "conv_kernel": 4, "d_inner": 1536,
              "d_model": 768, "eos_token_id": 0, "expand": 2, "fused_add_norm": true, "hidden_act": "silu", "hidden_size": 768,
              "initializer_range": 0.1, "intermediate_size": 1536, "layer_norm_epsilon": 1e-05, "model_type": "mamba", "n_layer": 24,
              "num_hidden_layers": 24, "pad_token_id": 0, "pad_vocab_size_multiple": 8, "rescale_prenorm_residual": false,
              "residual_in_fp32": true, "rms_norm": true, "ssm_cfg": {}, "state_size": 16, "time_step_floor": 0.0001,
              "time_step_init_scheme": "random", "time_step_max": 0.1, "time_step_min": 0.001, "time_step_rank": 48, "time_step_scale": 1.0,
              "torch_dtype": "float32", "transformers_version": "4.39.0.dev0", "use_bias": false, "use_cache": true, "use_conv_bias": true,
              "vocab_size": 50280
            }
            """, 129_135_360),
        ["Mamba Codestral 7B"] = ("""
            {
              "architectures": ["Mamba2ForCausalLM"], "bos_token_id": 0, "chunk_size": 256, "conv_kernel": 4, "eos_token_id": 0, "expand": 2,
              "head_dim": 64, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.1, "intermediate_size": 8192,
              "layer_norm_epsilon": 1e-05, "model_type": "mamba2", "n_groups": 8, "norm_before_gate": true, "num_heads": 128,
              "num_hidden_layers": 64, "pad_token_id": 0, "rescale_prenorm_residual": false, "residual_in_fp32": true, "rms_norm": true,
              "state_size": 128, "tie_word_embeddings": false, "time_step_floor": 0.0001, "time_step_init_scheme": "random",
              "time_step_limit": [0.0, Infinity], "time_step_max": 0.1, "time_step_min": 0.001, "time_step_rank": 256, "time_step_scale": 1,
              "torch_dtype": "bfloat16", "transformers_version": "4.44.0.dev0", "use_bias": false, "use_cache": true, "use_conv_bias": true,
              "vocab_size": 32768
            }
            """, 7_285_403_648),
        ["Bamba 9B"] = ("""
            {
              "architectures": ["BambaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "attn_layer_indices": [9, 18, 27],
              "attn_rotary_emb": 64, "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "silu", "hidden_size": 4096,
              "initializer_range": 0.02, "intermediate_size": 14336, "mamba_chunk_size": 256, "mamba_conv_bias": true, "mamba_d_conv": 4,
              "mamba_d_head": 64, "mamba_d_state": 128, "mamba_expand": 2, "mamba_n_groups": 1, "mamba_n_heads": 128, "mamba_proj_bias": false,
              "max_position_embeddings": 262144, "mlp_bias": false, "model_type": "bamba", "num_attention_heads": 32, "num_hidden_layers": 32,
              "num_key_value_heads": 8, "num_logits_to_keep": 1, "pad_token_id": 0, "partial_rotary_factor": 0.5, "rms_norm_eps": 1e-05,
              "rope_scaling": null, "rope_theta": 10000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
              "transformers_version": "4.48.0", "use_cache": true, "use_mamba_kernels": true, "vocab_size": 128256
            }
            """, null),
        ["Jamba"] = ("""
            {
              "architectures": ["JambaForCausalLM"], "attention_dropout": 0.0, "attn_layer_offset": 4, "attn_layer_period": 8,
              "auto_map": { "AutoConfig": "configuration_jamba.JambaConfig" }, "bos_token_id": 1, "calc_logits_for_entire_prompt": false,
              "eos_token_id": 2, "expert_layer_offset": 1, "expert_layer_period": 2, "hidden_act": "silu", "hidden_size": 4096,
              "initializer_range": 0.02, "intermediate_size": 14336, "mamba_conv_bias": true, "mamba_d_conv": 4, "mamba_d_state": 16,
              "mamba_dt_rank": 256, "mamba_expand": 2, "mamba_inner_layernorms": true, "mamba_proj_bias": false,
              "max_position_embeddings": 262144, "model_type": "jamba", "n_ctx": 262144, "num_attention_heads": 32, "num_experts": 16,
              "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8, "num_logits_to_keep": 1,
              "output_router_logits": false, "pad_token_id": 0, "rms_norm_eps": 1e-06, "router_aux_loss_coef": 0.001, "sliding_window": null,
              "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.40.0", "use_cache": true,
              "use_mamba_kernels": true, "vocab_size": 65536
            }
            """, null),
        ["Granite 4 H"] = ("""
            {
              "architectures": ["GraniteMoeHybridForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
              "attention_multiplier": 0.0078125, "bos_token_id": 100257, "embedding_multiplier": 12, "eos_token_id": 100257,
              "hidden_act": "silu", "hidden_size": 1536, "init_method": "mup", "initializer_range": 0.1, "intermediate_size": 512,
              "layer_types": ["mamba", "mamba", "attention", "mamba"], "logits_scaling": 6, "mamba_chunk_size": 256, "mamba_conv_bias": true,
              "mamba_d_conv": 4, "mamba_d_head": 64, "mamba_d_state": 128, "mamba_expand": 2, "mamba_n_groups": 1, "mamba_n_heads": 48,
              "mamba_proj_bias": false, "max_position_embeddings": 131072, "model_type": "granitemoehybrid",
              "normalization_function": "rmsnorm", "num_attention_heads": 12, "num_experts_per_tok": 6, "num_hidden_layers": 4,
              "num_key_value_heads": 4, "num_local_experts": 64, "output_router_logits": false, "pad_token_id": 100256,
              "position_embedding_type": "nope", "residual_multiplier": 0.22, "rms_norm_eps": 1e-05, "rope_scaling": null,
              "rope_theta": 10000, "router_aux_loss_coef": 0.0, "shared_intermediate_size": 1024, "tie_word_embeddings": true,
              "torch_dtype": "bfloat16", "transformers_version": "4.56.0", "use_cache": true, "vocab_size": 100352
            }
            """, null),
        ["Falcon-H1 0.5B"] = ("""
            {
              "architectures": ["FalconH1ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "attention_in_multiplier": 1.0,
              "attention_out_multiplier": 0.9375, "bos_token_id": 1, "embedding_multiplier": 5.656854249492381, "eos_token_id": 11,
              "head_dim": 64, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 2048,
              "key_multiplier": 0.390625, "lm_head_multiplier": 0.0390625, "mamba_chunk_size": 128, "mamba_conv_bias": true,
              "mamba_d_conv": 4, "mamba_d_head": 64, "mamba_d_ssm": 1536, "mamba_d_state": 128, "mamba_expand": 2, "mamba_n_groups": 1,
              "mamba_n_heads": 24, "mamba_norm_before_gate": false, "mamba_proj_bias": false, "mamba_rms_norm": false, "mamba_use_mlp": true,
              "max_position_embeddings": 16384, "mlp_bias": false, "mlp_expansion_factor": 8,
              "mlp_multipliers": [0.8838834764831845, 0.5859375], "model_type": "falcon_h1", "num_attention_heads": 8,
              "num_hidden_layers": 36, "num_key_value_heads": 2, "num_logits_to_keep": 1, "pad_token_id": 0, "projectors_bias": false,
              "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 100000000000.0, "ssm_in_multiplier": 1.25,
              "ssm_multipliers": [0.3535533905932738, 0.25, 0.3535533905932738, 0.5, 0.3535533905932738],
              "ssm_out_multiplier": 0.23570226039551587, "tie_word_embeddings": false, "time_step_limit": [0.0, Infinity],
              "time_step_max": 0.1, "time_step_min": 0.001, "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 32784
            }
            """, null),
        ["Nemotron-H 8B"] = ("""
            {
              "architectures": ["NemotronHForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "attention_head_dim": 128,
              "auto_map": { "AutoConfig": "configuration_nemotron_h.NemotronHConfig" }, "bos_token_id": 1, "chunk_size": 128,
              "conv_kernel": 4, "eos_token_id": 2, "expand": 2, "head_dim": 128, "hidden_dropout": 0.0, "hidden_size": 4096,
              "hybrid_override_pattern": "M-M-M-M*-M-", "initializer_range": 0.02, "intermediate_size": 21504, "layer_norm_epsilon": 1e-05,
              "mamba_head_dim": 64, "mamba_hidden_act": "silu", "mamba_num_heads": 128, "mamba_proj_bias": false,
              "max_position_embeddings": 8192, "mlp_bias": false, "mlp_hidden_act": "relu2", "model_type": "nemotron_h", "n_groups": 8,
              "num_attention_heads": 32, "num_hidden_layers": 11, "num_key_value_heads": 8, "num_logits_to_keep": 1, "num_query_groups": 8,
              "pad_token_id": 0, "rescale_prenorm_residual": true, "residual_in_fp32": false, "rms_norm_eps": 1e-05, "sliding_window": null,
              "ssm_state_size": 128, "tie_word_embeddings": false, "time_step_floor": 0.0001, "time_step_limit": [0.0, Infinity],
              "time_step_max": 0.1, "time_step_min": 0.001, "time_step_rank": 256, "torch_dtype": "bfloat16", "use_bias": false,
              "use_cache": true, "use_conv_bias": true, "use_mamba_kernels": true, "vocab_size": 131072
            }
            """, null),
        ["Nemotron 3 Nano"] = ("""
            {
              "architectures": ["NemotronHForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
              "chunk_size": 128, "conv_kernel": 4, "eos_token_id": 2, "expand": 2, "head_dim": 128, "hidden_dropout": 0.0,
              "hidden_size": 2688, "hybrid_override_pattern": "MEMEM*EME", "initializer_range": 0.02, "intermediate_size": 1856,
              "layer_norm_epsilon": 1e-05, "mamba_head_dim": 64, "mamba_hidden_act": "silu", "mamba_num_heads": 64, "mamba_proj_bias": false,
              "mamba_ssm_cache_dtype": "float32", "max_position_embeddings": 262144, "mlp_bias": false, "mlp_hidden_act": "relu2",
              "model_type": "nemotron_h", "moe_intermediate_size": 1856, "moe_shared_expert_intermediate_size": 3712, "n_group": 1,
              "n_groups": 8, "n_routed_experts": 128, "n_shared_experts": 1, "norm_eps": 1e-05, "norm_topk_prob": true,
              "num_attention_heads": 32, "num_experts_per_tok": 6, "num_hidden_layers": 9, "num_key_value_heads": 2,
              "num_logits_to_keep": 1, "num_nextn_predict_layers": 1, "mtp_hybrid_override_pattern": "*E", "pad_token_id": 0,
              "partial_rotary_factor": 1.0, "rescale_prenorm_residual": true, "residual_in_fp32": false, "rope_theta": 10000,
              "routed_scaling_factor": 2.5, "sliding_window": null, "ssm_state_size": 128, "tie_word_embeddings": false,
              "time_step_floor": 0.0001, "time_step_max": 0.1, "time_step_min": 0.001, "topk_group": 1, "torch_dtype": "bfloat16",
              "use_bias": false, "use_cache": true, "use_conv_bias": true, "use_mamba_kernels": true, "vocab_size": 131072
            }
            """, null),
        ["Qwen3-Next"] = ("""
            {
              "architectures": ["Qwen3NextForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 151643,
              "decoder_sparse_step": 1, "eos_token_id": 151645, "full_attention_interval": 4, "head_dim": 256, "hidden_act": "silu",
              "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5120, "linear_conv_kernel_dim": 4,
              "linear_key_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_value_head_dim": 128,
              "max_position_embeddings": 262144, "mlp_only_layers": [], "model_type": "qwen3_next", "moe_intermediate_size": 512,
              "norm_topk_prob": true, "num_attention_heads": 16, "num_experts": 512, "num_experts_per_tok": 10, "num_hidden_layers": 48,
              "num_key_value_heads": 2, "output_router_logits": false, "partial_rotary_factor": 0.25, "rms_norm_eps": 1e-06,
              "rope_scaling": null, "rope_theta": 10000000, "router_aux_loss_coef": 0.001, "shared_expert_intermediate_size": 512,
              "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true, "use_sliding_window": false, "vocab_size": 151936
            }
            """, null),
        ["LFM2"] = ("""
            {
              "architectures": ["Lfm2ForCausalLM"], "block_auto_adjust_ff_dim": true, "block_dim": 1024, "block_ff_dim": 6656,
              "block_ffn_dim_multiplier": 1.0, "block_mlp_init_scale": 1.0, "block_multiple_of": 256, "block_norm_eps": 1e-05,
              "block_out_init_scale": 1.0, "block_use_swiglu": true, "block_use_xavier_init": true, "bos_token_id": 1, "conv_L_cache": 3,
              "conv_bias": false, "conv_dim": 1024, "conv_dim_out": 1024, "conv_use_xavier_init": true, "eos_token_id": 7,
              "full_attn_idxs": [2, 5, 8, 10, 12, 14], "hidden_size": 1024, "initializer_range": 0.02, "max_position_embeddings": 128000,
              "model_type": "lfm2", "norm_eps": 1e-05, "num_attention_heads": 16, "num_heads": 16, "num_hidden_layers": 16,
              "num_key_value_heads": 8, "pad_token_id": 0, "rope_theta": 1000000.0, "theta": 1000000.0, "tie_embedding": true,
              "torch_dtype": "bfloat16", "transformers_version": "4.54.0", "use_cache": true, "use_pos_enc": true, "vocab_size": 65536
            }
            """, 354_483_968),
        ["Zamba2"] = ("""
            {
              "activation_func": "gelu", "adapter_rank": 128, "add_bias_linear": false, "architectures": ["Zamba2ForCausalLM"],
              "attention_dropout": 0.0, "attention_head_dim": 160, "attention_hidden_size": 5120, "bos_token_id": 1, "chunk_size": 256,
              "eos_token_id": 2, "ffn_hidden_size": 10240, "gated_linear_unit": true, "hidden_act": "gelu", "hidden_size": 2560,
              "hybrid_layer_ids": [1, 3], "initializer_range": 0.02, "intermediate_size": 10240, "kv_channels": 80,
              "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid", "mamba"], "mamba_d_conv": 4, "mamba_d_state": 64,
              "mamba_expand": 2, "mamba_headdim": 64, "mamba_ngroups": 1, "max_position_embeddings": 4096, "model_type": "zamba2",
              "n_mamba_heads": 80, "num_attention_heads": 32, "num_hidden_layers": 5, "num_key_value_heads": 32, "num_logits_to_keep": 1,
              "num_mem_blocks": 2, "num_query_groups": 32, "pad_token_id": 0, "rms_norm_eps": 1e-05, "rope_theta": 10000,
              "time_step_floor": 0.0001, "time_step_limit": null, "time_step_max": 0.1, "time_step_min": 0.001, "torch_dtype": "bfloat16",
              "transformers_version": "4.49.0.dev0", "use_cache": true, "use_conv_bias": true, "use_long_context": false,
              "use_mamba_kernels": true, "use_mem_eff_path": true, "use_mem_rope": false, "use_shared_attention_adapter": false,
              "use_shared_mlp_adapter": true, "vocab_size": 32000
            }
            """, null),
        ["Qwen3 0.6B"] = ("""
            {
              "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 151643,
              "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02,
              "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
              "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
              "rope_scaling": { "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768 }, "rope_theta": 1000000,
              "sliding_window": null, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.51.0",
              "use_cache": true, "use_sliding_window": false, "vocab_size": 151936
            }
            """, 596_049_920),
        ["Mistral 7B"] = ("""
            {
              "architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096,
              "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mistral",
              "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
              "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.34.0.dev0",
              "use_cache": true, "vocab_size": 32000
            }
            """, 7_241_732_096),
        ["Olmo 3 7B"] = ("""
            {
              "architectures": ["Olmo3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "eos_token_id": 100257,
              "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008, "model_type": "olmo3",
              "max_position_embeddings": 65536, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
              "pad_token_id": 100277, "rms_norm_eps": 1e-06,
              "rope_scaling": { "attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0, "factor": 8.0,
                "original_max_position_embeddings": 8192, "rope_type": "yarn" },
              "rope_theta": 500000, "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true,
              "vocab_size": 100278
            }
            """, 7_298_011_136),
        // the published 27,781,427,952 include a vision model and a head of multi-token prediction, whose sizes follow from the same file
        ["Qwen3.5 27B"] = ("""
            {
              "architectures": ["Qwen3_5ForConditionalGeneration"], "image_token_id": 248056, "model_type": "qwen3_5",
              "text_config": {
                "attention_bias": false, "attention_dropout": 0.0, "attn_output_gate": true, "dtype": "bfloat16", "eos_token_id": 248044,
                "full_attention_interval": 4, "head_dim": 256, "hidden_act": "silu", "hidden_size": 5120, "initializer_range": 0.02,
                "intermediate_size": 17408, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16,
                "linear_num_value_heads": 48, "linear_value_head_dim": 128, "mamba_ssm_dtype": "float32",
                "max_position_embeddings": 262144, "model_type": "qwen3_5_text", "mtp_num_hidden_layers": 1,
                "mtp_use_dedicated_embeddings": false, "num_attention_heads": 24, "num_hidden_layers": 64, "num_key_value_heads": 4,
                "rms_norm_eps": 1e-06, "tie_word_embeddings": false, "use_cache": true, "vocab_size": 248320,
                "rope_parameters": { "mrope_interleaved": true, "mrope_section": [11, 11, 10], "rope_type": "default",
                  "rope_theta": 10000000, "partial_rotary_factor": 0.25 }
              },
              "tie_word_embeddings": false, "transformers_version": "4.57.0.dev0", "video_token_id": 248057,
              "vision_config": { "depth": 27, "hidden_size": 1152, "model_type": "qwen3_5" }, "vision_end_token_id": 248054,
              "vision_start_token_id": 248053
            }
            """, 27_781_427_952 - 460_730_096 - 424_699_392),
        // the published 35,951,822,704 include the same parts
        ["Qwen3.5 35B-A3B"] = ("""
            {
              "architectures": ["Qwen3_5MoeForConditionalGeneration"], "image_token_id": 248056, "model_type": "qwen3_5_moe",
              "text_config": {
                "attention_bias": false, "attention_dropout": 0.0, "attn_output_gate": true, "dtype": "bfloat16", "eos_token_id": 248044,
                "full_attention_interval": 4, "head_dim": 256, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
                "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
                "linear_value_head_dim": 128, "mamba_ssm_dtype": "float32", "max_position_embeddings": 262144,
                "model_type": "qwen3_5_moe_text", "moe_intermediate_size": 512, "mtp_num_hidden_layers": 1,
                "mtp_use_dedicated_embeddings": false, "num_attention_heads": 16, "num_experts": 256, "num_experts_per_tok": 8,
                "num_hidden_layers": 40, "num_key_value_heads": 2, "output_router_logits": false, "rms_norm_eps": 1e-06,
                "router_aux_loss_coef": 0.001, "shared_expert_intermediate_size": 512, "use_cache": true, "vocab_size": 248320,
                "rope_parameters": { "mrope_interleaved": true, "mrope_section": [11, 11, 10], "rope_type": "default",
                  "rope_theta": 10000000, "partial_rotary_factor": 0.25 }
              },
              "tie_word_embeddings": false, "transformers_version": "4.57.0.dev0", "video_token_id": 248057,
              "vision_config": { "depth": 27, "hidden_size": 1152, "model_type": "qwen3_5_moe" }, "vision_end_token_id": 248054,
              "vision_start_token_id": 248053
            }
            """, 35_951_822_704 - 446_571_248 - 844_640_768),
        // the parameters of huggingface.co/allenai/Olmo-Hybrid-7B
        ["Olmo-Hybrid 7B"] = ("""
            {
              "architectures": ["OlmoHybridForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": null,
              "eos_token_id": 100257, "hidden_act": "silu", "hidden_size": 3840, "initializer_range": 0.02, "intermediate_size": 11008,
              "linear_a_log_max": 16.0, "linear_a_log_min": 0.0, "linear_allow_neg_eigval": true, "linear_conv_kernel_dim": 4,
              "linear_dt_init_floor": 0.0001, "linear_dt_max": 0.1, "linear_dt_min": 0.001, "linear_key_head_dim": 96,
              "linear_num_key_heads": 30, "linear_num_value_heads": 30, "linear_value_head_dim": 192, "max_position_embeddings": 65536,
              "model_type": "olmo_hybrid", "num_attention_heads": 30, "num_hidden_layers": 32, "num_key_value_heads": 30,
              "pad_token_id": 100277, "rms_norm_eps": 1e-06, "rope_parameters": { "rope_theta": null, "rope_type": "default" },
              "tie_word_embeddings": false, "use_cache": true, "vocab_size": 100352
            }
            """, 7_430_870_688),
        ["LFM2 8B-A1B"] = ("""
            {
              "architectures": ["Lfm2MoeForCausalLM"], "bos_token_id": 1, "conv_L_cache": 3, "conv_bias": false, "dtype": "bfloat16",
              "eos_token_id": 7, "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 7168,
              "layer_types": ["conv", "conv", "full_attention", "conv", "conv", "conv", "full_attention", "conv", "conv", "conv",
                "full_attention", "conv", "conv", "conv", "full_attention", "conv", "conv", "conv", "full_attention", "conv", "conv",
                "full_attention", "conv", "conv"],
              "max_position_embeddings": 128000, "model_type": "lfm2_moe", "moe_intermediate_size": 1792, "norm_eps": 1e-05,
              "norm_topk_prob": true, "num_attention_heads": 32, "num_dense_layers": 2, "num_experts": 32, "num_experts_per_tok": 4,
              "num_hidden_layers": 24, "num_key_value_heads": 8, "pad_token_id": 0, "rope_theta": 1000000.0, "routed_scaling_factor": 1.0,
              "transformers_version": "4.57.0", "use_cache": true, "use_expert_bias": true, "vocab_size": 65536
            }
            """, 8_339_929_856),
        // the model card says 456 billion parameters, 45.9 billion per token (without embedding and head), and half of each head rotated
        ["MiniMax-Text-01"] = ("""
            {
              "architectures": ["MiniMaxForCausalLM"], "attention_dropout": 0.0, "block_size": 256, "bos_token_id": null, "eos_token_id": null,
              "full_attn_alpha_factor": 3.5565588200778455, "full_attn_beta_factor": 1.0, "head_dim": 128, "hidden_act": "silu",
              "hidden_size": 6144, "initializer_range": 0.02, "intermediate_size": 9216, "layer_types": [
                "linear_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention",
                "linear_attention", "full_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention",
                "linear_attention", "linear_attention", "linear_attention", "full_attention", "linear_attention", "linear_attention",
                "linear_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention", "full_attention",
                "linear_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention",
                "linear_attention", "full_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention",
                "linear_attention", "linear_attention", "linear_attention", "full_attention", "linear_attention", "linear_attention",
                "linear_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention", "full_attention",
                "linear_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention",
                "linear_attention", "full_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention",
                "linear_attention", "linear_attention", "linear_attention", "full_attention", "linear_attention", "linear_attention",
                "linear_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention", "full_attention",
                "linear_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention", "linear_attention",
                "linear_attention", "full_attention"],
              "linear_attn_alpha_factor": 3.5565588200778455, "linear_attn_beta_factor": 1.0, "max_position_embeddings": 10240000,
              "mlp_alpha_factor": 3.5565588200778455, "mlp_beta_factor": 1.0, "model_type": "minimax", "num_attention_heads": 64,
              "num_experts_per_tok": 2, "num_hidden_layers": 80, "num_key_value_heads": 8, "num_local_experts": 32,
              "output_router_logits": false, "postnorm": true, "rms_norm_eps": 1e-05, "rope_theta": 10000000, "rotary_dim": 64,
              "router_aux_loss_coef": 0.001, "router_jitter_noise": 0.0, "shared_intermediate_size": 0, "shared_moe_mode": "sigmoid",
              "sliding_window": null, "tie_word_embeddings": false, "use_cache": true, "vocab_size": 200064
            }
            """, null),
        // the published 49,122,681,728 include the 26 x 256 selection biases, which are not trained
        ["Kimi-Linear 48B-A3B"] = ("""
            {
              "architectures": ["KimiLinearForCausalLM"], "auto_map": { "AutoConfig": "configuration_kimi.KimiLinearConfig" },
              "bos_token_id": 163584, "dtype": "bfloat16", "eos_token_id": 163586, "first_k_dense_replace": 1, "head_dim": 72,
              "hidden_act": "silu", "hidden_size": 2304, "initializer_range": 0.02, "intermediate_size": 9216, "kv_lora_rank": 512,
              "linear_attn_config": { "full_attn_layers": [4, 8, 12, 16, 20, 24, 27], "head_dim": 128,
                "kda_layers": [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26], "num_heads": 32,
                "short_conv_kernel_size": 4 },
              "mla_use_nope": true, "model_max_length": 1048576, "model_type": "kimi_linear", "moe_intermediate_size": 1024,
              "moe_layer_freq": 1, "moe_renormalize": true, "moe_router_activation_func": "sigmoid", "num_attention_heads": 32,
              "num_expert_group": 1, "num_experts": 256, "num_experts_per_token": 8, "num_hidden_layers": 27, "num_key_value_heads": 32,
              "num_nextn_predict_layers": 0, "num_shared_experts": 1, "pad_token_id": 163839, "q_lora_rank": null, "qk_nope_head_dim": 128,
              "qk_rope_head_dim": 64, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000.0, "routed_scaling_factor": 2.446,
              "tie_word_embeddings": false, "topk_group": 1, "use_cache": true, "use_grouped_topk": true, "v_head_dim": 128,
              "vocab_size": 163840
            }
            """, 49_122_681_728 - 26 * 256),
    };
}
