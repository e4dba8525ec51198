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

    // the weight is in the dtype of the rows, a copy if parameters have another
    sealed record Saved<TInput>(TInput Input, Tensor Weight, Tensor Ends, ScalarType ParameterType, GradientCollection.Place? Place)
        : ISavedTensors<Saved<TInput>> where TInput : class, IProjectionInput<TInput>
    {
        public Saved<TInput> Map(Func<Tensor?, Tensor?> replace) =>
            this with { Input = Input.Map(replace), Weight = replace(Weight)!, Ends = replace(Ends)! };
    }

    // rows that are there, whose input is saved
    sealed record RowsInput(Tensor X) : IProjectionInput<RowsInput>
    {
        public Tensor Like => X;

        public long[] Shape => X.shape;

        public IReadOnlyList<Tensor?> Differentiable => [X];

        public bool HasKernels => true;

        public RowsInput Map(Func<Tensor?, Tensor?> replace) => new(replace(X)!);

        public Tensor Forward() => X;

        public (Tensor Output, RowsInput Saved) Compute() => (X, this);

        public (Tensor?[] Gradients, Tensor? Output) Differentiate(Tensor gradient, BackwardContext context, bool wantsOutput) => ([gradient], X);
    }

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
    /// <param name="weight">
    /// The weights, shape (groups, outputs, inputs), float32 or in the dtype of <paramref name="x"/>. They are cast for the product.
    /// </param>
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
        Require.Alive(x);
        return Forward(new RowsInput(x), weight, ends);
    }

    /// <summary>
    /// Computes the same for the rows that an operator yields. They are not saved if the operator can compute them again.
    /// </summary>
    internal static Tensor ForwardOf<TInput>(TInput input, Tensor weight, Tensor ends) where TInput : class, IProjectionInput<TInput> =>
        RecomputedLinear.Recomputes(input) ? Forward(input, weight, ends) : Forward(input.Forward(), weight, ends);

    static Tensor Forward<TInput>(TInput input, Tensor weight, Tensor ends) where TInput : class, IProjectionInput<TInput>
    {
        var like = input.Like;
        var inputs = new GroupedLinearInputs(like.dim() == 2 ? like : like.view(input.Shape), weight, ends);
        inputs.Check();
        if (BackendFor(like, weight) == KernelBackend.Reference || like.NumberOfElements == 0)
            return GroupedLinearReference.Forward(input.Forward(), weight.to(like.dtype), ends);
        var place = OperatorOptions.Current.Gradients?.For(weight);
        return Autograd.Apply<Saved<TInput>>([.. input.Differentiable, weight], _ =>
        {
            var (x, saved) = input.Compute();
            var factor = weight.dtype == x.dtype ? weight : MasterWeightLinear.Copy(weight, x.dtype);
            return ([Product(x.contiguous(), factor.contiguous().transpose(1, 2), ends)], new(saved, factor, ends, weight.dtype, place));
        }, Backward)[0];
    }

    static Tensor?[] Backward<TInput>(BackwardContext context, Saved<TInput> saved) where TInput : class, IProjectionInput<TInput>
    {
        var (input, weight, ends, type, place) = saved;
        int count = input.Differentiable.Count;
        var gradient = context.Gradients[0]!.contiguous();
        var (gradients, x) = input.Differentiate(Product(gradient, weight.contiguous(), ends), context, wantsOutput: context.Needs(count));
        if (!context.Needs(count)) return [.. gradients, null];
        var dWeight = Product(gradient.transpose(0, 1), x!.contiguous(), ends);
        ClearEmpty(dWeight, ends);
        return [.. gradients, place is null ? dWeight.to(type) : place.Offer(dWeight)];
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
