using HybridArchitectures.Design;

namespace HybridArchitectures.Reports.Drawing;

/// <summary>
/// Contains the colours of all pictures, except those of runs (<see cref="RunLook"/>). Colour-blind readers can distinguish the mixers too (after
/// Okabe and Ito).
/// </summary>
static class Inks
{
    public static readonly Ink Text = new("text", "1B2430", "E6E9EE");
    public static readonly Ink Soft = new("soft", "5B6675", "9AA5B4");
    public static readonly Ink Line = new("line", "C6CDD6", "46505E");
    public static readonly Ink Paper = new("paper", "FFFFFF", "14181F");
    public static readonly Ink Plain = new("plain", "DDE2E9", "343D4A");

    public static readonly Ink Attention = new("attention", "E8A33D", "E0A04A");
    public static readonly Ink Window = new("window", "F3D08A", "B98A3E");
    public static readonly Ink DifferentialAttention = new("differentialattention", "D9784A", "CC7A50");
    public static readonly Ink Mamba1 = new("mamba1", "7CC4E8", "5AA9D1");
    public static readonly Ink Mamba2 = new("mamba2", "2F80C2", "4A97D6");
    public static readonly Ink Mamba3 = new("mamba3", "1F4E8C", "3F6FB0");
    public static readonly Ink GatedDelta = new("gateddelta", "C07AA8", "C286AE");
    public static readonly Ink KimiDelta = new("kimidelta", "95477F", "9E5C8C");
    public static readonly Ink LatentAttention = new("latentattention", "B9622B", "C0703C");
    public static readonly Ink LightningAttention = new("lightningattention", "D98BA0", "CC8296");
    public static readonly Ink RgLru = new("rglru", "3F8F5F", "4C9A6B");
    public static readonly Ink GatedLinearAttention = new("gatedlinearattention", "B5789C", "B98BA6");
    public static readonly Ink Hgrn2 = new("hgrn2", "7E9C4A", "88A356");
    public static readonly Ink Rwkv7 = new("rwkv7", "B8863B", "C0924C");
    public static readonly Ink Convolution = new("convolution", "5FA8A0", "55A097");
    public static readonly Ink Custom = new("custom", "8FB58A", "7FA87A");
    public static readonly Ink FeedForward = new("feedforward", "A3AEBD", "6E7B8C");
    public static readonly Ink Experts = new("experts", "7A6FA8", "9A8FCB");

    /// <summary>Specifies the colours of letters on dark and on light boxes.</summary>
    public static readonly Ink OnDark = new("ondark", "FFFFFF", "FFFFFF");
    public static readonly Ink OnLight = new("onlight", "1B2430", "1B2430");

    /// <summary>Returns the colour of a mixer.</summary>
    public static Ink Mixer(MixerColor color) => color switch
    {
        MixerColor.Attention => Attention,
        MixerColor.Window => Window,
        MixerColor.DifferentialAttention => DifferentialAttention,
        MixerColor.Mamba1 => Mamba1,
        MixerColor.Mamba2 => Mamba2,
        MixerColor.Mamba3 => Mamba3,
        MixerColor.GatedDelta => GatedDelta,
        MixerColor.KimiDelta => KimiDelta,
        MixerColor.LatentAttention => LatentAttention,
        MixerColor.LightningAttention => LightningAttention,
        MixerColor.RgLru => RgLru,
        MixerColor.GatedLinearAttention => GatedLinearAttention,
        MixerColor.Hgrn2 => Hgrn2,
        MixerColor.Rwkv7 => Rwkv7,
        MixerColor.Convolution => Convolution,
        MixerColor.Custom => Custom,
        _ => throw Require.OutOfRange(nameof(color), color, $"a defined {nameof(MixerColor)}"),
    };

    /// <summary>Gets all colours of this class.</summary>
    public static readonly IReadOnlyList<Ink> All =
    [
        Text, Soft, Line, Paper, Plain, Attention, Window, DifferentialAttention, Mamba1, Mamba2, Mamba3, GatedDelta, KimiDelta,
        LatentAttention, LightningAttention, RgLru, GatedLinearAttention, Hgrn2, Rwkv7, Convolution, Custom, FeedForward, Experts, OnDark,
        OnLight,
    ];
}
