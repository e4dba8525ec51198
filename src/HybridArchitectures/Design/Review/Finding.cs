namespace HybridArchitectures.Design;

/// <summary>Something a review has to say of a design.</summary>
/// <param name="Rule">Id of the rule.</param>
/// <param name="Severity">How much it matters.</param>
/// <param name="Layer">1-based position of the block, of the first one if there are several; null: the whole design.</param>
/// <param name="Message">What is the matter.</param>
/// <param name="Evidence">Why it is to be believed.</param>
/// <param name="Cure">What makes it go away, in all layers at once.</param>
public sealed record Finding(string Rule, Severity Severity, int? Layer, string Message, Evidence Evidence, Cure Cure)
{
    /// <summary>
    /// Gets the 1-based positions of all blocks that the finding is about, ascending. The default is <see cref="Layer"/> alone, or none for the
    /// whole design.
    /// </summary>
    public EquatableList<int> Layers { get; init; } = Layer is { } layer ? [layer] : [];

    /// <summary>Such as <c>warning attention-first, layer 1: ...</c>.</summary>
    public override string ToString() => $"{Severity.ToString().ToLowerInvariant()} {Rule}{Place}: {Message} Evidence: {Evidence}. Cure: {Cure}";

    string Place => Layers.Count switch
    {
        0 => "",
        1 => $", layer {Layers[0]}",
        _ => $", layers {Ranges.Format(Layers)}",
    };

    /// <summary>What several layers have alike as one finding, in the order of the first of each.</summary>
    internal static IEnumerable<Finding> Joined(IEnumerable<Finding> findings) => findings
        .GroupBy(one => (one.Rule, one.Severity, OfLayer: one.Layer is not null, one.Message, one.Evidence, one.Cure.Change, one.Cure.Safe, CanApply: one.Cure.Apply is not null))
        .Select(group => Joined([.. group]));

    static Finding Joined(IReadOnlyList<Finding> alike)
    {
        if (alike.Count == 1) return alike[0];
        var cure = alike[0].Cure;
        if (cure.Apply is not null)
            cure = cure with { Apply = design => alike.Aggregate(design, (changed, one) => one.Cure.Apply!(changed)) };
        int[] layers = [.. alike.SelectMany(one => one.Layers).Distinct().Order()];
        return alike[0] with { Layer = layers.Length == 0 ? null : layers[0], Layers = [.. layers], Cure = cure };
    }
}
