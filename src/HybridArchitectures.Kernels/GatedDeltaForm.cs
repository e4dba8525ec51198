namespace HybridArchitectures.Kernels;

/// <summary>Specifies which recurrence the kernels of the gated delta rule compute.</summary>
enum GatedDeltaForm
{
    /// <summary>The gated delta rule with a decay per head.</summary>
    HeadDecays,

    /// <summary>The gated delta rule with a decay per key channel.</summary>
    ChannelDecays,

    /// <summary>Linear attention with a decay per key channel: tokens write their values without a correction.</summary>
    LinearAttention,
}
