using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>Contains one set of random inputs on a device. Gradients are computed of its leaves.</summary>
sealed class GpuInputs(Device device, ScalarType type) : IDisposable
{
    readonly List<Tensor> tensors = [], leaves = [];

    public Device Device => device;

    public ScalarType Type => type;

    public long Bytes => tensors.Sum(tensor => tensor.NumberOfElements * tensor.ElementSize);

    public IReadOnlyList<Tensor> Leaves => leaves;

    /// <summary>
    /// Returns normal random numbers times <paramref name="scale"/> plus <paramref name="shift"/>, of the case's type, with a gradient.
    /// </summary>
    public Tensor Leaf(long[] size, double scale = 1, double shift = 0) => Add(Normal(size, scale, shift).to(type), true);

    /// <summary>Works as <see cref="Leaf"/>, but always returns float32.</summary>
    public Tensor Float32(long[] size, double scale = 1, double shift = 0) => Add(Normal(size, scale, shift), true);

    /// <summary>Rates of decay: below -0.5.</summary>
    public Tensor Decays(params long[] size)
    {
        using var scope = NewDisposeScope();
        return Add(Normal(size, 1, 0).abs_().neg_().sub_(Scalars.From(0.5)), true).MoveToOuterDisposeScope();
    }

    /// <summary>Returns a tensor without gradient.</summary>
    public Tensor Fixed(Tensor tensor) => Add(tensor, false);

    /// <summary>Has gradients taken of one of the <see cref="Fixed"/> tensors.</summary>
    public Tensor Differentiated(Tensor tensor)
    {
        leaves.Add(tensor.requires_grad_());
        return tensor;
    }

    Tensor Normal(long[] size, double scale, double shift)
    {
        // the seed is the process's: every set holds other numbers
        return randn(size, ScalarType.Float32, device).mul_(Scalars.From(scale)).add_(Scalars.From(shift));
    }

    Tensor Add(Tensor tensor, bool differentiated)
    {
        tensor = tensor.detach().DetachFromDisposeScope();
        tensors.Add(tensor);
        if (!differentiated) return tensor;
        leaves.Add(tensor.requires_grad_());
        return tensor;
    }

    public void ForgetGradients()
    {
        foreach (var leaf in leaves) leaf.grad = null;
    }

    public void Dispose()
    {
        ForgetGradients();
        tensors.ForEach(tensor => tensor.Dispose());
    }
}
