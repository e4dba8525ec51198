namespace HybridArchitectures.Design;

/// <summary>The gated feed-forward of Llama (arXiv 2002.05202): down(silu(gate(x)) * up(x)), no biases.</summary>
/// <param name="Width">Hidden width.</param>
public sealed record SwiGluSpec(int Width) : FeedForwardSpec
{
    /// <inheritdoc/>
    public override long CountParameters(int width) => 3L * width * Width;

    /// <inheritdoc/>
    public override void Check(int width) => Require.Size(Width, "width");
}
