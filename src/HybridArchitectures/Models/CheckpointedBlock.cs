using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>
/// A block as one node of the graph, which keeps the block's input and computes the block again for its gradients.
/// Parameters get theirs in the inner backward pass; they stand among the node's inputs so that it is recorded also where the block's input needs no gradient.
/// </summary>
static class CheckpointedBlock
{
    /// <summary>For tests: called in the backward pass when a block has been computed again.</summary>
    [ThreadStatic] internal static Action? Recomputed;

    public static Tensor Forward(Block block, Tensor x, SequenceContext context)
    {
        if (block.Mixer is null && block.FeedForward is null) return x;
        var layout = context.Layout;
        int earlier = context.LossCount;
        double?[] rates = [];
        var random = Array.Empty<byte>();
        var embedded = block.ReadsEmbedding ? context.Embedded : null;
        Tensor?[] inputs = [x, embedded, .. block.AllParameters().Select(item => item.Value)];
        int count = inputs.Length;
        var outputs = Autograd.Apply(inputs, recorded =>
        {
            if (recorded.NeedsGradient)
            {
                recorded.Save([x, embedded, .. layout?.Tensors ?? []]);
                random = RandomState();
            }
            (var first, rates) = Compute(block, x, context, earlier);
            return Array.ConvertAll(first, output => output.detach());
        }, given =>
        {
            using var again = SequenceContext.ForRecomputation(layout?.Over([.. given.Saved.Skip(2)]));
            var input = given.Saved[0]!.detach().requires_grad_(given.Needs(0));
            again.Embedded = given.Saved[1]?.detach().requires_grad_(given.Needs(1));
            again.Begin(input.size(0), input.size(1), input.device);
            var now = RandomState();
            Tensor[] results;
            SetRandomState(random);
            try
            {
                (results, _) = Compute(block, input, again, 0);
            }
            finally
            {
                SetRandomState(now);
            }
            Recomputed?.Invoke();
            var wanted = results.Index().Where(item => given.Gradients[item.Index] is not null && item.Item.requires_grad).ToArray();
            if (wanted.Length > 0) Autograd.Backward([.. wanted.Select(item => item.Item)], [.. wanted.Select(item => given.Gradients[item.Index]!)]);
            var gradients = new Tensor?[count];
            gradients[0] = input.grad;
            gradients[1] = again.Embedded?.grad;
            return gradients;
        });
        foreach (var (loss, rate) in outputs[1..].Zip(rates))
        {
            if (rate is { } shared) context.AddBalance(loss, shared);
            else context.AddLoss(loss);
        }
        return outputs[0];
    }

    /// <summary>The block's output and the losses it adds, recorded both times, so that both times the same code runs.</summary>
    static (Tensor[] Results, double?[] BalanceRates) Compute(Block block, Tensor x, SequenceContext context, int earlier)
    {
        using var on = enable_grad();
        var output = block.Forward(x, context, null);
        var losses = context.TakeLosses(earlier);
        return ([output, .. losses.Select(loss => loss.Value)], [.. losses.Select(loss => loss.BalanceRate)]);
    }

    static byte[] RandomState()
    {
        using var state = get_rng_state();
        return TensorMemory.Span<byte>(state).ToArray();
    }

    static void SetRandomState(byte[] state)
    {
        using var values = tensor(state);
        set_rng_state(values);
    }
}
