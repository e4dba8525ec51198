using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>Counts the cost of a design: <c>design.Cost(8192)</c>, <c>design.CountParameters()</c>, <c>design.Explain()</c>.</summary>
public static class DesignCostExtensions
{
    /// <summary>Counts the trainable parameters: total, active, by part and by block.</summary>
    /// <param name="design">A complete design.</param>
    /// <exception cref="ArgumentException">A model of the design is not possible.</exception>
    public static ParameterCount CountParameters(this HybridDesign design) => ParameterCount.FromDesign(design);

    /// <summary>Returns parameters, FLOPs, cache and memory for a sequence length.</summary>
    /// <param name="design">A complete design.</param>
    /// <param name="sequenceLength">The sequence length in tokens. The default is 8192.</param>
    /// <exception cref="ArgumentException">The length is below 1, or a model of the design is not possible.</exception>
    public static DesignCost Cost(this HybridDesign design, int sequenceLength = 8192)
    {
        ArgumentNullException.ThrowIfNull(design);
        Require.AtLeast(sequenceLength, 1, nameof(sequenceLength));
        return new(design, sequenceLength);
    }

    /// <summary>Returns the layers as a table, first to last, with the parameters, FLOPs and cache of each.</summary>
    /// <param name="design">A complete design.</param>
    /// <param name="sequenceLength">The sequence length in tokens. The default is 8192.</param>
    /// <exception cref="ArgumentException">The length is below 1, or a model of the design is not possible.</exception>
    public static string Explain(this HybridDesign design, int sequenceLength = 8192)
    {
        ArgumentNullException.ThrowIfNull(design);
        Require.AtLeast(sequenceLength, 1, nameof(sequenceLength));
        return DesignExplanation.Create(design, sequenceLength);
    }
}
