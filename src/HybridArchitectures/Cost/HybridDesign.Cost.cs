using HybridArchitectures.Cost;

namespace HybridArchitectures.Design;

public sealed partial record HybridDesign
{
    /// <summary>Parameters, operations, cache and memory for texts of this length.</summary>
    /// <exception cref="ArgumentException">The length is below 1, or no model can be made of the design.</exception>
    public DesignCost Cost(int sequenceLength = 8192)
    {
        Require.AtLeast(sequenceLength, 1, nameof(sequenceLength));
        return new(this, sequenceLength);
    }

    /// <summary>The layers as text, first to last, with parameters, operations and cache of each.</summary>
    /// <exception cref="ArgumentException">The length is below 1, or no model can be made of the design.</exception>
    public string Explain(int sequenceLength = 8192)
    {
        Require.AtLeast(sequenceLength, 1, nameof(sequenceLength));
        return DesignExplanation.Create(this, sequenceLength);
    }
}
