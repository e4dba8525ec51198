namespace HybridArchitectures.Design;

/// <summary>Describes attention over all earlier tokens, alone or inside an intra-layer hybrid.</summary>
static class FullAttention
{
    /// <summary>Returns whether a mixer contains attention without a window.</summary>
    public static bool Is(MixerSpec mixer) => mixer is AttentionSpec { Window: null } or LatentAttentionSpec or DifferentialAttentionSpec
        or IntraHybridSpec { Attention.Window: null };

    /// <summary>Returns whether the attention of a mixer has rotary positions, with or without a window.</summary>
    public static bool HasPositions(MixerSpec mixer) => mixer is AttentionSpec { Rotary: not null } or LatentAttentionSpec { Rotary: not null }
        or DifferentialAttentionSpec { Rotary: not null } or IntraHybridSpec { Attention.Rotary: not null };

    /// <summary>Returns full attention without rotary positions, and any other mixer as it is.</summary>
    public static MixerSpec WithoutPositions(MixerSpec mixer) => !Is(mixer) ? mixer : mixer switch
    {
        AttentionSpec attention => attention with { Rotary = null },
        LatentAttentionSpec latent => latent with { Rotary = null },
        DifferentialAttentionSpec differential => differential with { Rotary = null },
        IntraHybridSpec intra => intra with { Attention = intra.Attention with { Rotary = null } },
        _ => mixer,
    };
}
