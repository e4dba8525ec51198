using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Collects gradients of weights during a backward pass, in the type in which a product has written them. libtorch casts every gradient that it
/// receives to the type of its weight.
/// <para>
/// 1. The collection is current in the scope of <see cref="OperatorOptions.Gradients"/>, for one backward pass.
/// 2. In the forward pass, an operator asks for the place of a weight (<see cref="For"/>).
/// 3. In the backward pass, the operator offers the gradient to that place, which keeps it. If the weight is used again, the place returns the sum in
/// the type of the weight, and libtorch accumulates it and all later ones.
/// 4. The optimizer reads the gradient of a weight (<see cref="Of"/>): the kept one, that of libtorch, or their sum.
/// </para>
/// </summary>
sealed class GradientCollection
{
    readonly Dictionary<Tensor, Place> places = new(ReferenceEqualityComparer.Instance);

    /// <summary>Creates a collection of the gradients of weights.</summary>
    public GradientCollection(IEnumerable<Tensor> weights)
    {
        foreach (var weight in weights) places.TryAdd(weight, new(weight.dtype));
    }

    /// <summary>Represents the gradient of one weight. It contains no tensor of the graph.</summary>
    public sealed class Place(ScalarType type)
    {
        Tensor? kept;
        bool isShared;          // the weight is used several times, and libtorch accumulates its gradients

        /// <summary>Keeps a new tensor that nothing else uses, and returns null; or returns the gradient that libtorch must accumulate.</summary>
        public Tensor? Offer(Tensor gradient)
        {
            if (gradient.dtype == type) return gradient;
            lock (this)
            {
                if (kept is null && !isShared)
                {
                    kept = gradient.DetachFromDisposeScope();
                    return null;
                }
                isShared = true;
                var wide = gradient.to(type);
                if (kept is null) return wide;
                using var first = kept;
                kept = null;
                return first.to(type).add_(wide, Scalars.One);
            }
        }

        /// <summary>Returns the gradient of a weight that has this gradient in addition.</summary>
        public Tensor? With(Tensor? other)
        {
            if (kept is null || other is null) return kept ?? other;
            using var own = kept;
            kept = null;
            return other.add_(own, Scalars.One);
        }

        /// <summary>Forgets the gradient.</summary>
        public void Clear()
        {
            kept?.Dispose();
            (kept, isShared) = (null, false);
        }
    }

    /// <summary>Returns the place of a weight; null if its gradient is not collected.</summary>
    public Place? For(Tensor weight) => weight.requires_grad ? places.GetValueOrDefault(weight) : null;

    /// <summary>Returns the gradient of a weight, in its type or a narrower one; null if it has none.</summary>
    public Tensor? Of(Tensor weight) => places.TryGetValue(weight, out var place) ? place.With(weight.grad) : weight.grad;

    /// <summary>Forgets all gradients.</summary>
    public void Clear()
    {
        foreach (var place in places.Values) place.Clear();
    }
}
