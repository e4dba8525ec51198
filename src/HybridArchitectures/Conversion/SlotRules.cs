using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Conversion;

/// <summary>
/// Initialises slots of a recurrent mixer that the replaced attention does not have, so that the mixer imitates attention.
/// <para>1. Convolutions pass the current token on: the last tap is 1, all others and the bias are 0.</para>
/// <para>
/// 2. A head whose attention has the mean distance m decays by exp(-r) per token, r = ln(1 + 1/m), because the weights exp(-r d) have the mean
/// distance m. Its time step is 1 - exp(-r), with which these weights add up to 1. Without statistics, the distances are
/// 2, ..., 128 in equal ratios.
/// </para>
/// <para>
/// 3. Gates are open: silu(1.278) = 1, gelu(1.145) = 1, sigmoid(2.197) = 0.9. The constant is the bias of the gate, or the linear function of the
/// input that comes nearest to it. Without bias and statistics, gates are fresh.
/// </para>
/// <para>4. The norm of the output has the scales of the output of attention. Without statistics, its weights are fresh.</para>
/// <para>5. D is 0: attention adds nothing to the output.</para>
/// </summary>
sealed class SlotRules(MixerSpec target, AttentionSpec source, LayerAttention? statistics, IReadOnlyList<MixerSlot> slots)
{
    const double OpenSilu = 1.2784645, OpenSigmoid = 2.1972246, OpenGelu = 1.1446;
    const double MinScale = 1e-3, MinDistance = 0.5, FirstDistance = 2, LastDistance = 128;

    double Open => target switch
    {
        LightningAttentionSpec => OpenSigmoid,
        RgLruSpec { Activation: Activation.Gelu or Activation.GeluTanh } => OpenGelu,
        _ => OpenSilu,
    };

    bool HasGateBias => slots.Any(slot => slot is { Kind: SlotKind.Gate, Role: SlotRole.Bias });

    /// <summary>Writes the values of a slot, and returns the rule; null if there is none.</summary>
    public string? Apply(MixerSlot slot)
    {
        if (target is AttentionSpec) return null;
        switch (slot.Role, slot.Kind)
        {
            case (SlotRole.Taps, _):
                slot.View.zero_();
                using (var last = slot.View.narrow(-1, slot.View.size(-1) - 1, 1)) last.fill_(Scalars.One);
                return "the current token";
            case (SlotRole.TapBias, _) or (_, SlotKind.Skip):
                slot.View.zero_();
                return "0";
            case (SlotRole.Bias, SlotKind.Gate):
                slot.View.fill_(Scalars.From(Open));
                return "open gate";
            case (SlotRole.Weight, SlotKind.Gate) when statistics is not null && !HasGateBias:
                slot.Write(Given([.. statistics.Constant.Select(weight => weight * Open)]).expand(slot.Heads, slot.Size, -1));
                return "open gate";
            case (SlotRole.Weight, SlotKind.OutputNorm) when statistics is not null: return Scales(slot);
            case (SlotRole.Weight, SlotKind.Decay or SlotKind.StepBias or SlotKind.ChannelStepBias): return Decays(slot);
            default: return null;
        }
    }

    string? Scales(MixerSlot slot)
    {
        var scales = Given([.. statistics!.OutputScales.Select(scale => Math.Max(scale, MinScale))]);
        var measured = Measured(SlotKind.OutputNorm, scales.unflatten(0, [source.Heads, source.ValueHeadSize]));
        if (measured.FitTo(slot) is not { } fitted) return null;
        slot.Write(fitted.Values);
        return "scales of the attention";
    }

    string? Decays(MixerSlot slot)
    {
        double ratio = source.Heads == 1 ? 1 : Math.Pow(LastDistance / FirstDistance, 1.0 / (source.Heads - 1));
        var distances = statistics?.MeanDistances ?? [.. Enumerable.Range(0, source.Heads).Select(head => FirstDistance * Math.Pow(ratio, head))];
        var values = distances.Select(distance =>
        {
            double rate = Math.Log(1 + 1 / Math.Max(distance, MinDistance)), step = 1 - Math.Exp(-rate);
            // the inverse of softplus
            return slot.Kind == SlotKind.Decay ? Math.Log(rate / step) : step + Math.Log(1 - Math.Exp(-step));
        });
        var single = Measured(slot.Kind, Given([.. values]).unflatten(0, [source.Heads, 1]));
        if (single.FitTo(slot with { Size = 1, View = slot.View.reshape([slot.Heads, slot.Size]).narrow(1, 0, 1) }) is not { } fitted) return null;
        slot.Write(fitted.Values.expand(slot.Heads, slot.Size));
        return statistics is null ? "distances from 2 to 128" : "distances of the attention";
    }

    static MixerSlot Measured(SlotKind kind, Tensor values) =>
        new(kind, SlotRole.Weight, "", "", values, (int)values.size(0), (int)values.size(1), false);

    Tensor Given(double[] values) => tensor(values, ScalarType.Float32, slots[0].View.device);
}
