namespace HybridArchitectures.Design;

/// <summary>The colour of a mixer in pictures.</summary>
public enum MixerColor
{
    /// <summary>Attention over all positions.</summary>
    Attention,

    /// <summary>Attention over a sliding window.</summary>
    Window,

    /// <summary>The colour of differential attention.</summary>
    DifferentialAttention,

    /// <summary>The colour of Mamba-1.</summary>
    Mamba1,

    /// <summary>The colour of Mamba-2.</summary>
    Mamba2,

    /// <summary>The colour of Mamba-3.</summary>
    Mamba3,

    /// <summary>A gated delta net.</summary>
    GatedDelta,

    /// <summary>Kimi delta attention.</summary>
    KimiDelta,

    /// <summary>Multi-head latent attention.</summary>
    LatentAttention,

    /// <summary>The colour of lightning attention.</summary>
    LightningAttention,

    /// <summary>The colour of a real-gated linear recurrent unit.</summary>
    RgLru,

    /// <summary>The colour of gated linear attention.</summary>
    GatedLinearAttention,

    /// <summary>The colour of convolutions.</summary>
    Convolution,

    /// <summary>A custom mixer.</summary>
    Custom,

    /// <summary>The colour of HGRN2.</summary>
    Hgrn2,

    /// <summary>The colour of RWKV-7.</summary>
    Rwkv7,
}
