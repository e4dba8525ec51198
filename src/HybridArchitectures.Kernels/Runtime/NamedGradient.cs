using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Connects a gradient function with the record of tensors that it needs. Between the passes, this object contains no tensor: libtorch owns the saved
/// ones, so the caller's tensors can be disposed.
/// </summary>
sealed class NamedGradient<TSaved>(Func<BackwardContext, TSaved, Tensor?[]> backward) where TSaved : class, ISavedTensors<TSaved>
{
    TSaved? template;

    public void Save(ForwardContext context, TSaved saved)
    {
        if (!context.NeedsGradient) return;
        var tensors = new List<Tensor?>();
        template = saved.Map(tensor =>
        {
            tensors.Add(tensor);
            return null;
        });
        context.Save([.. tensors]);
    }

    public Tensor?[] Run(BackwardContext context)
    {
        int next = 0;
        return backward(context, template!.Map(_ => context.Saved[next++]));
    }
}
