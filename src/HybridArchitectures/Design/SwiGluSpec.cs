namespace HybridArchitectures.Design;

/// <summary>Describes the gated feed-forward of Llama (arXiv 2002.05202): outputScale * down(silu(gateScale * gate(x)) * up(x)).</summary>
/// <param name="Width">The hidden width.</param>
public sealed record SwiGluSpec(int Width) : FeedForwardSpec
{
    /// <summary>Gets or sets the nonlinearity of the gate. The default is SiLU.</summary>
    public Activation Activation { get; init => field = Require.Defined(value, nameof(Activation)); }

    /// <summary>Gets or sets whether all three projections have biases. The default is false.</summary>
    public bool Bias { get; init; }

    /// <summary>Gets or sets the multiplier of the gate before its nonlinearity. The default is 1.</summary>
    public double GateScale { get; init; } = 1;

    /// <summary>Gets or sets the multiplier of the output. The default is 1.</summary>
    public double OutputScale { get; init; } = 1;

    /// <inheritdoc/>
    public override long CountParameters(int width) => 3L * width * Width + CountBiases(width);

    internal override long CountBiases(int width) => Bias ? 2L * Width + width : 0;

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Width, "width");
        Require.Positive(GateScale, "gateScale");
        Require.Positive(OutputScale, "outputScale");
    }
}
