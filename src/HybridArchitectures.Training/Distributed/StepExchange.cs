using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Exchanges parameters and gradients of a step between the ranks. The trainer calls <see cref="BeginPass"/> and <see cref="EndPass"/> around every
/// pass, and then <see cref="Sum"/>. Between them, the stack calls the hooks of its blocks.
/// </summary>
abstract class StepExchange(RankGroup ranks, HybridLanguageModel model) : BlockHooks
{
    // the start of the names of the parameters of the blocks
    const string BlockPrefix = "stack.blocks.";

    /// <summary>Returns the exchange of a strategy.</summary>
    public static StepExchange Create(RankGroup ranks, HybridLanguageModel model, IReadOnlyList<ModelParameter> parameters,
        ShardedParameters? sharded, IReadOnlyList<Shard> shards) =>
        sharded is not null ? sharded : new GradientExchange(ranks, model, parameters, shards);

    protected RankGroup Ranks => ranks;

    /// <summary>Gets whether every rank must take part in every pass, also one for which it has no rows.</summary>
    public virtual bool PassesTogether => false;

    /// <summary>Prepares a forward pass, with a backward pass if gradients are recorded.</summary>
    /// <param name="isLast">Whether it is the last pass of the step on this rank.</param>
    public abstract void BeginPass(bool isLast);

    /// <summary>Ends a pass.</summary>
    public abstract void EndPass();

    /// <summary>Takes part in a pass for which this rank has no rows.</summary>
    /// <param name="hasBackward">Whether the other ranks make a backward pass.</param>
    /// <param name="isLast">Whether it is the last pass of the step.</param>
    public virtual void IdlePass(bool hasBackward, bool isLast) { }

    /// <summary>Ends passes without gradients.</summary>
    public virtual void EndEvaluation() { }

    /// <summary>Completes the sums of the gradients of a step, without the sums of the loss.</summary>
    protected abstract void CompleteGradients();

    /// <summary>Returns the gradients that this rank has after <see cref="CompleteGradients"/>.</summary>
    protected abstract IEnumerable<Tensor> OwnGradients();

    /// <summary>Deletes gradients that the optimizer does not know.</summary>
    public abstract void DropGradients();

    /// <summary>Copies the parameters and buffers of rank 0 to the other ranks.</summary>
    public static void CopyModel(RankGroup ranks, HybridLanguageModel model)
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
        CompleteGradients();
        var sums = stack([loss.to(ScalarType.Float64), tensor(counted, ScalarType.Float64, loss.device)]);
        ranks.Collectives.AllReduce(sums);
        var total = sums[0];
        if (!isExact)
        {
            var scale = sums[1].reciprocal().mul(Scalars.From(expected));
            total = total.mul(scale);
            foreach (var gradient in OwnGradients()) gradient.mul_(scale.to(gradient.dtype));
        }
        return total.to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    /// <summary>Returns whether each parameter has a gradient on any rank.</summary>
    protected bool[] OnAnyRank(IEnumerable<bool> onThisRank)
    {
        using var scope = NewDisposeScope();
        var found = tensor(onThisRank.Select(has => has ? 1L : 0L).ToArray());
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

    /// <summary>Returns the number of the block to which a parameter belongs; -1 for those outside of blocks.</summary>
    public static int BlockOf(ModelParameter parameter)
    {
        if (!parameter.Name.StartsWith(BlockPrefix, StringComparison.Ordinal)) return -1;
        string rest = parameter.Name[BlockPrefix.Length..];
        return int.Parse(rest[..rest.IndexOf('.', StringComparison.Ordinal)], System.Globalization.CultureInfo.InvariantCulture);
    }
}
