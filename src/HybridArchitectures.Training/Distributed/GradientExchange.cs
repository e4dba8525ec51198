using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>Sums the gradients of a step over the ranks, after the backward pass.</summary>
sealed class GradientExchange(
    RankGroup ranks, HybridLanguageModel model, IReadOnlyList<ModelParameter> parameters, IReadOnlyList<Shard> shards)
{
    bool[]? present;

    /// <summary>Copies the parameters and buffers of rank 0 to the other ranks.</summary>
    public void CopyModel()
    {
        if (ranks.IsAlone) return;
        using var scope = NewDisposeScope();
        foreach (var (_, value) in model.State)
        {
            bool isWhole = value.is_contiguous();
            var copy = isWhole ? value.detach() : value.detach().contiguous();
            ranks.Collectives.Broadcast(copy);
            using var noGrad = no_grad();
            if (!isWhole) value.copy_(copy);
        }
        WeightWrites.Add();
    }

    /// <summary>Sums the gradients, the loss and the weight of the targets over the ranks.</summary>
    /// <param name="loss">The sum of the losses of the rows of this rank, divided by <paramref name="expected"/>.</param>
    /// <param name="counted">The weight of the targets of this rank.</param>
    /// <param name="expected">The number by which losses and gradients are divided.</param>
    /// <param name="isExact">Whether the weights of all ranks are known to have the sum <paramref name="expected"/>.</param>
    /// <returns>The loss of all rows, divided by the weight of all targets, like the gradients: a float32 scalar.</returns>
    public Tensor Sum(Tensor loss, double counted, double expected, bool isExact)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var gradients = Gradients();
        var sums = stack([loss.to(ScalarType.Float64), tensor(counted, ScalarType.Float64, loss.device)]);
        ranks.Collectives.Group(() =>
        {
            if (ranks.IsSharded) ReduceToOwners();
            else ranks.Collectives.AllReduce(gradients);
            ranks.Collectives.AllReduce(sums);
        });
        var total = sums[0];
        if (!isExact)
        {
            var scale = sums[1].reciprocal().mul(Scalars.From(expected));
            total = total.mul(scale);
            var factor = scale.to(gradients[0].dtype);
            foreach (var gradient in gradients) gradient.mul_(factor);
        }
        return total.to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    void ReduceToOwners()
    {
        foreach (var shard in shards)
            if (shard.Parameter.Value.grad is { } gradient) ranks.Collectives.Reduce(shard.PartOf(gradient), shard.Owner);
    }

    // a parameter that has a gradient on any rank gets one on all
    List<Tensor> Gradients()
    {
        present ??= FindPresent();
        var gradients = new List<Tensor>(parameters.Count);
        for (int i = 0; i < parameters.Count; i++)
        {
            var parameter = parameters[i];
            if (parameter.Value.grad is { } gradient)
            {
                if (!present[i])
                    throw new NotSupportedException($"parameter '{parameter.Name}' has a gradient now, but had none in the first step; expected the "
                        + "same parameters in every step on several ranks.");
                if (!gradient.is_contiguous()) parameter.Value.grad = gradient = gradient.contiguous();
                gradients.Add(gradient);
            }
            else if (present[i])
            {
                var zero = zeros_like(parameter.Value);
                parameter.Value.grad = zero;
                gradients.Add(zero);
            }
        }
        return gradients;
    }

    bool[] FindPresent()
    {
        var found = tensor(parameters.Select(parameter => parameter.Value.grad is null ? 0L : 1L).ToArray());
        ranks.Collectives.AllReduce(found, ReduceOperation.Max);
        return [.. TensorMemory.ToArray<long>(found).Select(value => value != 0)];
    }

    /// <summary>Sums the loads of experts, from which their selection biases follow.</summary>
    public void SumLoads()
    {
        if (ranks.IsAlone) return;
        using var scope = NewDisposeScope();
        ranks.Collectives.AllReduce(
            [.. model.AllModules().OfType<MixtureOfExperts>().Select(module => module.get_buffer("load")).OfType<Tensor>()]);
    }
}
