namespace HybridArchitectures.Design;

/// <summary>The gated feed-forward of Llama (arXiv 2002.05202): outputScale * down(silu(gateScale * gate(x)) * up(x)).</summary>
/// <param name="Width">Hidden width.</param>
public sealed record SwiGluSpec(int Width) : FeedForwardSpec
{
    /// <summary>The gate's nonlinearity: SiLU, unless another is named.</summary>
    public Activation Activation { get; init; }

    /// <summary>Biases on all three projections.</summary>
    public bool Bias { get; init; }

    /// <summary>Factor on the gate before its nonlinearity.</summary>
    public double GateScale { get; init; } = 1;

    /// <summary>Factor on what leaves the feed-forward.</summary>
    public double OutputScale { get; init; } = 1;

    /// <inheritdoc/>
    public override long CountParameters(int width) => 3L * width * Width + CountBiases(width);

    internal override long CountBiases(int width) => Bias ? 2L * Width + width : 0;

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Width, "width");
        Require.Defined(Activation, "activation");
        Require.Positive(GateScale, "gateScale");
        Require.Positive(OutputScale, "outputScale");
    }
}
