namespace HybridArchitectures.Design;

/// <summary>Something a review has to say of a design.</summary>
/// <param name="Rule">Id of the rule.</param>
/// <param name="Severity">How much it matters.</param>
/// <param name="Layer">1-based position of the block; null: the whole design.</param>
/// <param name="Message">What is the matter.</param>
/// <param name="Evidence">Why it is to be believed.</param>
/// <param name="Cure">What makes it go away.</param>
public sealed record Finding(string Rule, Severity Severity, int? Layer, string Message, Evidence Evidence, Cure Cure)
{
    /// <summary>Such as <c>warning attention-first, layer 1: ...</c>.</summary>
    public override string ToString() =>
        $"{Severity.ToString().ToLowerInvariant()} {Rule}{(Layer is { } layer ? $", layer {layer}" : "")}: {Message} Evidence: {Evidence}. Cure: {Cure.Change}";
}
