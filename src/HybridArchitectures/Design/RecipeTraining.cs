namespace HybridArchitectures.Design;

/// <summary>Describes how the paper trained a recipe (appendix E): AdamW with a trapezoid schedule, the same for all families of a size.</summary>
public sealed record RecipeTraining
{
    /// <summary>Gets or sets the peak learning rate.</summary>
    public required double PeakLearningRate { get; init; }

    /// <summary>
    /// Gets or sets the context length in tokens. Documents are packed, and attention crosses their boundaries. The default is 8,192.
    /// </summary>
    public int ContextLength { get; init; } = 8192;

    /// <summary>Gets or sets the tokens per optimizer step. The default is the paper's 2M, as 256 rows of 8,192 tokens.</summary>
    public int BatchTokens { get; init; } = 256 * 8192;

    /// <summary>Gets or sets the fraction of the run in which the learning rate rises. The default is 0.25.</summary>
    public double WarmUp { get; init; } = 0.25;

    /// <summary>Gets or sets the fraction of the run, at its end, in which the learning rate falls. The default is 0.2.</summary>
    public double CoolDown { get; init; } = 0.2;

    /// <summary>Gets or sets the number of tokens of the main runs. The default is 60 billion.</summary>
    public long Tokens { get; init; } = 60_000_000_000;
}
