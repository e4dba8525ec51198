using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Offers to compute a tensor again in the backward pass, so that operators do not save it.
/// <para>
/// 1. The offer is open from its creation until it is disposed, for operators that run on the same thread.
/// 2. An operator that saves the tensor or a view of it by name (<see cref="NamedGradient{TSaved}"/>) saves the inputs of the computation instead,
/// which are saved for the gradient of that computation anyway.
/// 3. In its backward pass, the operator computes the tensor again, once for all of its views. It exists only during that pass.
/// </para>
/// A tensor that was changed in place after the offer is saved as usual. A disposed tensor ends its offer: other tensors may use its memory.
/// </summary>
sealed class Recomputation : IDisposable
{
    [ThreadStatic] static Recomputation? innermost;

    readonly Recomputation? outer = innermost;
    readonly Tensor tensor;
    readonly nint memory;
    readonly long version;

    Recomputation(Tensor tensor, SavedComputation computation)
    {
        this.tensor = tensor;
        Computation = computation;
        (memory, version) = (TensorMemory.Storage(tensor), Version(tensor));
        innermost = this;
    }

    /// <summary>Gets the computation and its inputs.</summary>
    public SavedComputation Computation { get; }

    /// <summary>Offers to compute a tensor again.</summary>
    /// <param name="tensor">The tensor, contiguous.</param>
    /// <param name="inputs">The inputs of the computation.</param>
    /// <param name="compute">Computes the tensor, with the same bits. It must capture no tensor.</param>
    /// <returns>The offer, which the caller disposes; null if no gradient is recorded.</returns>
    public static Recomputation? Offer<TInputs>(Tensor tensor, TInputs inputs, Func<TInputs, Tensor> compute)
        where TInputs : class, ISavedTensors<TInputs> =>
        is_grad_enabled() && tensor.NumberOfElements > 0 && tensor.is_contiguous()
            ? new(tensor, SavedComputation.From(inputs, compute)) : null;

    /// <summary>Returns the open offer for a tensor, and its place in the tensor that is computed again; null if there is none.</summary>
    public static (Recomputation Offer, TensorView View)? Find(Tensor saved)
    {
        if (innermost is null || saved.NumberOfElements == 0) return null;
        nint storage = TensorMemory.Storage(saved);
        for (var offer = innermost; offer is not null; offer = offer.outer)
        {
            if (offer.memory != storage || offer.tensor.IsInvalid || offer.tensor.dtype != saved.dtype || Version(saved) != offer.version) continue;
            var view = new TensorView(saved.shape, saved.stride(), saved.storage_offset() - offer.tensor.storage_offset());
            if (view.IsWithin(offer.tensor.NumberOfElements)) return (offer, view);
        }
        return null;
    }

    static long Version(Tensor value) => TorchOperator.CallInteger("aten::_version", "", value);

    /// <summary>Closes the offer.</summary>
    public void Dispose() => innermost = outer;
}
