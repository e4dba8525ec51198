using HybridArchitectures.Design;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Checkpoints;

/// <content>Reads settings of layers that several families share: time steps, gated norms, rotary positions.</content>
public sealed partial class PretrainedConfig
{
    /// <summary>Returns the limits to which time steps are clamped, or null if they have no effect.</summary>
    internal Interval? TimeStepLimit(string key = "time_step_limit")
    {
        if (Numbers(key, 2) is not { } ends) return null;
        if (ends[0] <= 0 && ends[1] >= float.MaxValue) return null;
        if (!(ends[0] >= 0 && ends[0] <= ends[1])) throw Refusal(key, Find(key), "two numbers, 0 <= the first <= the second");
        return new(ends[0], Math.Min(ends[1], float.MaxValue));
    }

    /// <summary>
    /// Returns the limits to which time steps are clamped, for families that transformers clamps at <c>time_step_min</c>: that minimum, or
    /// <c>time_step_limit</c> as in training. Returns null if the limits have no effect.
    /// </summary>
    internal Interval? TimeStepLimit(string limitKey, string minKey)
    {
        double minStep = Double(minKey, 0.001);
        if (!(double.IsFinite(minStep) && minStep >= 0)) throw Refusal(minKey, Find(minKey), "a finite number of at least 0");
        var limit = TimeStepLimit(limitKey);
        return !FollowsTransformers ? limit : minStep <= NoTimeStep ? null : new(minStep, float.MaxValue);
    }

    /// <summary>A time step that is small enough to be no limit: softplus returns less only below -27.</summary>
    internal const double NoTimeStep = 1e-12;

    /// <summary>
    /// Returns the groups of the gated norm for families whose inner width transformers normalizes as a whole: the groups of B and C, or 1.
    /// </summary>
    internal int NormGroups(int groups)
    {
        int otherwise = FollowsTransformers ? 1 : groups;
        int stated = Int(WholeNorm, otherwise);
        return stated == 1 || stated == groups ? stated : throw Refusal(WholeNorm, stated, $"1, or the {groups} groups of the state-space layer");
    }

    /// <summary>
    /// The key with which this library states a number of norm groups that differs from the number of groups. Other programs ignore it.
    /// </summary>
    internal const string WholeNorm = "gated_norm_groups";

    /// <summary>
    /// Reads rotary positions from <c>rope_scaling</c> or, if that is absent or empty, from <c>rope_parameters</c>. A base in that section takes
    /// precedence over <c>rope_theta</c>, as in transformers. Unknown keys of the section are refused.
    /// </summary>
    /// <param name="theta">The default base.</param>
    /// <param name="fraction">The default rotated fraction. Null for families that rotate whole heads in transformers.</param>
    /// <param name="multimodal">
    /// Whether the section may distribute frequencies over time, height and width (<c>mrope_section</c>). The positions of a text are the same in all
    /// three, so the distribution has no effect. The default is false.
    /// </param>
    internal RotarySpec Rotary(double theta = 10_000, double? fraction = null, bool multimodal = false)
    {
        foreach (string key in RotaryKeys) asked?.Add(key);
        var parameters = Section("rope_parameters");
        return Rotary(Section("rope_scaling") is { } old && old.root.EnumerateObject().Any() ? old : parameters, theta, fraction, multimodal);
    }

    /// <summary>
    /// Reads the rotary positions of full-attention layers and of sliding-window layers. <c>rope_parameters</c> has a section for each, or, in
    /// published configurations, the scaling applies to full-attention layers only. The functions throw an exception if the section is absent.
    /// </summary>
    internal (Func<RotarySpec> Full, Func<RotarySpec> Sliding) RotaryByLayer(double theta)
    {
        foreach (string key in RotaryKeys) asked?.Add(key);
        if (Section("rope_parameters") is not { } sections || !(sections.Has(FullLayer) || sections.Has(SlidingLayer)))
        {
            var same = Rotary(theta);
            return (() => same, () => same with { Scaling = null });
        }
        sections.OnlyKeys([FullLayer, SlidingLayer], "in rotary positions by layer type");
        if (Section("rope_scaling") is { } other && other.root.EnumerateObject().Any())
            throw Refusal("rope_scaling", Find("rope_scaling"), "no rope_scaling next to rope_parameters by layer type");
        Func<RotarySpec> Of(string key) => () => sections.Section(key) is { } section ? Rotary(section, theta, null, false)
            : throw sections.Refusal(key, null, "the rotary positions of layers of this type");
        return (Of(FullLayer), Of(SlidingLayer));
    }

    /// <summary>
    /// Reads rotary positions, or null if the base is stated as null: <c>rope_theta</c> at the top level, or inside <c>rope_parameters</c>.
    /// </summary>
    internal RotarySpec? RotaryOrNone(double theta)
    {
        var section = Section("rope_parameters");
        bool none = section?.IsNull("rope_theta") == true || (section?.Has("rope_theta") != true && IsNull("rope_theta"));
        if (!none) return Rotary(theta);
        foreach (string key in RotaryKeys) asked?.Add(key);
        return null;
    }

    internal const string FullLayer = "full_attention", SlidingLayer = "sliding_attention";

