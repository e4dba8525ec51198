using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Verification;

/// <summary>Records the output of each layer of a model. Rows are returned with their tokens first and padding last.</summary>
sealed class LayerProbe : IDisposable
{
    readonly HybridLanguageModel model;
    readonly Action<int, Tensor>? observer;
    readonly bool wasTraining, withInput;
    readonly List<Tensor> seen = [];

    public LayerProbe(HybridLanguageModel model, bool withInput = false)
    {
        this.withInput = withInput;
        this.model = model;
        observer = model.Stack.Observer;
        model.Stack.Observer = See;
        wasTraining = model.training;
        if (wasTraining) model.eval();
    }

    /// <summary>Gets the layer that is being computed, counted from 0. If a pass failed, this is the layer that failed.</summary>
    public int Current { get; private set; }

    /// <summary>
    /// Runs one pass. Returns the output of each block and of the final norm, shape (batch, length, width), in the current dispose scope. On request,
    /// the input of the first block comes first.
    /// </summary>
    public IReadOnlyList<Tensor> Run(Tensor ids, SequenceContext? context = null)
    {
        Current = 0;
        using var own = context is null ? new SequenceContext() : null;
        using var noGrad = no_grad();
        try
        {
            using (model.Hidden(ids, context ?? own!)) return [.. seen.Select(output => output.alias())];
        }
        finally
        {
            foreach (var output in seen) output.Dispose();
            seen.Clear();
        }
    }

    void See(int layer, Tensor output)
    {
        Current = layer + 1;
        if (layer >= 0 || withInput)
            seen.Add(output.detach().to(output.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32, copy: true)
            .DetachFromDisposeScope());
        observer?.Invoke(layer, output);
    }

    /// <summary>Restores the model.</summary>
    public void Dispose()
    {
        model.Stack.Observer = observer;
        if (wasTraining) model.train();
    }
}
