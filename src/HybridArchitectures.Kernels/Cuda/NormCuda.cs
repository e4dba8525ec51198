using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Computes RMS normalisation on a GPU (plain, gated, or of a sum) with the kernel in <c>RmsNorm.cu</c>.</summary>
static class NormCuda
{
    const string Kernel = "norm_parts";
    const int Shared = 2 * 16 * sizeof(float);       // one sum per warp, twice

    internal struct Arguments
    {
        public nint X, Other, Sum, Output, Weight, Inverse;
        public long Rows, Groups, Part, XStride, OtherStride;
        public float Epsilon;
    }

    internal struct GradientArguments
    {
        public nint Gradient, X, Other, Weight, Inverse, DX, DGate, Output, DWeight;
        public long Rows, Groups, Part, Slices, GradientStride, XStride, OtherStride, DXStride, DGateStride;
    }

    // Inverse: 1 / root mean square of each group; Inputs.X is the sum if there was a residual
    sealed record Saved(NormInputs Inputs, Tensor Inverse) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(Inputs.Map(replace), replace(Inverse)!);
    }

    public static Tensor Apply(NormInputs inputs) => Autograd.Apply<Saved>([inputs.X, inputs.Gate, inputs.Weight], _ =>
    {
        var (output, _, inverse) = Forward(inputs, null);
        return ([output], new Saved(inputs, inverse));
    }, static (context, saved) =>
    {
        var (dX, dGate, dWeight) = Backward(context.Gradients[0]!, null, saved.Inputs, saved.Inverse, context.Needs(2));
        return [dX, dGate, dWeight];
    })[0];

    /// <summary>Returns the norm of x + residual, and that sum.</summary>
    public static (Tensor Output, Tensor Sum) ApplyToSum(NormInputs inputs, Tensor residual)
    {
        var results = Autograd.Apply<Saved>([inputs.X, residual, inputs.Weight], _ =>
        {
            var (output, sum, inverse) = Forward(inputs, residual);
            return ([output, sum!], new Saved(inputs with { X = sum! }, inverse));
        }, static (context, saved) =>
        {
            if (context.Gradients[0] is not { } gradient) return [context.Gradients[1], context.Gradients[1], null];
            var (dX, _, dWeight) = Backward(gradient, context.Gradients[1], saved.Inputs, saved.Inverse, context.Needs(2));
            return [dX, dX, dWeight];
        });
        return (results[0], results[1]);
    }

    /// <summary>Returns the norm and 1 / root mean square of each group, without recording.</summary>
    public static (Tensor Output, Tensor Inverse) Forward(NormInputs inputs)
    {
        var (output, _, inverse) = Forward(inputs, null);
        return (output, inverse);
    }

    static unsafe (Tensor Output, Tensor? Sum, Tensor Inverse) Forward(NormInputs inputs, Tensor? residual)
    {
        var (x, gate, groups) = (inputs.X, inputs.Gate, inputs.Groups);
        var output = CudaMemory.NewLike(x);
        var sum = residual is null ? null : CudaMemory.NewLike(x);
        var other = gate ?? residual;
        var (xs, others) = (Rows.From(x), other is null ? default : Rows.From(other));
        var inverse = CudaMemory.New(x, ScalarType.Float32, xs.Count * groups);
        var weights = CudaMemory.Float32(inputs.Weight);
        long part = xs.Width / groups;
        bool wide = CudaMemory.Wide(part, xs, others) && CudaMemory.Address(weights) % 16 == 0;
        var arguments = new Arguments
        {
            X = (nint)xs[0], Other = other is null ? 0 : (nint)others[0], Sum = CudaMemory.Address(sum), Output = CudaMemory.Address(output),
                Weight = CudaMemory.Address(weights),
            Inverse = CudaMemory.Address(inverse), Rows = xs.Count, Groups = groups, Part = part, XStride = CudaMemory.Stride(xs),
            OtherStride = other is null ? 0 : CudaMemory.Stride(others), Epsilon = (float)inputs.Epsilon,
        };
        var mode = Mode(gate, residual, inputs.NormFirst);
        var configuration = NormLaunchConfiguration.For(part / CudaMemory.VectorLength(x.dtype, wide), false, mode, x.dtype);
        CudaRuntime.DeviceOf(x).Launch(configuration.Variant(mode, x.dtype, wide), Kernel,
            (configuration.Grid(xs.Count * groups), 1, 1), configuration.Threads, Shared, arguments);
        GC.KeepAlive((xs.Tensor, others.Tensor, weights));
        return (output, sum, inverse);
    }

    /// <summary>Returns the gradients of x, the gate and the weight.</summary>
    /// <param name="gradient">The gradient of the output.</param>
    /// <param name="sumGradient">The gradient of the sum x + residual; null if there was no residual.</param>
    /// <param name="inputs">The inputs. x is the sum if there was a residual.</param>
    /// <param name="inverse">1 / root mean square of each group.</param>
    /// <param name="wantsWeight">Whether the gradient of the weight is needed.</param>
    /// <param name="output">
    /// Receives the output of a norm with a gate again. It can be <paramref name="gradient"/> itself. Null means none.
    /// </param>
    public static unsafe (Tensor X, Tensor? Gate, Tensor? Weight) Backward(
        Tensor gradient, Tensor? sumGradient, NormInputs inputs, Tensor inverse, bool wantsWeight, Tensor? output = null)
    {
        var (x, gate, weight, groups) = (inputs.X, inputs.Gate, inputs.Weight, inputs.Groups);
        // with a gate, the output is written with the rows of dx, so these have no place
        var dx = gate is null && CudaMemory.PlaceOf(x, inputs.XGradient) is { } place ? place : CudaMemory.NewLike(x);
        var dGate = gate is null ? null : CudaMemory.PlaceOf(gate, inputs.GateGradient) ?? CudaMemory.NewLike(x);
        var other = gate ?? sumGradient?.to(x.dtype);
        var (gradients, xs, others) = (Rows.From(gradient.to(x.dtype)), Rows.From(x), other is null ? default : Rows.From(other));
        var (dxs, gates) = (Rows.From(dx), dGate is null ? default : Rows.From(dGate));
        var weights = CudaMemory.Float32(inputs.Weight);
        long part = xs.Width / groups;
        bool wide = CudaMemory.Wide(part, gradients, xs, others, dxs, gates) && CudaMemory.Address(weights) % 16 == 0;
        var mode = Mode(gate, sumGradient, inputs.NormFirst);
        var configuration = NormLaunchConfiguration.For(part / CudaMemory.VectorLength(x.dtype, wide), true, mode, x.dtype);
        long slices = configuration.Slices(xs.Count, groups);
        var partial = wantsWeight && weight is not null ? CudaMemory.New(x, ScalarType.Float32, slices, xs.Width) : null;
        var arguments = new GradientArguments
        {
            Gradient = (nint)gradients[0], X = (nint)xs[0], Other = other is null ? 0 : (nint)others[0], Weight = CudaMemory.Address(weights),
            Inverse = CudaMemory.Address(inverse),
            DX = CudaMemory.Address(dx), DGate = CudaMemory.Address(dGate), Output = CudaMemory.Address(output),
            DWeight = CudaMemory.Address(partial), Rows = xs.Count, Groups = groups, Part = part, Slices = slices,
            GradientStride = CudaMemory.Stride(gradients), XStride = CudaMemory.Stride(xs),
            OtherStride = other is null ? 0 : CudaMemory.Stride(others), DXStride = CudaMemory.Stride(dxs),
            DGateStride = dGate is null ? 0 : CudaMemory.Stride(gates),
        };
        CudaRuntime.DeviceOf(x).Launch(configuration.Variant(mode, x.dtype, wide), Kernel,
            (configuration.Grid(slices * groups), 1, 1), configuration.Threads, Shared, arguments);
        GC.KeepAlive((gradients.Tensor, xs.Tensor, others.Tensor, weights));
        return (dx, dGate, PartialSumsCuda.Compute((partial, weight))[0]);
    }

    static NormMode Mode(Tensor? gate, Tensor? residual, bool normFirst) =>
        gate is not null ? normFirst ? NormMode.Opened : NormMode.Gated : residual is not null ? NormMode.Sum : NormMode.Plain;
}
