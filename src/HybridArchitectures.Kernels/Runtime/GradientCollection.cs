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
/// 4. A gradient in the type of its weight is kept too if the operator that comes last in the backward pass adds to it in place.
/// 5. The optimizer reads the gradient of a weight (<see cref="Of"/>): the kept one, that of libtorch, or their sum.
/// </para>
/// </summary>
sealed class GradientCollection
{
    readonly Dictionary<Tensor, Place> places = new(ReferenceEqualityComparer.Instance);

    /// <summary>Creates a collection of the gradients of weights.</summary>
    public GradientCollection(IEnumerable<Tensor> weights)
    {
        foreach (var weight in weights) places.TryAdd(weight, new(this, weight.dtype));
    }

    /// <summary>
    /// Gets or sets whether gradients in a narrower type than that of their weights are kept. Otherwise, they are cast. The default is true.
    /// </summary>
    public bool KeepsNarrow { get; set; } = true;

    /// <summary>Represents the gradient of one weight. It contains no tensor of the graph.</summary>
    public sealed class Place(GradientCollection collection, ScalarType type)
    {
        Tensor? kept;
        bool isShared;          // the weight is used several times, and libtorch accumulates its gradients

        /// <summary>
        /// Gets or sets whether a gradient in the type of the weight is kept too, because the operator before it adds to it in place.
        /// </summary>
        public bool KeepsWhole { get; set; }

        /// <summary>
        /// Gets the kept gradient in the type of the weight, to which a later part of the backward pass can add; null if there is none.
        /// </summary>
        public Tensor? Whole => kept?.dtype == type ? kept : null;

        /// <summary>Keeps a new tensor that nothing else uses, and returns null; or returns the gradient that libtorch must accumulate.</summary>
        public Tensor? Offer(Tensor gradient)
        {
            if (gradient.dtype == type ? !KeepsWhole : !collection.KeepsNarrow) return gradient.to(type);
            lock (this)
            {
                if (kept is null && !isShared)
                {
                    kept = gradient.DetachFromDisposeScope();
                    return null;
                }
                isShared = true;
                var wide = gradient.dtype == type ? gradient : gradient.to(type);
                if (kept is null) return wide;
                using var first = kept;
                kept = null;
                return wide.add_(first, Scalars.One);
            }
        }

        /// <summary>Offers one of several gradients, and returns them with what libtorch must accumulate in its place.</summary>
        public Tensor?[] OfferAt(int index, Tensor?[] gradients)
        {
            if (gradients[index] is { } gradient) gradients[index] = Offer(gradient);
            return gradients;
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
            (kept, isShared, KeepsWhole) = (null, false, false);
        }
    }

    /// <summary>Returns the place of a weight; null if its gradient is not collected.</summary>
    public Place? For(Tensor weight) => weight.requires_grad ? places.GetValueOrDefault(weight) : null;

    /// <summary>Returns the gradient of a weight, in its type or a narrower one; null if it has none.</summary>
    public Tensor? Of(Tensor weight) => places.TryGetValue(weight, out var place) ? place.With(weight.grad) : weight.grad;

    /// <summary>Sets the gradients of the weights to what libtorch would have accumulated, for code that reads them.</summary>
    public void MoveToWeights()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        foreach (var (weight, place) in places)
        {
            if (place.With(weight.grad) is { } gradient) weight.grad = gradient.dtype == weight.dtype ? gradient : gradient.to(weight.dtype);
            place.Clear();
        }
    }

    /// <summary>Forgets all gradients.</summary>
    public void Clear()
    {
        foreach (var place in places.Values) place.Clear();
    }
}
