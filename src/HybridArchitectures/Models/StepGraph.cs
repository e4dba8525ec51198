using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>
/// Runs the decoding steps of one cache as a CUDA graph. The first step runs directly, the second is captured, and later ones are launched. If memory
/// that a graph uses is replaced, for example when the cache grows, the next two steps do this again.
/// </summary>
/// <param name="cache">The cache, all of whose rows take part.</param>
/// <param name="step">A step: one pass over the same number of tokens of every row, with all its work on the device.</param>
/// <param name="tokens">The number of tokens of every row. The default is 1.</param>
sealed class StepGraph(HybridCache cache, Action step, int tokens = 1) : IDisposable
{
    readonly List<nint> addresses = [];
    CudaGraph? graph;
    int epoch;
    long writes;
    bool isReady;

    /// <summary>Gets the number of kernels, copies and fills of a captured step; 0 before the capture.</summary>
    public long Nodes => graph?.Nodes ?? 0;

    /// <summary>Gets the number of captures.</summary>
    public int Captures { get; private set; }

    /// <summary>Gets whether the last step was launched as a graph.</summary>
    public bool IsCaptured => graph is not null;

    /// <summary>Returns why steps of a model over one token of each row cannot be captured, or null if they can.</summary>
    public static string? Refusal(HybridLanguageModel model, long rows)
    {
        if (model.Design.Blocks.All(block => block.Mixer is null && block.FeedForward.CountState(model.Design.Width) == 0))
            return "no block has a state";
        if (model.Device.type != TorchSharp.DeviceType.CUDA) return $"the model is on {model.Device}";
        if (model.ComputeType == ScalarType.Float64) return "the model computes in float64";
        if (model.Stack.Observer is not null) return "an observer looks at the stack";
        return RefusalOfModules(model, rows, model.ComputeType) ?? CudaGraphPool.Refusal();
    }

    /// <summary>
    /// Returns why a module of a model or of a head cannot be part of a captured pass over a number of tokens, of all rows together, or null.
    /// </summary>
    public static string? RefusalOfModules(HybridModule root, long tokens, ScalarType compute)
    {
        foreach (var module in root.AllModules())
        {
            if (module is Mixer mixer && Refusal(mixer) is { } reason) return reason;
            if (module is FeedForward feedForward && feedForward.ReadsHostSizes(tokens, compute))
                return $"{module.GetType().Name} reads the sizes of its groups of {tokens} tokens on the host";
        }
        return null;
    }

    /// <summary>Returns why steps of a mixer cannot be captured, or null if they can.</summary>
    internal static string? Refusal(Mixer mixer)
    {
        var type = mixer.GetType();
        return type.Assembly != typeof(StepGraph).Assembly ? $"{type.Name} is a custom mixer"
            : mixer.ReadsHostLengths ? $"{type.Name} reads lengths from the host" : null;
    }

    /// <summary>Runs one step.</summary>
    public void Step()
    {
        cache.Reserve(cache.Lengths.Max() + tokens);
        if (graph is not null && IsCurrent())
        {
            cache.Upload();
            graph.Launch();
            cache.CountStep(tokens);
            return;
        }
        if (graph is not null || (isReady && !IsCurrent()))
        {
            graph?.Dispose();
            (graph, isReady) = (null, false);
        }
        var pool = CudaGraphPool.For(Index());
        if (!isReady)
        {
            isReady = pool.Run(step);
            Remember();
            return;
        }
        cache.Upload();
        graph = pool.Capture(step);
        Captures++;
        Remember();
        graph.Launch();
    }

    int Index() => cache.States.OfType<MixerState>().SelectMany(state => state.Tensors).First().device_index;

    bool IsCurrent()
    {
        if (epoch != cache.Epoch || writes != WeightWrites.Count) return false;
        int at = 0;
        foreach (var state in cache.States)
            foreach (var tensor in state?.Tensors ?? [])
                if (at >= addresses.Count || addresses[at++] != TensorMemory.Pointer(tensor)) return false;
        return true;
    }

    void Remember()
    {
        addresses.Clear();
        foreach (var state in cache.States)
            foreach (var tensor in state?.Tensors ?? []) addresses.Add(TensorMemory.Pointer(tensor));
        (epoch, writes) = (cache.Epoch, WeightWrites.Count);
    }

    public void Dispose() => graph?.Dispose();
}
