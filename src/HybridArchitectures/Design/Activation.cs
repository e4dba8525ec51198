namespace HybridArchitectures.Design;

/// <summary>Specifies the nonlinearity of a feed-forward or of a convolution.</summary>
public enum Activation
{
    /// <summary>Computes x sigmoid(x) (arXiv 1702.03118).</summary>
    Silu,

    /// <summary>Computes max(x, 0).</summary>
    Relu,

    /// <summary>Computes max(x, 0)^2 (arXiv 2109.08668).</summary>
    ReluSquared,

    /// <summary>Computes x multiplied by the normal distribution function of x (arXiv 1606.08415).</summary>
    Gelu,

    /// <summary>Computes the tanh approximation of <see cref="Gelu"/>.</summary>
    GeluTanh,
}
