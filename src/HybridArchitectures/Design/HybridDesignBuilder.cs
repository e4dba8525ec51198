namespace HybridArchitectures.Design;

/// <summary>Builds a <see cref="HybridDesign"/> step by step.</summary>
public sealed class HybridDesignBuilder
{
    readonly int width, vocabulary;

    /// <summary>Starts a design of a residual stream and a vocabulary of these sizes.</summary>
    public HybridDesignBuilder(int width, int vocabulary)
    {
        Require.AtLeast(width, 1, nameof(width));
        Require.AtLeast(vocabulary, 1, nameof(vocabulary));
        (this.width, this.vocabulary) = (width, vocabulary);
    }

    /// <summary>A design of exactly these blocks.</summary>
    public HybridDesign Build(params ReadOnlySpan<BlockSpec> blocks) =>
        new HybridDesign { Width = width, Vocabulary = vocabulary, Blocks = EquatableList.Create(blocks) }.Resolve();
}
