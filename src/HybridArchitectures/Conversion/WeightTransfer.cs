using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Conversion;

/// <summary>Copies the weights of a model to a new one, and reports each of them. The caller provides a scope without gradients.</summary>
sealed class WeightTransfer(HybridLanguageModel source, HybridLanguageModel target, AttentionStatistics? statistics)
{
    readonly IReadOnlyDictionary<string, Tensor> given = source.State, created = target.State;
    readonly HashSet<string> used = new(StringComparer.Ordinal);
    readonly Dictionary<string, List<ConvertedPart>> parts = new(StringComparer.Ordinal);

    public ConversionReport Run()
    {
        for (int block = 0; block < target.Design.Depth; block++) TransferMixer(block);
        foreach (var (name, tensor) in created)
            if (!parts.ContainsKey(name)) CopyWhole(name, tensor);
        return new([.. created.Keys.SelectMany(name => parts[name])], [.. given.Keys.Where(name => !used.Contains(name))]);
    }

    void Note(string tensor, string part, long elements, WeightOrigin origin, string from)
    {
        if (!parts.TryGetValue(tensor, out var list)) parts[tensor] = list = [];
        list.Add(new(tensor, part, elements, origin, from));
    }

    void CopyWhole(string name, Tensor tensor)
    {
        // an untied head starts as the embedding
        string from = name == "head" && !given.ContainsKey(name) ? "embedding" : name;
        if (given.TryGetValue(from, out var values) && values.shape.SequenceEqual(tensor.shape))
        {
            tensor.copy_(values);
            used.Add(from);
            Note(name, "", tensor.NumberOfElements, WeightOrigin.Kept, from);
        }
        else Note(name, "", tensor.NumberOfElements, WeightOrigin.Fresh, "");
    }

    void TransferMixer(int block)
    {
        var (before, after) = (source.Design.Blocks[block].Mixer, target.Design.Blocks[block].Mixer);
        if (before is null || after is null) return;
        string prefix = $"stack.blocks.{block}.mixer.";
        var (old, made) = (Under(given, prefix), Under(created, prefix));
        bool isSameKind = before.GetType() == after.GetType();
        var open = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var (name, tensor) in made)
        {
            if (isSameKind && old.TryGetValue(name, out var values) && values.shape.SequenceEqual(tensor.shape)) CopyWhole(prefix + name, tensor);
            else open.Add(name, tensor);
        }
        if (open.Count == 0) return;
        bool zeroCentered = source.Design.ZeroCenteredNorms;
        var (from, to) = (MixerSlots.Read(before, old, zeroCentered), MixerSlots.Read(after, made, zeroCentered));
        var layer = statistics?.Layers.FirstOrDefault(one => one.Layer == block + 1);
        var rules = before is AttentionSpec attention && to.Count > 0 ? new SlotRules(after, attention, layer, to) : null;
        foreach (var slot in to.Where(slot => open.ContainsKey(slot.Tensor))) Fill(slot, from, prefix, ScaleRatio(before, after, slot), rules);
        foreach (var (name, tensor) in open)
            if (!to.Any(slot => slot.Tensor == name)) Note(prefix + name, "", tensor.NumberOfElements, WeightOrigin.Fresh, "");
    }

    static Dictionary<string, Tensor> Under(IReadOnlyDictionary<string, Tensor> state, string prefix) =>
        state.Where(item => item.Key.StartsWith(prefix, StringComparison.Ordinal))
            .ToDictionary(item => item.Key[prefix.Length..], item => item.Value.detach(), StringComparer.Ordinal);

    void Fill(MixerSlot slot, IReadOnlyList<MixerSlot> from, string prefix, double ratio, SlotRules? rules)
    {
        long elements = slot.View.NumberOfElements;
        var match = from.FirstOrDefault(one => one.Kind == slot.Kind && one.Role == slot.Role);
        if (match?.FitTo(slot) is { } fitted)
        {
            slot.Write(ratio == 1 ? fitted.Values : fitted.Values.mul(Scalars.From(ratio)));
            used.Add(prefix + match.Tensor);
            string scaled = ratio == 1 ? "" : FormattableString.Invariant($", times {ratio:0.######}");
            string source = $"{match.Tensor}{(match.Part.Length > 0 ? $" ({match.Part})" : "")}{fitted.How}{scaled}";
            Note(prefix + slot.Tensor, slot.Part, elements, ratio == 1 ? fitted.Origin : WeightOrigin.Derived, source);
        }
        else if (rules?.Apply(slot) is { } rule) Note(prefix + slot.Tensor, slot.Part, elements, WeightOrigin.Derived, rule);
        else Note(prefix + slot.Tensor, slot.Part, elements, WeightOrigin.Fresh, "");
    }

    // the multipliers of the source that the target does not apply itself
    static double ScaleRatio(MixerSpec before, MixerSpec after, MixerSlot slot) =>
        slot.Role == SlotRole.Weight ? Scale(before, slot.Kind) / Scale(after, slot.Kind) : 1;

    static double Scale(MixerSpec mixer, SlotKind kind)
    {
        bool isProjected = kind is SlotKind.Query or SlotKind.Key or SlotKind.Value or SlotKind.Gate or SlotKind.Step;
        return mixer switch
        {
            AttentionSpec attention => kind == SlotKind.Output ? attention.OutputScale
                : isProjected ? attention.InputScale * (kind == SlotKind.Key ? attention.KeyScale : 1) : 1,
            Mamba2Spec mamba2 => kind == SlotKind.Output ? mamba2.OutputScale
                : isProjected ? mamba2.InputScale * PartScale(mamba2.ProjectionScales, kind) : 1,
            _ => 1,
        };
    }

    static double PartScale(ProjectionScales? scales, SlotKind kind) => scales is null ? 1 : kind switch
    {
        SlotKind.Query => scales.C,
        SlotKind.Key => scales.B,
        SlotKind.Value => scales.Values,
        SlotKind.Gate => scales.Gate,
        _ => scales.TimeStep,
    };
}
