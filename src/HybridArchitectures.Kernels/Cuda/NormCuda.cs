using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>RMS normalisation on a card: plain, gated, or of a sum; <c>RmsNorm.cu</c> holds the kernels.</summary>
static class NormCuda
{
    const string Source = "RmsNorm.cu";

    struct Arguments
    {
        public nint X, Gate, Residual, Sum, Output, Weight, Inverse;
        public long Rows, Groups, Part, XStride, GateStride, ResidualStride;
        public float Epsilon;
        public int NormFirst;
    }

    struct GradientArguments
    {
        public nint Gradient, SumGradient, X, Gate, Weight, Inverse, DX, DGate, DWeight;
        public long Rows, Groups, Part, Slices, GradientStride, XStride, GateStride;
        public int NormFirst;
    }

    public static Tensor Apply(Tensor x, Tensor? gate, Tensor? weight, double epsilon, int groups, bool normFirst) => Autograd.Apply([x, gate, weight],
        context =>
        {
            var (output, _, inverse) = Forward(x, gate, null, weight, epsilon, groups, normFirst);
            context.Save(x, gate, weight, inverse);
            return [output];
        },
        context =>
        {
            var saved = context.Saved;
            var (dx, dGate, dWeight) = Backward(context.Gradients[0]!, null, saved[0]!, saved[1], saved[2], saved[3]!, groups, normFirst, context.Needs(2));
            return [dx, dGate, dWeight];
        })[0];

    /// <summary>The norm of x + residual, and that sum.</summary>
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

    static unsafe (Tensor Output, Tensor? Sum, Tensor Inverse) Forward(Tensor x, Tensor? gate, Tensor? residual, Tensor? weight, double epsilon, int groups, bool normFirst)
    {
        var output = CudaMemory.NewLike(x);
        var sum = residual is null ? null : CudaMemory.NewLike(x);
        var (xs, gates, residuals) = (Rows.Of(x), gate is null ? default : Rows.Of(gate), residual is null ? default : Rows.Of(residual));
        var inverse = CudaMemory.New(x, ScalarType.Float32, xs.Count * groups);
        var weights = CudaMemory.Float32(weight);
        long part = xs.Width / groups;
        bool wide = CudaMemory.Wide(part, xs, gates, residuals) && CudaMemory.Address(weights) % 16 == 0;
        var arguments = new Arguments
        {
            X = (nint)xs[0], Gate = gate is null ? 0 : (nint)gates[0], Residual = residual is null ? 0 : (nint)residuals[0], Sum = CudaMemory.Address(sum),
            Output = CudaMemory.Address(output), Weight = CudaMemory.Address(weights), Inverse = CudaMemory.Address(inverse), Rows = xs.Count, Groups = groups, Part = part,
            XStride = CudaMemory.Stride(xs), GateStride = gate is null ? 0 : CudaMemory.Stride(gates), ResidualStride = residual is null ? 0 : CudaMemory.Stride(residuals),
            Epsilon = (float)epsilon, NormFirst = normFirst ? 1 : 0,
        };
        var team = Team(part, x.dtype, wide, 8);
        CudaRuntime.DeviceOf(x).Launch(Source, Kernel("forward", team, gate is null && residual is null, x.dtype, wide), (Blocks(xs.Count * groups, team), 1, 1), Threads(team), 64, arguments);
        GC.KeepAlive((xs.Tensor, gates.Tensor, residuals.Tensor, weights));
        return (output, sum, inverse);
    }

    static unsafe (Tensor X, Tensor? Gate, Tensor? Weight) Backward(Tensor gradient, Tensor? sumGradient, Tensor x, Tensor? gate, Tensor? weight, Tensor inverse, int groups,
        bool normFirst, bool wantsWeight)
    {
        var (dx, dGate) = (CudaMemory.NewLike(x), gate is null ? null : CudaMemory.NewLike(x));
        var (gradients, xs, gates) = (Rows.Of(gradient.to(x.dtype)), Rows.Of(x), gate is null ? default : Rows.Of(gate));
        var others = sumGradient?.to(x.dtype).contiguous();
        var sums = others is null ? default : Rows.Of(others);
        var weights = CudaMemory.Float32(weight);
        long part = xs.Width / groups;
        bool wide = CudaMemory.Wide(part, gradients, xs, gates, sums) && CudaMemory.Address(weights) % 16 == 0;
        var team = Team(part, x.dtype, wide, 8);
        // by the sizes alone, not by the card: the sum over slices is the same to the bit everywhere
        long slices = Math.Clamp(xs.Count, 1, Math.Max(1, SlicesOf(team) / groups));
        var partial = wantsWeight && weight is not null ? CudaMemory.New(x, ScalarType.Float32, slices, xs.Width) : null;
        var arguments = new GradientArguments
        {
            Gradient = (nint)gradients[0], SumGradient = CudaMemory.Address(others), X = (nint)xs[0], Gate = gate is null ? 0 : (nint)gates[0],
            Weight = CudaMemory.Address(weights), Inverse = CudaMemory.Address(inverse), DX = CudaMemory.Address(dx), DGate = CudaMemory.Address(dGate),
            DWeight = CudaMemory.Address(partial), Rows = xs.Count, Groups = groups, Part = part, Slices = slices, GradientStride = CudaMemory.Stride(gradients),
            XStride = CudaMemory.Stride(xs), GateStride = gate is null ? 0 : CudaMemory.Stride(gates), NormFirst = normFirst ? 1 : 0,
        };
        CudaRuntime.DeviceOf(x).Launch(Source, Kernel("backward", team, gate is null && others is null, x.dtype, wide), (Blocks(slices * groups, team), 1, 1), Threads(team), 64, arguments);
        GC.KeepAlive((gradients.Tensor, xs.Tensor, gates.Tensor, others, weights));
        return (dx, dGate, partial?.sum(dim: 0).to(weight!.dtype));
    }

    // as in the kernels: a warp that holds so many vectors a lane, a block that holds one a thread, or four
    static string Team(long part, ScalarType type, bool wide, int held)
    {
        int vector = CudaMemory.VectorLength(type, wide);
        return part <= held * 32 * vector ? "warp" : part <= 256 * vector ? "row" : "block";
    }

    static string Kernel(string direction, string team, bool plain, ScalarType type, bool wide) =>
        $"norm_{direction}_{team}_{(plain && wide ? "plain_" : "")}{CudaMemory.Suffix(type, wide)}";

    static int SlicesOf(string team) => team switch { "warp" => 1056, "row" => 660, _ => 264 };

    static int Threads(string team) => team == "warp" ? 128 : 256;

    static long Blocks(long teams, string team) => team == "warp" ? (teams + 3) / 4 : teams;
}
