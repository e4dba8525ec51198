using HybridArchitectures.Design;
using static TorchSharp.torch;

namespace HybridArchitectures.Conversion;

/// <summary>Divides the tensors of a mixer into slots. Mixers without slots, such as custom ones, have none.</summary>
sealed class MixerSlots
{
    readonly IReadOnlyDictionary<string, Tensor> tensors;
    readonly bool zeroCenteredNorms;
    readonly List<MixerSlot> slots = [];

    MixerSlots(IReadOnlyDictionary<string, Tensor> tensors, bool zeroCenteredNorms) =>
        (this.tensors, this.zeroCenteredNorms) = (tensors, zeroCenteredNorms);

    // a part of the rows of a projection: heads x size of them
    readonly record struct Rows(SlotKind Kind, string Name, int Heads, int Size, bool IsFlat = false);

    /// <summary>Returns the slots of a mixer as views in the current dispose scope.</summary>
    /// <param name="spec">The mixer.</param>
    /// <param name="tensors">Its tensors, by their names within the mixer.</param>
    /// <param name="zeroCenteredNorms">Whether modules of norms store (scale - 1).</param>
    public static IReadOnlyList<MixerSlot> Read(MixerSpec? spec, IReadOnlyDictionary<string, Tensor> tensors, bool zeroCenteredNorms)
    {
        var all = new MixerSlots(tensors, zeroCenteredNorms);
        switch (spec)
        {
            case AttentionSpec attention: all.Add(attention); break;
            case Mamba1Spec mamba1: all.Add(mamba1); break;
            case Mamba2Spec mamba2: all.Add(mamba2); break;
            case GatedDeltaSpec delta: all.Add(delta); break;
            case KimiDeltaSpec kimi: all.Add(kimi); break;
            case Rwkv7Spec rwkv: all.Add(rwkv); break;
            case LightningAttentionSpec lightning: all.Add(lightning); break;
            case RgLruSpec recurrent: all.Add(recurrent); break;
            case ShortConvolutionSpec convolution: all.Add(convolution); break;
            case LatentAttentionSpec latent: all.Outputs(latent.Heads, latent.ValueHeadSize); break;
        }
        return all.slots;
    }

    void Add(AttentionSpec spec)
    {
        Rows query = new(SlotKind.Query, spec.OutputGate ? "query" : "", spec.Heads, spec.HeadSize);
        Rows gate = new(SlotKind.Gate, "gate", spec.Heads, spec.ValueHeadSize);
        Projection("query", spec.Heads, spec.OutputGate ? [query, gate] : [query]);
        Projection("key", 1, new Rows(SlotKind.Key, "", spec.KeyValueHeads, spec.HeadSize));
        Projection("value", 1, new Rows(SlotKind.Value, "", spec.KeyValueHeads, spec.ValueHeadSize));
        Divide("query_norm.weight", SlotRole.Weight, 1,
            new Rows(SlotKind.QueryNorm, "", spec.QkNormAcrossHeads ? spec.Heads : 1, spec.HeadSize));
        Divide("key_norm.weight", SlotRole.Weight, 1,
            new Rows(SlotKind.KeyNorm, "", spec.QkNormAcrossHeads ? spec.KeyValueHeads : 1, spec.HeadSize));
        Outputs(spec.Heads, spec.ValueHeadSize);
    }

    void Add(Mamba2Spec spec)
    {
        Rows x = new(SlotKind.Value, "x", spec.Heads, spec.HeadSize);
        Rows b = new(SlotKind.Key, "B", spec.Groups, spec.StateSize), c = new(SlotKind.Query, "C", spec.Groups, spec.StateSize);
        Projection("input", 1, new Rows(SlotKind.Gate, "z", spec.Heads, spec.HeadSize), x, b, c, new Rows(SlotKind.Step, "dt", spec.Heads, 1));
        Convolution(x, b, c);
        Recurrence(spec.Heads);
        Divide("D", SlotRole.Weight, 1, new Rows(SlotKind.Skip, "", spec.Heads, 1));
        Divide("norm_weight", SlotRole.Weight, 1, new Rows(SlotKind.OutputNorm, "", spec.Heads, spec.HeadSize));
        Outputs(spec.Heads, spec.HeadSize);
    }

    void Add(GatedDeltaSpec spec)
    {
        Rows q = new(SlotKind.Query, "query", spec.KeyHeads, spec.KeyHeadSize), k = new(SlotKind.Key, "key", spec.KeyHeads, spec.KeyHeadSize);
        Rows v = new(SlotKind.Value, "value", spec.ValueHeads, spec.ValueHeadSize);
        Projection("input", spec.KeyHeads, q, k, v, v with { Kind = SlotKind.Gate, Name = "gate" });
        Projection("rates", spec.KeyHeads, new Rows(SlotKind.Strength, "strength", spec.ValueHeads, 1),
            new Rows(SlotKind.Step, "dt", spec.ValueHeads, 1));
        Convolution(q, k, v);
        Recurrence(spec.ValueHeads);
        Divide("norm_weight", SlotRole.Weight, 1, new Rows(SlotKind.OutputNorm, "", 1, spec.ValueHeadSize));
        Outputs(spec.ValueHeads, spec.ValueHeadSize);
    }

