namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Contains settings of published configurations that do not change the result of a model. Settings of a single family are in the class of the
/// family.
/// </summary>
static class UnusedSettings
{
    // files, versions and tools
    static readonly string[] provenance =
    [
        "architectures", "auto_map", "dtype", "torch_dtype", "model_type", "name_or_path", "transformers_version", "use_bfloat16", "torchscript",
        "tf_legacy_loss", "unsloth_fixed", "unsloth_version", "unsloth_tokenizer_pad_token", "neftune_noise_alpha", "tokenizer_class",
        "custom_pipelines", "license", "library_name", "base_model", "base_model_name_or_path", "finetuning_task", "task_specific_params",
        "problem_type", "id2label", "label2id", "num_labels", "prefix", "transformers.js_config", "use_flash_attn", "use_flash_attention",
        "use_flash_attention_2", "attn_implementation", "attention_implementation",
    ];

    // lengths and token ids: positions are not limited, and token ids only concern generation
    static readonly string[] tokens =
    [
        "max_position_embeddings", "model_max_length", "max_sequence_length", "max_seq_len", "max_seq_length", "seq_length", "n_positions", "n_ctx",
        "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id", "cls_token_id", "mask_token_id", "decoder_start_token_id",
        "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "pad_vocab_size_multiple", "image_token_id",
        "video_token_id", "vision_start_token_id", "vision_end_token_id", "additional_special_tokens", "chat_template",
    ];

    // settings of earlier versions for text generation
    static readonly string[] generation =
    [
        "do_sample", "temperature", "top_k", "top_p", "typical_p", "min_p", "repetition_penalty", "encoder_repetition_penalty", "length_penalty",
        "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "num_beams", "num_beam_groups", "diversity_penalty", "early_stopping", "max_length",
        "max_new_tokens", "min_length", "min_new_tokens", "num_return_sequences", "bad_words_ids", "remove_invalid_values",
        "exponential_decay_length_penalty", "renormalize_logits", "return_dict_in_generate", "output_scores", "use_cache", "num_logits_to_keep",
        "calc_logits_for_entire_prompt", "cache_implementation", "generation_config",
    ];

    // training, dropout, and the form of results
    static readonly string[] training =
    [
        "initializer_range", "init_std", "attention_probs_dropout_prob", "hidden_dropout_prob",
        "resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout", "classifier_dropout", "mlp_dropout", "gradient_checkpointing", "use_reentrant",
        "return_dict", "return_unused_kwargs", "output_attentions", "output_hidden_states", "output_router_logits", "router_aux_loss_coef",
        "router_jitter_noise", "chunk_size_feed_forward", "is_decoder", "rescale_prenorm_residual", "residual_in_fp32", "pretraining_tp",
        "use_mambapy", "use_associative_scan", "use_mamba_kernels", "use_mem_eff_path", "use_fast_conv_scan",
    ];

    // initial values of state-space layers, and settings of their kernels
    static readonly string[] stateSpace =
    [
        "time_step_max", "time_step_floor", "time_step_scale", "time_step_init_scheme", "mamba_dt_max", "mamba_dt_init_floor",
        "mamba_ssm_cache_dtype", "fused_add_norm", "A_initializer_range", "conv_initializer_range", "emb_initializer_range",
    ];

    static readonly HashSet<string> all = new([.. provenance, .. tokens, .. generation, .. training, .. stateSpace], StringComparer.Ordinal);

    /// <summary>
    /// Returns whether a setting has no effect in any family. Names that begin with an underscore are private to the program that wrote them. Dropout
    /// concerns training only.
    /// </summary>
    public static bool Contains(string key) => key.StartsWith('_') || all.Contains(key) || key.Contains("dropout", StringComparison.Ordinal);
}
