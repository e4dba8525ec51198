using HybridArchitectures.Cost;

namespace HybridArchitectures.Design;

public sealed partial record HybridDesign
{
    /// <summary>Returns parameters, FLOPs, cache and memory for sequences of a length.</summary>
    /// <param name="sequenceLength">The sequence length in tokens. The default is 8,192.</param>
    /// <exception cref="ArgumentException">The length is below 1, or a model of the design is not possible.</exception>
    public DesignCost Cost(int sequenceLength = 8192)
    {
        Require.AtLeast(sequenceLength, 1, nameof(sequenceLength));
        return new(this, sequenceLength);
    }

    /// <summary>Returns the layers as text, in order, with the parameters, FLOPs and cache of each.</summary>
    /// <param name="sequenceLength">The sequence length in tokens. The default is 8,192.</param>
    /// <exception cref="ArgumentException">The length is below 1, or a model of the design is not possible.</exception>
    public string Explain(int sequenceLength = 8192)
    {
        Require.AtLeast(sequenceLength, 1, nameof(sequenceLength));
        return DesignExplanation.Create(this, sequenceLength);
    }
}
