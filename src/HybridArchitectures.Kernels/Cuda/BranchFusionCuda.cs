using System.Runtime.CompilerServices;
using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>The fusion of two branches on a card; <c>BranchFusion.cu</c> holds the kernels. Kept for the gradient: the inputs, and 1 / rms of every part.</summary>
static unsafe class BranchFusionCuda
{
    const string Source = "BranchFusion.cu";
    const long MostSlices = 528;                     // by the sizes alone, not by the card: sums over slices are the same to the bit everywhere

    [InlineArray(2)]
    struct Pair<T>
    {
        T first;
    }

    struct Arguments
    {
        public Pair<nint> Values, Weights;
        public nint Gate;
        public Pair<nint> Inverse;
        public nint Output;
        public Pair<nint> DValues, DWeights;
        public nint DGate;
        public long Rows, Slices;
        public Pair<long> Widths, Groups, Strides;
        public long OutputStride;
        public float Epsilon;
        public int Kind;
    }

    public static Tensor Apply(FusionBranch first, FusionBranch second, BranchFusionKind kind, Tensor? gate, double epsilon)
    {
        int[] groups = [first.Groups, second.Groups];
        return Autograd.Apply([first.Value, second.Value, first.Weight, second.Weight, gate],
            context =>
            {
                var a = first.Value;
                var sizes = new long[a.dim()];
                for (int i = 0; i < sizes.Length; i++) sizes[i] = a.size(i);
                if (kind == BranchFusionKind.Concat) sizes[^1] += second.Value.size(-1);
                var output = CudaMemory.New(a, a.dtype, sizes);
                long rows = a.NumberOfElements / a.size(-1);
                var inverse = groups.Select(count => count > 0 ? CudaMemory.New(a, ScalarType.Float32, rows, count) : null).ToArray();
                Run([a, second.Value], [first.Weight, second.Weight], gate, inverse, output, groups, kind, epsilon, null, null, null);
                context.Save(a, second.Value, first.Weight, second.Weight, gate, inverse[0], inverse[1]);
                return [output];
            },
            context =>
            {
                var saved = context.Saved;
                Tensor[] values = [saved[0]!, saved[1]!];
                Tensor?[] weights = [saved[2], saved[3]];
                Tensor[] dValues = [CudaMemory.NewLike(values[0]), CudaMemory.NewLike(values[1])];
                long rows = values[0].NumberOfElements / values[0].size(-1), slices = Math.Clamp(rows, 1, MostSlices);
                Tensor? Partial(Tensor? like) => like is null ? null : CudaMemory.New(values[0], ScalarType.Float32, slices, like.size(0));
                Tensor?[] dWeights = [Partial(weights[0]), Partial(weights[1])];
                var dGate = Partial(saved[4]);
                Run(values, weights, saved[4], [saved[5], saved[6]], context.Gradients[0]!.to(values[0].dtype), groups, kind, epsilon, dValues, dWeights, dGate);
                static Tensor? Sum(Tensor? partial, Tensor? like) => partial?.sum(dim: 0).to(like!.dtype);
                return [dValues[0], dValues[1], Sum(dWeights[0], weights[0]), Sum(dWeights[1], weights[1]), Sum(dGate, saved[4])];
            })[0];
    }

    // forward writes output; backward, where there are dValues, reads it as the gradient
    static void Run(Tensor[] values, Tensor?[] weights, Tensor? gate, Tensor?[] inverse, Tensor output, int[] groups, BranchFusionKind kind, double epsilon, Tensor[]? dValues,
        Tensor?[]? dWeights, Tensor? dGate)
    {
        if (output.NumberOfElements == 0) return;
        Rows[] rows = [Rows.Of(values[0]), Rows.Of(values[1])];
        var outputs = Rows.Of(output);
        Tensor?[] factors = [CudaMemory.Float32(weights[0]), CudaMemory.Float32(weights[1])];
        var gates = CudaMemory.Float32(gate);
        bool wide = CudaMemory.Wide(rows[0].Width, outputs) && CudaMemory.Address(factors[0]) % 16 == 0 && CudaMemory.Address(factors[1]) % 16 == 0;
        for (int i = 0; i < 2; i++) wide &= CudaMemory.Wide(rows[i].Width / Math.Max(1, groups[i]), rows[i]);
        int vector = CudaMemory.VectorLength(output.dtype, wide);
        long slices = dValues is null ? rows[0].Count : Math.Clamp(rows[0].Count, 1, MostSlices);
        var arguments = new Arguments
        {
            Gate = CudaMemory.Address(gates), Output = (nint)outputs[0], DGate = CudaMemory.Address(dGate), Rows = rows[0].Count, Slices = slices,
            OutputStride = CudaMemory.Stride(outputs), Epsilon = (float)epsilon, Kind = (int)kind,
        };
        for (int i = 0; i < 2; i++)
        {
            arguments.Values[i] = (nint)rows[i][0];
            arguments.Weights[i] = CudaMemory.Address(factors[i]);
            arguments.Inverse[i] = CudaMemory.Address(inverse[i]);
            arguments.DValues[i] = CudaMemory.Address(dValues?[i]);
            arguments.DWeights[i] = CudaMemory.Address(dWeights?[i]);
            arguments.Widths[i] = rows[i].Width;
            arguments.Groups[i] = groups[i];
            arguments.Strides[i] = CudaMemory.Stride(rows[i]);
        }
        bool plain = wide && gates is null && factors[0] is null && factors[1] is null;
        int shared = sizeof(float) * (groups[0] + groups[1] + (int)(Math.Max(rows[0].Width, rows[1].Width) / vector));
        CudaRuntime.DeviceOf(output).Launch(Source, $"fusion_{(dValues is null ? "forward" : "backward")}_{(plain ? "plain_" : "")}{CudaMemory.Suffix(output.dtype, wide)}", (slices, 1, 1), 256, shared, arguments);
        GC.KeepAlive((rows[0].Tensor, rows[1].Tensor, outputs.Tensor, factors, gates, inverse, dValues, dWeights));
    }
}
