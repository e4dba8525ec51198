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
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(weight);
        if (weight.dim() != 3)
            throw Require.Unfit(nameof(weight), $"weight has shape {Checks.Describe(weight)}", "(groups, outputs, inputs)");
        long size = x.ElementSize;
        bool fits = x.dtype is ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16 && weight.size(1) * size % Alignment == 0
            && weight.size(2) * size % Alignment == 0;
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
        Checks.Floating(x);
        if (x.dim() != 2) throw Require.Refusal(nameof(x), x.shape, "(rows, inputs)");
        ArgumentNullException.ThrowIfNull(weight);
        if (weight.dim() != 3 || weight.size(0) == 0 || weight.size(2) != x.size(1))
            throw Require.Refusal(nameof(weight), weight.shape, $"(groups, outputs, {x.size(1)})");
        Checks.Type(weight, x.dtype);
        Checks.SameDevice(weight, x, nameof(x));
        Checks.Shape(ends, [weight.size(0)], "(groups)");
        Checks.Type(ends, ScalarType.Int32);
        Checks.SameDevice(ends, x, nameof(x));
        CheckEnds(ends, x.size(0));
        var backend = BackendFor(x, weight);
        if (backend == KernelBackend.Reference || x.size(0) == 0) return GroupedLinearReference.Forward(x, weight, ends);
        return Autograd.Apply<Saved>(
            [x, weight], _ => ([Product(x.contiguous(), weight.contiguous().transpose(1, 2), ends)], new Saved(x, weight, ends)), Backward)[0];
    }

    sealed record Saved(Tensor X, Tensor Weight, Tensor Ends) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(replace(X)!, replace(Weight)!, replace(Ends)!);
    }

    static Tensor?[] Backward(BackwardContext context, Saved saved)
    {
        var gradient = context.Gradients[0]!.contiguous();
        var dX = context.Needs(0) ? Product(gradient, saved.Weight.contiguous(), saved.Ends) : null;
        var dWeight = context.Needs(1) ? Product(gradient.transpose(0, 1), saved.X.contiguous(), saved.Ends) : null;
        // libtorch does not initialize results that it does not compute
        dWeight?.masked_fill_(Empty(saved.Ends).view(-1, 1, 1), Scalars.Zero);
        return [dX, dWeight];
    }

    static Tensor Product(Tensor left, Tensor right, Tensor ends) =>
        TorchOperator.Call("aten::_grouped_mm", "", left, right, OperatorArgument.Optional(ends), OperatorArgument.None, OperatorArgument.None);

    static Tensor Empty(Tensor ends) => cat([ends.narrow(0, 0, 1), ends.diff()], 0).eq(Scalars.Zero);

    static void CheckEnds(Tensor ends, long rows)
    {
        if (ends.device_type != TorchSharp.DeviceType.CPU) return;
        var values = TensorMemory.Span<int>(ends.is_contiguous() ? ends : ends.contiguous());
        for (int i = 0; i < values.Length; i++)
            if (values[i] < (i == 0 ? 0 : values[i - 1]) || values[i] > rows)
                throw Require.Unfit(nameof(ends), $"ends[{i}] is {values[i]}", $"a place from {(i == 0 ? 0 : values[i - 1])} to {rows}");
        if (values[^1] != rows) throw Require.Unfit(nameof(ends), $"ends finishes at {values[^1]}", $"the number of rows, {rows}");
    }
}
