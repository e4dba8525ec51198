using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Computes the output of a low-rank adapter (arXiv 2106.09685) of a projection: up(down(x)). The up matrix is initially 0, so that the adapter adds
/// nothing at first.
/// </summary>
public sealed class LowRankAdapter : HybridModule
{
    readonly Linear down, up;

    /// <summary>Creates an adapter of a projection from <paramref name="inputs"/> to <paramref name="outputs"/> channels.</summary>
    /// <param name="factory">Creates the weights.</param>
    /// <param name="outputs">The number of output channels, at least 1.</param>
    /// <param name="inputs">The number of input channels, at least 1.</param>
    /// <param name="rank">The rank, 1 to 1,048,576.</param>
    public LowRankAdapter(ModuleFactory factory, long outputs, long inputs, int rank) : base(nameof(LowRankAdapter))
    {
        ArgumentNullException.ThrowIfNull(factory);
        Require.AtLeast(outputs, 1, nameof(outputs));
        Require.AtLeast(inputs, 1, nameof(inputs));
        Require.Size(rank);
        down = Add("down", new Linear(factory.Projection(rank, inputs)));
        up = Add("up", new Linear(factory.Bias(outputs, rank)));
    }

    /// <summary>Computes (..., outputs) from (..., inputs).</summary>
    public Tensor Forward(Tensor x) => up.Forward(down.Forward(x));
}
