namespace HybridArchitectures.Design;

/// <summary>Describes a feed-forward without a gate: down(activation(up(x))) (arXiv 1706.03762).</summary>
/// <param name="Width">The hidden width.</param>
public sealed record MlpSpec(int Width) : FeedForwardSpec
{
    /// <summary>Gets or sets the nonlinearity. The default is GELU.</summary>
    public Activation Activation { get; init => field = Require.Defined(value, nameof(Activation)); } = Activation.Gelu;

    /// <summary>Gets or sets whether both projections have biases. The default is false.</summary>
    public bool Bias { get; init; }

    /// <summary>
    /// Gets or sets whether each token is mixed with the one before it, as in the channel mixing of RWKV (arXiv 2503.14456): the input is
    /// <c>x[t] + mix * (x[t-1] - x[t])</c>, with a mix per channel. Before the first token of a document is a vector of zeros. The default is false.
    /// </summary>
    public bool TokenShift { get; init; }

    /// <inheritdoc/>
    public override long CountParameters(int width) => 2L * width * Width + CountBiases(width);

    internal override long CountBiases(int width) => (Bias ? (long)Width + width : 0) + (TokenShift ? width : 0);

    internal override long CountState(int width) => TokenShift ? width : 0;

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Width, "width");
    }
}
