using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Computes RMS normalisation on a GPU (plain, gated, or of a sum) with the kernel in <c>RmsNorm.cu</c>.</summary>
static class NormCuda
{
    const string Kernel = "norm_parts";
    const int Shared = 2 * 16 * sizeof(float);       // one sum per warp, twice

    struct Arguments
    {
        public nint X, Other, Sum, Output, Weight, Inverse;
        public long Rows, Groups, Part, XStride, OtherStride;
        public float Epsilon;
    }

    struct GradientArguments
    {
        public nint Gradient, X, Other, Weight, Inverse, DX, DGate, DWeight;
        public long Rows, Groups, Part, Slices, GradientStride, XStride, OtherStride;
    }

    public static Tensor Apply(Tensor x, Tensor? gate, Tensor? weight, double epsilon, int groups, bool normFirst) =>
        Autograd.Apply([x, gate, weight],
        context =>
        {
            var (output, _, inverse) = Forward(x, gate, null, weight, epsilon, groups, normFirst);
            context.Save(x, gate, weight, inverse);
            return [output];
        },
        context =>
        {
            var saved = context.Saved;
            var (dx, dGate, dWeight) = Backward(
                context.Gradients[0]!, null, saved[0]!, saved[1], saved[2], saved[3]!, groups, normFirst, context.Needs(2));
            return [dx, dGate, dWeight];
        })[0];

    /// <summary>Returns the norm of x + residual, and that sum.</summary>
    public static (Tensor Output, Tensor Sum) ApplyToSum(Tensor x, Tensor residual, Tensor? weight, double epsilon, int groups)
    {
        var results = Autograd.Apply([x, residual, weight],
            context =>
            {
                var (output, sum, inverse) = Forward(x, null, residual, weight, epsilon, groups, false);
                context.Save(sum, weight, inverse);
                return [output, sum!];
            },
            context =>
            {
                var (sum, weight, inverse) = (context.Saved[0]!, context.Saved[1], context.Saved[2]!);
                if (context.Gradients[0] is not { } gradient) return [context.Gradients[1]?.clone(), context.Gradients[1]?.clone(), null];
                var (dx, _, dWeight) = Backward(gradient, context.Gradients[1], sum, null, weight, inverse, groups, false, context.Needs(2));
                return [dx, dx.clone(), dWeight];
            });
        return (results[0], results[1]);
    }

    static unsafe (Tensor Output, Tensor? Sum, Tensor Inverse) Forward(
        Tensor x, Tensor? gate, Tensor? residual, Tensor? weight, double epsilon, int groups, bool normFirst)
    {
        var output = CudaMemory.NewLike(x);
        var sum = residual is null ? null : CudaMemory.NewLike(x);
        var other = gate ?? residual;
        var (xs, others) = (Rows.From(x), other is null ? default : Rows.From(other));
        var inverse = CudaMemory.New(x, ScalarType.Float32, xs.Count * groups);
        var weights = CudaMemory.Float32(weight);
        long part = xs.Width / groups;
        bool wide = CudaMemory.Wide(part, xs, others) && CudaMemory.Address(weights) % 16 == 0;
        var arguments = new Arguments
        {
            X = (nint)xs[0], Other = other is null ? 0 : (nint)others[0], Sum = CudaMemory.Address(sum), Output = CudaMemory.Address(output),
                Weight = CudaMemory.Address(weights),
            Inverse = CudaMemory.Address(inverse), Rows = xs.Count, Groups = groups, Part = part, XStride = CudaMemory.Stride(xs),
            OtherStride = other is null ? 0 : CudaMemory.Stride(others), Epsilon = (float)epsilon,
        };
        var mode = Mode(gate, residual, normFirst);
        var cut = NormLaunchConfiguration.For(part / CudaMemory.VectorLength(x.dtype, wide), false, mode, x.dtype);
        CudaRuntime.DeviceOf(x).Launch(cut.Source(mode, x.dtype, wide), Kernel, (cut.Grid(xs.Count * groups), 1, 1), cut.Threads, Shared, arguments);
        GC.KeepAlive((xs.Tensor, others.Tensor, weights));
        return (output, sum, inverse);
    }

    static unsafe (Tensor X, Tensor? Gate, Tensor? Weight) Backward(
        Tensor gradient, Tensor? sumGradient, Tensor x, Tensor? gate, Tensor? weight, Tensor inverse, int groups,
        bool normFirst, bool wantsWeight)
    {
        var (dx, dGate) = (CudaMemory.NewLike(x), gate is null ? null : CudaMemory.NewLike(x));
        var other = gate ?? sumGradient?.to(x.dtype);
        var (gradients, xs, others) = (Rows.From(gradient.to(x.dtype)), Rows.From(x), other is null ? default : Rows.From(other));
        var weights = CudaMemory.Float32(weight);
        long part = xs.Width / groups;
        bool wide = CudaMemory.Wide(part, gradients, xs, others) && CudaMemory.Address(weights) % 16 == 0;
        var mode = Mode(gate, sumGradient, normFirst);
        var cut = NormLaunchConfiguration.For(part / CudaMemory.VectorLength(x.dtype, wide), true, mode, x.dtype);
        long slices = cut.Slices(xs.Count, groups);
        var partial = wantsWeight && weight is not null ? CudaMemory.New(x, ScalarType.Float32, slices, xs.Width) : null;
        var arguments = new GradientArguments
        {
            Gradient = (nint)gradients[0], X = (nint)xs[0], Other = other is null ? 0 : (nint)others[0], Weight = CudaMemory.Address(weights),
                Inverse = CudaMemory.Address(inverse),
            DX = CudaMemory.Address(dx), DGate = CudaMemory.Address(dGate), DWeight = CudaMemory.Address(partial), Rows = xs.Count, Groups = groups,
            Part = part, Slices = slices,
            GradientStride = CudaMemory.Stride(gradients), XStride = CudaMemory.Stride(xs),
            OtherStride = other is null ? 0 : CudaMemory.Stride(others),
        };
        CudaRuntime.DeviceOf(x).Launch(cut.Source(mode, x.dtype, wide), Kernel, (cut.Grid(slices * groups), 1, 1), cut.Threads, Shared, arguments);
        GC.KeepAlive((gradients.Tensor, xs.Tensor, others.Tensor, weights));
        return (dx, dGate, PartialSumsCuda.Compute((partial, weight))[0]);
    }

    static NormMode Mode(Tensor? gate, Tensor? residual, bool normFirst) =>
        gate is not null ? normFirst ? NormMode.Opened : NormMode.Gated : residual is not null ? NormMode.Sum : NormMode.Plain;
}
