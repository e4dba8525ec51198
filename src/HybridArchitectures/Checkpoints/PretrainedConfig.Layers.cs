using HybridArchitectures.Design;

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
        double least = Double(minKey, 0.001);
        if (!(double.IsFinite(least) && least >= 0)) throw Refusal(minKey, Find(minKey), "a finite number of at least 0");
        var limit = TimeStepLimit(limitKey);
        return !FollowsTransformers ? limit : least <= NoTimeStep ? null : new(least, float.MaxValue);
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
    internal RotarySpec Rotary(double theta = 10_000, double? fraction = null)
    {
        foreach (string key in RotaryKeys) asked?.Add(key);
        var parameters = Section("rope_parameters");
        var section = Section("rope_scaling") is { } old && old.root.EnumerateObject().Any() ? old : parameters;
        theta = section?.Has("rope_theta") == true ? section.Double("rope_theta") : Double("rope_theta", theta);
        string kind = section?.RotaryKind() ?? "default";
        if (kind is not ("default" or "llama3")) throw section!.Refusal(section.Spelling("rope_type", "type"), kind, "\"default\" or \"llama3\"");
        section?.OnlyKeys(kind == "default" ? defaultRotary : llama3Rotary, $"in rotary positions of the kind \"{kind}\"");
        var spec = new RotarySpec { Theta = theta, Fraction = RotatedPart(section, fraction) };
        return kind == "default" ? spec : spec with
        {
            Scaling = new(section!.Double("factor"), section.Double("low_freq_factor"), section.Double("high_freq_factor"),
                OriginalContextLength(section)),
        };
    }

    /// <summary>The settings of rotary positions, which have no effect if there are no positions.</summary>
    internal static readonly string[] RotaryKeys =
        ["rope_theta", "rope_parameters", "rope_scaling", "partial_rotary_factor", "original_max_position_embeddings"];

    static readonly string[] defaultRotary = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
    static readonly string[] llama3Rotary = [.. defaultRotary, "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"];

    string? RotaryKind() => Text(Spelling("rope_type", "type"));

    int OriginalContextLength(PretrainedConfig section)
    {
        const string key = "original_max_position_embeddings";
        return Has(key) ? Int(key) : section.Int(key, Has("max_position_embeddings") ? Int("max_position_embeddings") : null);
    }

    double RotatedPart(PretrainedConfig? section, double? otherwise)
    {
        const string key = "partial_rotary_factor";
        var place = section?.Has(key) == true ? section : this;
        double stated = place.Double(key, otherwise ?? 1);
        if (otherwise is { } part) return FollowsTransformers && place == this ? part : stated;
        // transformers rotates whole heads regardless of this setting
        return FollowsTransformers || stated == 1 ? 1 : throw place.Refusal(key, stated, "1, because this family rotates whole heads");
    }
}