    void Add(KimiDeltaSpec spec)
    {
        Rows q = new(SlotKind.Query, "query", spec.Heads, spec.HeadSize), k = new(SlotKind.Key, "key", spec.Heads, spec.HeadSize);
        Rows v = new(SlotKind.Value, "value", spec.Heads, spec.ValueHeadSize);
        foreach (var rows in (Rows[])[q, k, v]) Projection(rows.Name, 1, rows with { Name = "" });
        Projection("strength", 1, new Rows(SlotKind.Strength, "", spec.Heads, 1));
        Convolution(q, k, v);
        Divide("dt_bias", SlotRole.Weight, 1, new Rows(SlotKind.ChannelStepBias, "", spec.Heads, spec.HeadSize));
        Divide("A_log", SlotRole.Weight, 1, new Rows(SlotKind.Decay, "", spec.Heads, 1));
        Divide("norm_weight", SlotRole.Weight, 1, new Rows(SlotKind.OutputNorm, "", 1, spec.ValueHeadSize));
        Outputs(spec.Heads, spec.ValueHeadSize);
    }

    void Add(Rwkv7Spec spec)
    {
        Rows q = new(SlotKind.Query, "", spec.Heads, spec.HeadSize);
        Projection("query", 1, q);
        Projection("key", 1, q with { Kind = SlotKind.Key });
        Projection("value", 1, q with { Kind = SlotKind.Value });
        Outputs(spec.Heads, spec.HeadSize);
    }

    void Add(LightningAttentionSpec spec)
    {
        Rows q = new(SlotKind.Query, "query", spec.Heads, spec.HeadSize);
        Projection("input", spec.Heads, q, q with { Kind = SlotKind.Key, Name = "key" }, q with { Kind = SlotKind.Value, Name = "value" });
        Projection("gate", 1, q with { Kind = SlotKind.Gate, Name = "" });
        // other mixers store the scale
        if (!zeroCenteredNorms) Divide("norm.weight", SlotRole.Weight, 1, q with { Kind = SlotKind.OutputNorm, Name = "" });
        Outputs(spec.Heads, spec.HeadSize);
    }

    void Add(Mamba1Spec spec)
    {
        Rows x = new(SlotKind.Value, "x", 1, spec.InnerWidth, IsFlat: true);
        Projection("input", 1, x, x with { Kind = SlotKind.Gate, Name = "z" });
        Convolution(x);
        Outputs(1, spec.InnerWidth, isFlat: true);
    }

    void Add(RgLruSpec spec)
    {
        Rows x = new(SlotKind.Value, "", 1, spec.InnerWidth, IsFlat: true);
        Projection("input", 1, x);
        Projection("gate", 1, x with { Kind = SlotKind.Gate });
        Convolution(x);
        Outputs(1, spec.InnerWidth, isFlat: true);
    }

    void Add(ShortConvolutionSpec spec)
    {
        int width = (int)tensors["output.weight"].size(0);
        Rows x = new(SlotKind.Value, "x", 1, width, IsFlat: true);
        Projection("input", 1, x with { Kind = SlotKind.InputGate, Name = "b" }, x with { Kind = SlotKind.Gate, Name = "c" }, x);
        Convolution(x);
        Outputs(1, width, isFlat: true);
    }

    void Projection(string name, int groups, params Rows[] rows)
    {
        Divide($"{name}.weight", SlotRole.Weight, groups, rows);
        Divide($"{name}.bias", SlotRole.Bias, groups, rows);
    }

    void Convolution(params Rows[] rows)
    {
        if (rows.Length == 1) rows = [rows[0] with { Name = "" }];
        Divide("conv_weight", SlotRole.Taps, 1, rows);
        Divide("conv_bias", SlotRole.TapBias, 1, rows);
    }

    void Recurrence(int heads)
    {
        Divide("dt_bias", SlotRole.Weight, 1, new Rows(SlotKind.StepBias, "", heads, 1));
        Divide("A_log", SlotRole.Weight, 1, new Rows(SlotKind.Decay, "", heads, 1));
    }

    // (width, heads x size), by input channel
    void Outputs(int heads, int size, bool isFlat = false)
    {
        if (!tensors.TryGetValue("output.weight", out var weight)) return;
        if (weight.size(1) != (long)heads * size) return;
        slots.Add(new(SlotKind.Output, SlotRole.Weight, "output.weight", "", weight.t().unflatten(0, [heads, size]), heads, size, isFlat));
        if (tensors.TryGetValue("output.bias", out var bias))
            slots.Add(new(SlotKind.OutputBias, SlotRole.Bias, "output.bias", "", bias, 1, (int)bias.size(0), false));
    }

    // the rows of a tensor are ordered by group; each group has its share of the heads of all parts
    void Divide(string name, SlotRole role, int groups, params Rows[] rows)
    {
        if (!tensors.TryGetValue(name, out var whole)) return;
        var grouped = whole.unflatten(0, [groups, whole.size(0) / groups]);
        long start = 0;
        foreach (var part in rows)
        {
            int heads = part.Heads / groups;
            long count = (long)heads * part.Size;
            var view = grouped.narrow(1, start, count).unflatten(1, [heads, part.Size]);
            slots.Add(new(part.Kind, role, name, part.Name, view, part.Heads, part.Size, part.IsFlat));
            start += count;
        }
    }
}
