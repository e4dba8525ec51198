using HybridArchitectures.Design;

namespace HybridArchitectures.Review;

/// <summary>Represents a finding of a review.</summary>
/// <param name="Rule">The id of the rule.</param>
/// <param name="Severity">The severity of the problem.</param>
/// <param name="Layer">The position of the block, counted from 1, or of the first of several blocks. Null means the whole design.</param>
/// <param name="Message">The problem in words.</param>
/// <param name="Evidence">The evidence with its source.</param>
/// <param name="Remedy">The fix, for all layers together.</param>
public sealed record Finding(string Rule, Severity Severity, int? Layer, string Message, Evidence Evidence, Remedy Remedy)
{
    /// <summary>Gets the severity.</summary>
    public Severity Severity { get; init => field = Require.Defined(value, nameof(Severity)); } = Require.Defined(Severity, nameof(Severity));

    /// <summary>
    /// Gets or sets the positions of all blocks with this finding, counted from 1 and ascending. The default is <see cref="Layer"/>, or empty for the
    /// whole design.
    /// </summary>
    public EquatableList<int> Layers { get; init; } = Layer is { } layer ? [layer] : [];

    /// <summary>Returns the finding as text, for example <c>warning attention-first, layer 1: ...</c>.</summary>
    public override string ToString() => $"{Severity.ToString().ToLowerInvariant()} {Rule}{Place}: {Message} Evidence: {Evidence}. Remedy: {Remedy}";

    string Place => Layers.Count switch
    {
        0 => "",
        1 => $", layer {Layers[0]}",
        _ => $", layers {Ranges.Format(Layers)}",
    };

    /// <summary>Joins equal findings of several layers into one, in the order of their first layers.</summary>
    internal static IEnumerable<Finding> Joined(IEnumerable<Finding> findings) => findings
        .GroupBy(one => (one.Rule, one.Severity, OfLayer: one.Layer is not null, one.Message, one.Evidence, one.Remedy.Change, one.Remedy.Safe,
        CanApply: one.Remedy.Apply is not null))
        .Select(group => Joined([.. group]));

    static Finding Joined(IReadOnlyList<Finding> alike)
    {
        if (alike.Count == 1) return alike[0];
        var remedy = alike[0].Remedy;
        if (remedy.Apply is not null)
            remedy = remedy with { Apply = design => alike.Aggregate(design, (changed, one) => one.Remedy.Apply!(changed)) };
        int[] layers = [.. alike.SelectMany(one => one.Layers).Distinct().Order()];
        return alike[0] with { Layer = layers.Length == 0 ? null : layers[0], Layers = [.. layers], Remedy = remedy };
    }
}
