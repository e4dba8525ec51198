using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Connects a gradient function with the record of tensors that it needs. Between the passes, this object contains no tensor: libtorch owns the saved
/// ones, so the caller's tensors can be disposed. Tensors for which there is an offer (<see cref="Recomputation"/>) are not saved, but computed
/// again.
/// </summary>
sealed class NamedGradient<TSaved>(Func<BackwardContext, TSaved, Tensor?[]> backward) where TSaved : class, ISavedTensors<TSaved>
{
    readonly List<Computed> computations = [];
    readonly List<(int Computation, TensorView View)?> views = [];      // per tensor of the record; null if it is saved
    TSaved? template;

    // the inputs are the saved tensors from First on
    readonly record struct Computed(Func<IReadOnlyList<Tensor?>, Tensor> Compute, int First, int Count);

    public void Save(ForwardContext context, TSaved saved)
    {
        if (!context.NeedsGradient) return;
        var tensors = new List<Tensor?>();
        var offers = new List<Recomputation>();
        template = saved.Map(tensor =>
        {
            if (tensor is null || Recomputation.Find(tensor) is not { } found)
            {
                tensors.Add(tensor);
                views.Add(null);
                return null;
            }
            if (!offers.Contains(found.Offer)) offers.Add(found.Offer);
            views.Add((offers.IndexOf(found.Offer), found.View));
            return null;
        });
        foreach (var offer in offers)
        {
            computations.Add(new(offer.Computation.Compute, tensors.Count, offer.Computation.Inputs.Count));
            tensors.AddRange(offer.Computation.Inputs);
        }
        context.Save([.. tensors]);
    }

    public Tensor?[] Run(BackwardContext context)
    {
        int next = 0, place = 0;
        var computed = computations.ConvertAll(one => one.Compute([.. context.Saved.Skip(one.First).Take(one.Count)]));
        return backward(context, template!.Map(_ => views[place++] is { } view ? view.View.Of(computed[view.Computation]) : context.Saved[next++]));
    }
}
