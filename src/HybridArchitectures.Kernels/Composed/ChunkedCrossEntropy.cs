using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Composed;

/// <summary>
/// Computes linear cross entropy over chunks of tokens: the logits hidden weight^T of a chunk, their gradient in place, and its products with weight
/// and hidden. These are three matrix products, the same number as with all logits in memory.
/// </summary>
static class ChunkedCrossEntropy
{
    // the number of float32 logits in memory. A chunk of fewer than 64 tokens would read the weight more often than it computes with it; a GPU needs
    // larger chunks to be busy.
    const long LogitsInMainMemory = 1 << 20, LogitsOnDevice = 64 << 20, MinTokens = 64;

    /// <summary>Returns the loss and the needed gradients of hidden, weight and bias for an incoming gradient of 1.</summary>
    public static (Tensor Loss, Tensor?[] Gradients) Run(CrossEntropyInputs inputs, bool[] needs)
    {
        var (hidden, weight, bias, targets, tokenWeights, options) = inputs;
        long tokens = inputs.Tokens;
        var wide = Precision.Wide(hidden);
        var (head, shift) = (weight.to(hidden.dtype), bias?.to(hidden.dtype));
        var kept = targets.ne(Scalars.From(options.IgnoreIndex));
        var shares = tokenWeights?.to(wide).masked_fill(kept.logical_not(), Scalars.Zero);
        var counted = (shares is null ? kept.sum().clamp_min(Scalars.One) : WithoutZero(shares.sum())).to(wide);
        var losses = empty([tokens], wide, hidden.device);
        var dHidden = needs[0] ? empty([tokens, hidden.size(1)], hidden.dtype, hidden.device) : null;
        var dWeight = needs[1] ? zeros([weight.size(0), weight.size(1)], wide, hidden.device) : null;
        var dBias = needs[2] ? zeros([weight.size(0)], wide, hidden.device) : null;
        bool differentiates = needs[0] || needs[1] || needs[2];
        foreach (var (start, count) in Chunks(tokens, weight.size(0), hidden.device_type))
        {
            using var scope = NewDisposeScope();
            var part = hidden.narrow(0, start, count);
            var logits = Precision.Widen(nn.functional.linear(part, head, shift));              // (chunk, V), modified in place from here on
            var (target, loss) = (targets.narrow(0, start, count), losses.narrow(0, start, count));
            var (slope, rest) = Cap(logits, options, differentiates);
            if (rest.Backend == KernelBackend.Cpu)
                CrossEntropyKernel.Run(logits, target, loss, rest, differentiates ? 1 / counted.item<float>() : null);
            else Rowwise(logits, target, kept.narrow(0, start, count), loss, rest, differentiates ? counted : null);
            if (shares?.narrow(0, start, count) is { } share)
            {
                loss.mul_(share);
                if (differentiates) logits.mul_(share.unsqueeze(-1));
            }
            if (!differentiates) continue;
            if (slope is not null) logits.mul_(slope);
            dBias?.add_(logits.sum(dim: 0), Scalars.One);
            if (dHidden is null && dWeight is null) continue;
            var dLogits = logits.to(hidden.dtype);
            if (dHidden is not null) TorchOperator.Call("aten::mm", "out", dLogits, head, dHidden.narrow(0, start, count));
            if (dWeight is not null) AddProduct(dWeight, dLogits, part);
        }
        return (losses.sum() / counted, [dHidden, dWeight?.to(weight.dtype), dBias?.to(bias!.dtype)]);
    }

    /// <summary>
    /// Bounds logits in place, after scaling them, if the options have a bound. Returns the derivative, if it is needed, and the options for what
    /// remains to be done: without the scale if it was applied.
    /// </summary>
    public static (Tensor? Slope, CrossEntropyOptions Remaining) Cap(Tensor logits, CrossEntropyOptions options, bool differentiates)
    {
        if (options.LogitCap is not { } cap) return (null, options);
        logits.mul_(Scalars.From(options.LogitScale / cap)).tanh_();
        var slope = differentiates ? ones_like(logits).sub_(logits * logits).mul_(Scalars.From(options.LogitScale)) : null;
        logits.mul_(Scalars.From(cap));
        return (slope, options with { LogitScale = 1 });
    }

