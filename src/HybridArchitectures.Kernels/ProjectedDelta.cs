using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Contains what a step of the gated delta rule on a GPU needs to compute its inputs from projections: q = QueryScale q / |q|, k = k / |k|,
/// strength = MaxStrength sigmoid(r), and the logarithm of the decay = A softplus(r' + Bias).
/// </summary>
/// <param name="Bias">The bias of the time steps, shape (H), float32 or bfloat16; null if nothing decays.</param>
/// <param name="A">The negative rates, shape (H), float32 or bfloat16; null if nothing decays.</param>
/// <param name="QueryScale">The length of queries.</param>
/// <param name="MaxStrength">The maximum strength, 1 or 2.</param>
/// <param name="Epsilon">What is added to the squares of lengths.</param>
sealed record ProjectedDelta(Tensor? Bias, Tensor? A, double QueryScale, double MaxStrength, double Epsilon)
{
    /// <summary>Gets the number of rates of a head: its strength and, with decays, its time step.</summary>
    public int Parts => A is null ? 1 : 2;
}
