using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>Records a block as one node of the graph that saves only the input of the block and computes the block again for its gradients.</summary>
static class CheckpointedBlock
{
    /// <summary>
    /// Computes a block. <paramref name="recomputed"/>, if any, is called in the backward pass after the block has been computed again.
    /// </summary>
    public static Tensor Forward(Block block, Tensor x, SequenceContext context, Action? recomputed)
    {
        if (block.Mixer is null && block.FeedForward is null) return x;
        var layout = context.Layout;
        var embedded = block.ReadsEmbedding ? context.Embedded : null;
        var values = block.ReadsFirstValues ? context.FirstValues : null;
        int earlier = context.LossCount;
        double?[] rates = [];       // of losses that several layers share
        var random = Array.Empty<byte>();
        var dropouts = block.Dropouts.ToArray();
        long[] draws = [];
        var parameters = block.UsedParameters.ToArray();
        var outputs = Autograd.Apply([x, embedded, values, .. parameters], recorded =>
        {
            if (recorded.NeedsGradient)
            {
                recorded.Save([x, embedded, values, .. layout?.Tensors ?? []]);
                random = TorchRandom.ReadBytes();
                draws = Array.ConvertAll(dropouts, dropout => dropout.Draws);
            }
            (var results, rates) = Compute(block, x, context, earlier);
            return Array.ConvertAll(results, result => result.detach());
        }, given =>
        {
            using var again = SequenceContext.ForRecomputation(layout?.Over([.. given.Saved.Skip(3)]));
            Tensor? Leaf(int index) => given.Saved[index]?.detach().requires_grad_(given.Needs(index));
            var (input, read, first) = (Leaf(0)!, Leaf(1), Leaf(2));
            again.Begin(input.size(0), input.size(1), input.device);
            again.Embedded = read;
            if (first is not null) HandOn(again, first);
            var results = LoraDropout.Repeat(dropouts, draws, () => ComputeAgain(block, input, again, random));
            recomputed?.Invoke();
            return [.. Gradients(results, given.Gradients, [input, read, first, .. parameters])];
        });
        if (block.HandsOnValues) context.HandOnValues(outputs[1]);
        AddLosses(context, outputs[(block.HandsOnValues ? 2 : 1)..], rates);
        return outputs[0];
    }

    static void HandOn(SequenceContext context, Tensor values)
    {
        using var on = enable_grad();
        context.HandOnValues(values);
    }

    static void AddLosses(SequenceContext context, Tensor[] losses, double?[] rates)
    {
        foreach (var (loss, rate) in losses.Zip(rates))
        {
            if (rate is { } common) context.AddBalance(loss, common);
            else context.AddLoss(loss);
        }
    }

    /// <summary>
    /// Returns the output of the block, the values that it hands to later blocks, and the losses that it adds. Both computations record a graph, so
    /// that both run the same code.
    /// </summary>
    static (Tensor[] Results, double?[] BalanceRates) Compute(Block block, Tensor x, SequenceContext context, int earlier)
    {
        using var on = enable_grad();
        // the forward pass would save them in vain, and the backward pass computes them after the memory of the feed-forward is free
        using var options = OperatorOptions.Use(OperatorOptions.Current with { SaveChunkStates = false });
        var output = block.Forward(x, context, null);
        var losses = context.TakeLosses(earlier);
        Tensor[] handed = block.HandsOnValues ? [context.TakeFirstValues()] : [];
        return ([output, .. handed, .. losses.Select(loss => loss.Value)], [.. losses.Select(loss => loss.BalanceRate)]);
    }

    static Tensor[] ComputeAgain(Block block, Tensor x, SequenceContext context, byte[] random)
    {
        var now = TorchRandom.ReadBytes();
        TorchRandom.Write(random);
        try
        {
            return Compute(block, x, context, 0).Results;
        }
        finally
        {
            TorchRandom.Write(now);
        }
    }

    /// <summary>
    /// Computes the gradients of the pass of this block only. The accumulated gradients of parameters are set aside: the outer pass adds them, in the
    /// same order as without checkpointing.
    /// </summary>
    static Tensor?[] Gradients(Tensor[] outputs, IReadOnlyList<Tensor?> incoming, Tensor?[] leaves)
    {
        var wanted = outputs.Index().Where(item => incoming[item.Index] is not null && item.Item.requires_grad).ToArray();
        if (wanted.Length == 0) return new Tensor?[leaves.Length];
        var gathered = Array.ConvertAll(leaves, leaf => leaf is Parameter ? leaf.grad : null);
        Replace(leaves, new Tensor?[leaves.Length]);
        try
        {
            Autograd.Backward([.. wanted.Select(item => item.Item)], [.. wanted.Select(item => incoming[item.Index]!)]);
            return Array.ConvertAll(leaves, leaf => leaf?.grad);
        }
        finally
        {
            Replace(leaves, gathered);
        }
    }

    static void Replace(Tensor?[] leaves, Tensor?[] gradients)
    {
        for (int i = 0; i < leaves.Length; i++)
            if (leaves[i] is Parameter parameter) parameter.grad = gradients[i];
    }
}