    /// <summary>Adds the product of the gradient of logits, transposed, and their inputs to the gradient of the weight.</summary>
    public static void AddProduct(Tensor dWeight, Tensor dLogits, Tensor hidden)
    {
        if (hidden.dtype == dWeight.dtype) dWeight.addmm_(dLogits.t(), hidden, 1, 1);
        else dWeight.add_(dLogits.t().mm(hidden), Scalars.One);
    }

    /// <summary>Returns the sum of weights, or 1 for 0, so that the loss without any weight is 0 and not 0 / 0.</summary>
    public static Tensor WithoutZero(Tensor sum) => sum.masked_fill(sum.eq(Scalars.Zero), Scalars.One);

    public static Tensor TokenLosses(CrossEntropyInputs inputs)
    {
        var (hidden, weight, bias, targets, _, options) = inputs;
        var (head, shift) = (weight.to(hidden.dtype), bias?.to(hidden.dtype));
        var losses = empty([hidden.size(0)], Precision.Wide(hidden), hidden.device);
        foreach (var (start, count) in Chunks(hidden.size(0), weight.size(0), hidden.device_type))
        {
            using var scope = NewDisposeScope();
            var logits = Precision.Widen(nn.functional.linear(hidden.narrow(0, start, count), head, shift));
            var (target, loss) = (targets.narrow(0, start, count), losses.narrow(0, start, count));
            var (_, rest) = Cap(logits, options, differentiates: false);
            if (rest.Backend == KernelBackend.Cpu) CrossEntropyKernel.Run(logits, target, loss, rest, null);
            else Rowwise(logits, target, target.ne(Scalars.From(rest.IgnoreIndex)), loss, rest, null);
        }
        return losses;
    }

    // computes the losses of each row and, if `counted` is set, replaces the logits by the gradient of the mean loss with respect to them
    static void Rowwise(Tensor logits, Tensor targets, Tensor kept, Tensor losses, CrossEntropyOptions options, Tensor? counted)
    {
        var ignored = kept.logical_not();
        var target = targets.masked_fill(ignored, Scalars.Zero).unsqueeze(-1);
        logits.mul_(Scalars.From(options.LogitScale));
        var normalizer = logits.logsumexp(-1, true);                                            // (chunk, 1)
        var loss = normalizer - logits.gather(-1, target) * Scalars.From(1 - options.LabelSmoothing);
        if (options.LabelSmoothing > 0) loss -= logits.mean([-1], true) * Scalars.From(options.LabelSmoothing);
        if (options.ZLoss > 0) loss = loss.add(normalizer * normalizer, Scalars.From(options.ZLoss));
        losses.copy_(loss.squeeze(-1).masked_fill(ignored, Scalars.Zero));
        if (counted is null) return;
        logits.sub_(normalizer).exp_();
        if (options.ZLoss > 0) logits.mul_(ones_like(normalizer).add(normalizer, Scalars.From(2 * options.ZLoss)));
        if (options.LabelSmoothing > 0) logits.sub_(Scalars.From(options.LabelSmoothing / logits.size(1)));
        logits.scatter_add_(-1, target, full_like(normalizer, Scalars.From(options.LabelSmoothing - 1)));
        logits.mul_(Scalars.From(options.LogitScale) / counted).masked_fill_(ignored.unsqueeze(-1), Scalars.Zero);
    }

    /// <summary>Divides tokens into chunks whose logits fit the memory that one chunk may use.</summary>
    public static IEnumerable<(long Start, long Count)> Chunks(long tokens, long vocabulary, DeviceType device)
    {
        long size = Math.Max(MinTokens, (device == DeviceType.CPU ? LogitsInMainMemory : LogitsOnDevice) / vocabulary);
        for (long start = 0; start < tokens; start += size) yield return (start, Math.Min(size, tokens - start));
    }
}