    RotarySpec Rotary(PretrainedConfig? section, double theta, double? fraction, bool multimodal)
    {
        theta = section?.Has("rope_theta") == true ? section.Double("rope_theta") : Double("rope_theta", theta);
        string kind = section?.RotaryKind() ?? "default";
        if (!rotaryKinds.TryGetValue(kind, out string[]? known))
            throw section!.Refusal(section.Spelling("rope_type", "type"), kind, $"one of {string.Join(", ", rotaryKinds.Keys)}");
        string[] multimodalKeys = multimodal ? ["mrope_section", "mrope_interleaved"] : [];
        section?.OnlyKeys([.. defaultRotary, .. known, .. multimodalKeys], $"in rotary positions of the kind \"{kind}\"");
        if (kind == "proportional") return new() { Theta = theta, Scaling = Proportional(section!) };
        return new() { Theta = theta, Fraction = RotatedPart(section, fraction), Scaling = section is null ? null : Scaling(section, kind) };
    }

    RotaryScaling? Scaling(PretrainedConfig section, string kind) => kind switch
    {
        "llama3" => new Llama3RotaryScaling(section.Double("factor"), section.Double("low_freq_factor"), section.Double("high_freq_factor"),
            OriginalContextLength(section)),
        "linear" => new LinearRotaryScaling(section.Double("factor")),
        "dynamic" => Dynamic(section),
        "yarn" => Yarn(section),
        "longrope" => Long(section),
        _ => null,
    };

    // transformers takes max_position_embeddings for the original length
    DynamicRotaryScaling Dynamic(PretrainedConfig section)
    {
        int original = Has("max_position_embeddings") ? Int("max_position_embeddings") : OriginalContextLength(section);
        section.Agree(OriginalLength, original, "max_position_embeddings says");
        return new(section.Double("factor"), original);
    }

    YarnRotaryScaling Yarn(PretrainedConfig section)
    {
        int original = OriginalContextLength(section);
        double factor = section.Has("factor") ? section.Double("factor") : (double)Int("max_position_embeddings") / original;
        double? amplitude = section.Has("attention_factor") ? section.Double("attention_factor") : null;
        double numerator = section.Double("mscale", 0), denominator = section.Double("mscale_all_dim", 0);
        if (amplitude is null && numerator != 0 && denominator != 0)
            amplitude = YarnRotaryScaling.MagnitudeScale(factor, numerator) / YarnRotaryScaling.MagnitudeScale(factor, denominator);
        return new()
        {
            Factor = factor, OriginalContextLength = original, FastTurns = section.Double("beta_fast", 32),
            SlowTurns = section.Double("beta_slow", 1), AttentionFactor = amplitude, Truncate = section.Flag("truncate", true),
        };
    }

    LongRotaryScaling Long(PretrainedConfig section)
    {
        int original = OriginalContextLength(section);
        double factor = section.Has("factor") ? section.Double("factor") : (double)Int("max_position_embeddings", original) / original;
        double amplitude = factor <= 1 ? 1 : Math.Sqrt(1 + Math.Log(factor) / Math.Log(original));
        EquatableList<double> Factors(string key) => [.. section.Numbers(key) ?? throw section.Refusal(key, null, "a list of numbers")];
        return new()
        {
            ShortFactors = Factors("short_factor"), LongFactors = Factors("long_factor"), OriginalContextLength = original,
            AttentionFactor = section.Double("attention_factor", amplitude),
        };
    }

    ProportionalRotaryScaling Proportional(PretrainedConfig section)
    {
        const string key = "partial_rotary_factor";
        return new(section.Double("factor", 1), (section.Has(key) ? section : this).Double(key, 1));
    }

    const string OriginalLength = "original_max_position_embeddings";

    /// <summary>The settings of rotary positions, which have no effect if there are no positions.</summary>
    internal static readonly string[] RotaryKeys = ["rope_theta", "rope_parameters", "rope_scaling", "partial_rotary_factor", OriginalLength];

    static readonly string[] defaultRotary = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];

    // the keys of each kind, in addition to those of all
    static readonly Dictionary<string, string[]> rotaryKinds = new(StringComparer.Ordinal)
    {
        ["default"] = [],
        ["llama3"] = ["factor", "low_freq_factor", "high_freq_factor", OriginalLength],
        ["linear"] = ["factor"],
        ["dynamic"] = ["factor", OriginalLength],
        ["yarn"] = ["factor", OriginalLength, "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"],
        ["longrope"] = ["factor", OriginalLength, "attention_factor", "short_factor", "long_factor"],
        ["proportional"] = ["factor"],
    };

    // the sections are checked also where no layer uses them, because they may describe something that the library does not know
    void RefuseUnknownRotary()
    {
        string[] known = [.. defaultRotary, "mrope_section", "mrope_interleaved", .. rotaryKinds.Values.SelectMany(keys => keys).Distinct()];
        foreach (string key in new[] { "rope_parameters", "rope_scaling" })
        {
            if (Section(key) is not { } section) continue;
            string[] layers = [.. new[] { FullLayer, SlidingLayer }.Where(section.Has)];
            if (layers.Length == 0) section.OnlyKeys(known, "in rotary positions");
            foreach (string layer in layers) section.Section(layer)?.OnlyKeys(known, "in rotary positions");
        }
    }

    string? RotaryKind() => Text(Spelling("rope_type", "type"));

    int OriginalContextLength(PretrainedConfig section) => Has(OriginalLength) ? Int(OriginalLength)
        : section.Int(OriginalLength, Has("max_position_embeddings") ? Int("max_position_embeddings") : null);

    double RotatedPart(PretrainedConfig? section, double? otherwise)
    {
        const string key = "partial_rotary_factor";
        var source = section?.Has(key) == true ? section : this;
        double stated = source.Double(key, otherwise ?? 1);
        if (otherwise is { } part) return FollowsTransformers && source == this ? part : stated;
        // transformers rotates whole heads regardless of this setting
        return FollowsTransformers || stated == 1 ? 1 : throw source.Refusal(key, stated, "1, because this family rotates whole heads");
    }
}
