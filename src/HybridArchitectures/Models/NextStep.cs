using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>
/// Computes the logits of one token per row of a cache as a CUDA graph, for loops over <see cref="LanguageModel.NextLogits"/>. The cache owns it.
/// </summary>
sealed class NextStep : IDisposable
{
    // a graph pays from this number of steps on
    const int Threshold = 8;

    readonly HybridLanguageModel model;
    readonly Tensor ids, logits;
    readonly StepGraph graph;
    readonly GraphWeights weights;

    NextStep(HybridLanguageModel model, HybridCache cache)
    {
        this.model = model;
        using var scope = NewDisposeScope();
        ids = zeros([cache.Batch, 1], ScalarType.Int64, model.Device).DetachFromDisposeScope();
        logits = zeros([cache.Batch, model.VocabularySize], ScalarType.Float32, model.Device).DetachFromDisposeScope();
        weights = new GraphWeights(model);
        graph = new StepGraph(cache, () => Step(cache));
    }

    /// <summary>Returns what computes the pass as a graph; null if the pass is of another kind, or a graph does not pay yet.</summary>
    public static NextStep? For(HybridLanguageModel model, Tensor ids, SequenceContext? context)
    {
        if (context is not { Cache: { StepsOnDevice: true, CudaGraphs: true } cache, Layout: null, KeepsRouting: false, IsStepwise: false,
            Probe: null }) return null;
        if (CudaDevice.Overlaps || model.training || model.AttachedAdapters is not null || model.Stack.Observer is not null) return null;
        if (ids.dim() != 2 || ids.size(1) != 1 || ids.size(0) != cache.Batch || ids.dtype != ScalarType.Int64) return null;
        if (ids.device_type != TorchSharp.DeviceType.CUDA || ++cache.SingleSteps < Threshold || cache.Lengths.Min() == 0) return null;
        if (cache.NextStep is NextStep known && ReferenceEquals(known.model, model))
        {
            if (known.weights.IsCurrent()) return known;
            known.Dispose();
            cache.NextStep = null;
        }
        if (cache.NextStep is not null || cache.RefusesGraphs) return null;
        if (StepGraph.Refusal(model, cache.Batch) is { } reason)
        {
            KernelEvents.Log.EagerSteps(reason);
            cache.RefusesGraphs = true;
            return null;
        }
        var step = new NextStep(model, cache);
        cache.NextStep = step;
        return step;
    }

    /// <summary>Computes the logits (rows, vocabulary size) of ids (rows, 1), in the current dispose scope.</summary>
    public Tensor Run(Tensor tokens, SequenceContext context)
    {
        context.BeginElsewhere(ids.size(0), ids.device);
        ids.copy_(tokens);
        graph.Step();
        return logits.clone();
    }

    void Step(HybridCache cache)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var context = new SequenceContext(cache: cache);
        logits.copy_(model.NextLogitsDirectly(ids, context));
        weights.Remember();
    }

    public void Dispose()
    {
        graph.Dispose();
        ids.Dispose();
        logits.Dispose();
    }
}
