namespace HybridArchitectures.Design;

/// <summary>How the paper trained a recipe (appendix E): AdamW with a trapezoid schedule; the same for all families of a size.</summary>
public sealed record RecipeTraining
{
    /// <summary>Highest learning rate.</summary>
    public required double PeakLearningRate { get; init; }

    /// <summary>Tokens of a row; rows are packed, and attention crosses the documents in them.</summary>
    public int ContextLength { get; init; } = 8192;

    /// <summary>Tokens of an optimizer step: the paper's 2M, as 256 rows of 8192.</summary>
    public int BatchTokens { get; init; } = 256 * 8192;

    /// <summary>Share of the steps in which the learning rate rises.</summary>
    public double WarmUp { get; init; } = 0.25;

    /// <summary>Share of the steps, the last ones, in which it falls.</summary>
    public double CoolDown { get; init; } = 0.2;

    /// <summary>Tokens of the main runs.</summary>
    public long Tokens { get; init; } = 60_000_000_000;
}
