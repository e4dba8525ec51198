using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Represents a computation without its inputs, which an operator saves.</summary>
/// <param name="Inputs">The inputs. Do not keep them until the backward pass.</param>
/// <param name="Compute">Computes the tensor from the saved inputs, in the same order.</param>
sealed record SavedComputation(IReadOnlyList<Tensor?> Inputs, Func<IReadOnlyList<Tensor?>, Tensor> Compute)
{
    public static SavedComputation From<TInputs>(TInputs inputs, Func<TInputs, Tensor> compute) where TInputs : class, ISavedTensors<TInputs>
    {
        var tensors = new List<Tensor?>();
        var template = inputs.Map(tensor =>
        {
            tensors.Add(tensor);
            return null;
        });
        return new(tensors, saved =>
        {
            int next = 0;
            return compute(template.Map(_ => saved[next++]));
        });
    }
}
