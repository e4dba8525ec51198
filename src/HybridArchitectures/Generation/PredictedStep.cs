using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>
/// Drafts one more token per row with a head of multi-token prediction, from its last result, as a captured graph after the first ones.
/// </summary>
sealed class PredictedStep : IDisposable
{
    // memory is reserved in steps of this number of tokens, because the graph is captured again when it moves
    const int RoomStep = 1024;

    readonly HybridLanguageModel model;
    readonly PredictionHead head;
    readonly HybridCache cache;
    readonly Func<Tensor, Tensor> rules;
    readonly Tensor last, best;
    readonly StepGraph graph;
    readonly GraphWeights weights;

    /// <summary>Creates a step.</summary>
    /// <param name="model">The model, on a GPU.</param>
    /// <param name="head">The head.</param>
    /// <param name="cache">The cache of the head. The caller disposes it.</param>
    /// <param name="rules">Rules out tokens, without numbers from the host: scores (rows, vocabulary size).</param>
    public PredictedStep(HybridLanguageModel model, PredictionHead head, HybridCache cache, Func<Tensor, Tensor> rules)
    {
        (this.model, this.head, this.cache, this.rules) = (model, head, cache, rules);
        using var scope = NewDisposeScope();
        last = zeros([cache.Batch, 1, model.Design.Width], model.ComputeType, model.Device).DetachFromDisposeScope();
        best = zeros([cache.Batch], ScalarType.Int64, model.Device).DetachFromDisposeScope();
        weights = new GraphWeights(model, head);
        graph = new StepGraph(cache, Step);
    }

    /// <summary>Returns whether steps of a head can be captured.</summary>
    public static bool MayCapture(HybridLanguageModel model, PredictionHead head, HybridCache cache) =>
        StepGraph.Refusal(model, cache.Batch) is null && model.AttachedAdapters is null && head.Stack.Observer is null
        && cache.States.Any(state => state is { Tensors.Count: > 0 })
        && StepGraph.RefusalOfModules(head, cache.Batch, model.ComputeType) is null;

    /// <summary>Gets whether the graph reads the weights of the model and of the head as they are.</summary>
    public bool IsCurrent => head.Stack.Observer is null && weights.IsCurrent();

    /// <summary>Reserves memory for the steps after the present tokens.</summary>
    public void Reserve(int tokens) => cache.Reserve((cache.Lengths.Max() + tokens + RoomStep - 1) / RoomStep * RoomStep);

    /// <summary>Sets the result of the head from which the next step continues, and the draft that it led to.</summary>
    /// <param name="result">The result, (rows, 1, width).</param>
    /// <param name="draft">The draft of each row, (rows) int64.</param>
    public void Begin(Tensor result, Tensor draft)
    {
        last.copy_(result);
        best.copy_(draft);
    }

    /// <summary>Returns the next draft of each row, (rows) int64. The next call overwrites it.</summary>
    public Tensor Next()
    {
        graph.Step();
        return best;
    }

    // the captured work: nothing here may depend on numbers from the host
    void Step()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var context = new SequenceContext(cache: cache);
        var result = head.Forward(model, last, best.unsqueeze(1), context);
        last.copy_(result);
        best.copy_(rules(model.Logits(result.squeeze(1))).argmax(1));
        weights.Remember();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        graph.Dispose();
        last.Dispose();
        best.Dispose();
    }
}
