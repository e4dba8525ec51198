namespace HybridArchitectures.Checkpoints;

/// <summary>Whose reading of a configuration counts where transformers differs from the code that trained the published models.</summary>
public enum PretrainedSemantics
{
    /// <summary>
    /// The model as it was trained. The gated norm of Mamba-2 treats each of the <c>n_groups</c> groups separately (mamba_ssm). Time steps are
    /// clamped to <c>time_step_limit</c> only (mamba_ssm, Megatron-LM). Zamba2's <c>use_long_context</c> stretches the rotary base, and a rotated
    /// part that is written next to the rotary section counts.
    /// </summary>
    AsTrained,

    /// <summary>
    /// The model as transformers 5.17 computes it. The gated norm of <c>mamba2</c>, <c>bamba</c> and <c>granitemoehybrid</c> covers the whole inner
    /// width. <c>nemotron_h</c> and <c>zamba2</c> clamp time steps at <c>time_step_min</c> and ignore <c>time_step_limit</c>. Zamba2's
    /// <c>use_long_context</c> changes nothing, and a rotated part counts only where that version reads it.
    /// </summary>
    Transformers,
}
