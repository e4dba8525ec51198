using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>Contains the visits of tokens to experts in the order of experts.</summary>
/// <param name="Rows">The order, which is that of positions within an expert.</param>
/// <param name="Ends">Where the visits of each expert end, (experts) int32.</param>
/// <param name="Loads">The number of visits of each expert, (experts) int32.</param>
sealed record ExpertVisits(ExpertRows Rows, Tensor Ends, Tensor Loads)
{
    /// <summary>Sorts visits. Nothing waits for the device.</summary>
    /// <param name="chosen">The experts of each token, (tokens, choices) int64, at least 0 and below the number of experts.</param>
    /// <param name="experts">The number of experts.</param>
    public static ExpertVisits Sort(Tensor chosen, long experts)
    {
        using var noGrad = no_grad();
        long visits = chosen.NumberOfElements, choices = chosen.size(1);
        if (ExpertOrderCuda.Serves(chosen, experts))
        {
            var sorted = ExpertOrderCuda.Sort(chosen, experts);
            return new(new(sorted.Order, sorted.Inverse, sorted.Source, choices), sorted.Ends, sorted.Loads);
        }
        using var scope = NewDisposeScope();
        var flat = chosen.flatten();
        // keys are unique, so no stable sort is needed
        var order = flat.mul(Scalars.From(visits)).add(Indices.Range(0, visits, chosen.device), Scalars.One).argsort();
        var source = order.div(Scalars.From(choices), RoundingMode.floor).to(ScalarType.Int64);
        var loads = zeros([experts], ScalarType.Int64, chosen.device).scatter_add_(0, flat, ones_like(flat));
        return new(new(order.MoveToOuterDisposeScope(), order.argsort().MoveToOuterDisposeScope(), source.MoveToOuterDisposeScope(), choices),
            loads.cumsum(0).to(ScalarType.Int32).MoveToOuterDisposeScope(), loads.to(ScalarType.Int32).MoveToOuterDisposeScope());
    }
}
