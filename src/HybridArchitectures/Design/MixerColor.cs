namespace HybridArchitectures.Design;

/// <summary>Specifies the colour of a mixer in pictures.</summary>
public enum MixerColor
{
    /// <summary>Specifies the colour of attention over all positions.</summary>
    Attention,

    /// <summary>Specifies the colour of attention over a sliding window.</summary>
    Window,

    /// <summary>Specifies the colour of differential attention.</summary>
    DifferentialAttention,

    /// <summary>Specifies the colour of Mamba-1.</summary>
    Mamba1,

    /// <summary>Specifies the colour of Mamba-2.</summary>
    Mamba2,

    /// <summary>Specifies the colour of Mamba-3.</summary>
    Mamba3,

    /// <summary>Specifies the colour of a gated delta net.</summary>
    GatedDelta,

    /// <summary>Specifies the colour of Kimi delta attention.</summary>
    KimiDelta,

    /// <summary>Specifies the colour of multi-head latent attention.</summary>
    LatentAttention,

    /// <summary>Specifies the colour of lightning attention.</summary>
    LightningAttention,

    /// <summary>Specifies the colour of a real-gated linear recurrent unit.</summary>
    RgLru,

    /// <summary>Specifies the colour of gated linear attention.</summary>
    GatedLinearAttention,

    /// <summary>Specifies the colour of convolutions.</summary>
    Convolution,

    /// <summary>Specifies the colour of a custom mixer.</summary>
    Custom,

    /// <summary>Specifies the colour of HGRN2.</summary>
    Hgrn2,

    /// <summary>Specifies the colour of RWKV-7.</summary>
    Rwkv7,
}
