namespace HybridArchitectures.Checkpoints;

/// <summary>Specifies how a configuration is interpreted if transformers differs from the code that trained the published models.</summary>
public enum PretrainedSemantics
{
    /// <summary>
    /// The model as it was trained. The gated norm of Mamba-2 normalizes each of the <c>n_groups</c> groups separately (mamba_ssm). Time steps are
    /// clamped to <c>time_step_limit</c> only (mamba_ssm, Megatron-LM). <c>use_long_context</c> of Zamba2 scales the rotary base, and a rotated
    /// fraction next to the rotary section has an effect.
    /// </summary>
    AsTrained,

    /// <summary>
    /// The model as transformers 5.17 computes it. The gated norm of <c>mamba2</c>, <c>bamba</c> and <c>granitemoehybrid</c> covers the whole inner
    /// width. <c>nemotron_h</c> and <c>zamba2</c> clamp time steps at <c>time_step_min</c> and ignore <c>time_step_limit</c>. <c>use_long_context</c>
    /// of Zamba2 has no effect, and a rotated fraction has an effect only where that version reads it.
    /// </summary>
    Transformers,
}
