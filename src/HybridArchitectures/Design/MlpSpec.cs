namespace HybridArchitectures.Design;

/// <summary>A feed-forward without gate: down(activation(up(x))) (arXiv 1706.03762).</summary>
/// <param name="Width">Hidden width.</param>
public sealed record MlpSpec(int Width) : FeedForwardSpec
{
    /// <summary>The nonlinearity.</summary>
    public Activation Activation { get; init; } = Activation.Gelu;

    /// <summary>Biases on both projections.</summary>
    public bool Bias { get; init; }

    /// <inheritdoc/>
    public override long CountParameters(int width) => 2L * width * Width + CountBiases(width);

    internal override long CountBiases(int width) => Bias ? (long)Width + width : 0;

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Width, "width");
        Require.Defined(Activation, "activation");
    }
}
