using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements the products of a mixture of experts: rows that are sorted by group, and one weight per group. One operator of libtorch serves all
/// groups, and their sizes stay on the device.
/// </summary>
public static class GroupedLinear
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.GroupedLinearBackend);

    const int Alignment = 16;       // the alignment of rows in bytes that libtorch's operator requires

    /// <summary>
    /// Returns the back end that serves rows like <paramref name="x"/> with weights like <paramref name="weight"/>: libtorch's operator for float32,
    /// float16 and bfloat16 if both widths are multiples of 16 bytes, and the reference otherwise.
    /// </summary>
    public static KernelBackend BackendFor(Tensor x, Tensor weight)
    {
        Require.Alive(x);
        Require.Alive(weight);
        if (weight.dim() != 3)
            throw Require.Unfit(nameof(weight), $"weight has shape {Checks.Describe(weight)}", "(groups, outputs, inputs)");
        bool fits = Fits(x.dtype, weight);
        return Backend switch
        {
            KernelBackend.Auto => fits ? KernelBackend.LibTorch : KernelBackend.Reference,
            KernelBackend.LibTorch when !fits =>
            throw Require.Unfit(nameof(weight), $"the back end of GroupedLinear is LibTorch, but weight is {x.dtype} {Checks.Describe(weight)}",
                $"rows of whole multiples of {Alignment} bytes"),
            KernelBackend.LibTorch or KernelBackend.Reference => Backend,
            _ => throw Require.OutOfRange("the back end of GroupedLinear", Backend, "Auto, Reference or LibTorch", "backend"),
        };
    }

    static bool Fits(ScalarType type, Tensor weight)
    {
        long size = type switch { ScalarType.Float32 => 4, ScalarType.BFloat16 or ScalarType.Float16 => 2, _ => 0 };
        return size > 0 && weight.size(1) * size % Alignment == 0 && weight.size(2) * size % Alignment == 0;
    }

    /// <summary>Returns whether the host reads the sizes of the groups, which must not happen in a capture.</summary>
    /// <param name="type">The type of the rows.</param>
    /// <param name="weight">The weights, shape (groups, outputs, inputs).</param>
    internal static bool ReadsSizes(ScalarType type, Tensor weight) => weight.device_type != TorchSharp.DeviceType.CUDA
        || OperatingSystem.IsWindows() || ReadsSizes(type, weight, CudaRuntime.DeviceOf(weight).Capability);

    /// <summary>
    /// Returns the same for a compute capability, such as 90. libtorch has kernels for bfloat16 on 9.x and 10.x, and elsewhere a loop over the groups
    /// on the host, as the reference.
    /// </summary>
    internal static bool ReadsSizes(ScalarType type, Tensor weight, int capability) =>
        Backend == KernelBackend.Reference || type != ScalarType.BFloat16 || !Fits(type, weight) || capability / 10 is not (9 or 10);

    /// <summary>Computes weight[g] x[r] for each row r of group g.</summary>
    /// <param name="x">The input, shape (rows, inputs), floating point: the rows of group 0, then those of group 1, and so on.</param>
    /// <param name="weight">The weights, shape (groups, outputs, inputs), in the dtype of <paramref name="x"/>.</param>
    /// <param name="ends">
    /// The end of each group, shape (groups), int32, non-decreasing. The last one is the number of rows. A group can be empty; its gradient is then
    /// zero.
    /// </param>
    /// <returns>The output, shape (rows, outputs), in the dtype of <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">
    /// A shape, dtype or device is invalid. The values of <paramref name="ends"/> are checked only on the CPU.
    /// </exception>
    public static Tensor Forward(Tensor x, Tensor weight, Tensor ends)
    {
        var inputs = new GroupedLinearInputs(x, weight, ends);
        inputs.Check();
        var backend = BackendFor(x, weight);
        if (backend == KernelBackend.Reference || x.size(0) == 0) return GroupedLinearReference.Forward(x, weight, ends);
        return Autograd.Apply<GroupedLinearInputs>(
            [x, weight], _ => ([Product(x.contiguous(), weight.contiguous().transpose(1, 2), ends)], inputs), Backward)[0];
    }

    static Tensor?[] Backward(BackwardContext context, GroupedLinearInputs saved)
    {
        var gradient = context.Gradients[0]!.contiguous();
        var dX = context.Needs(0) ? Product(gradient, saved.Weight.contiguous(), saved.Ends) : null;
        var dWeight = context.Needs(1) ? Product(gradient.transpose(0, 1), saved.X.contiguous(), saved.Ends) : null;
        if (dWeight is not null) ClearEmpty(dWeight, saved.Ends);
        return [dX, dWeight];
    }

    // libtorch does not initialize results that it does not compute
    static void ClearEmpty(Tensor dWeight, Tensor ends)
    {
        if (EmptyGroupsCuda.Serves(dWeight)) EmptyGroupsCuda.Clear(dWeight, ends);
        else dWeight.masked_fill_(Empty(ends).view(-1, 1, 1), Scalars.Zero);
    }

    static Tensor Product(Tensor left, Tensor right, Tensor ends) =>
        TorchOperator.Call("aten::_grouped_mm", "", left, right, OperatorArgument.Optional(ends), OperatorArgument.None, OperatorArgument.None);

    static Tensor Empty(Tensor ends) => cat([ends.narrow(0, 0, 1), ends.diff()], 0).eq(Scalars.Zero);
}
