using System.Numerics;
using System.Runtime.CompilerServices;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>
/// Fuses two branches on a GPU with the kernel in <c>BranchFusion.cu</c>. It saves the inputs and 1 / rms of every part for the gradient.
/// </summary>
static unsafe class BranchFusionCuda
{
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
        public Pair<long> Parts;
        public Pair<int> Shifts;
        public float Epsilon;
        public int Kind;
    }

    // DValue is null in forward
    readonly record struct Branch(Tensor Value, Tensor? Weight, int Groups, Tensor? Inverse, Tensor? DValue);

    public static Tensor Apply(FusionBranch first, FusionBranch second, FusionKind kind, Tensor? gate, double epsilon) =>
        Autograd.Apply([first.Value, second.Value, first.Weight, second.Weight, gate],
            context =>
            {
                var a = first.Value;
                var sizes = new long[a.dim()];
                for (int i = 0; i < sizes.Length; i++) sizes[i] = a.size(i);
                if (kind == FusionKind.Concat) sizes[^1] += second.Value.size(-1);
                var output = CudaMemory.New(a, a.dtype, sizes);
                Branch Of(FusionBranch branch) => new(branch.Value, branch.Weight, branch.Groups,
                    branch.Groups > 0 ? CudaMemory.New(a, ScalarType.Float32, a.NumberOfElements / a.size(-1), branch.Groups) : null, null);
                Branch[] branches = [Of(first), Of(second)];
                Run(branches, kind, gate, output, epsilon);
                context.Save(a, second.Value, first.Weight, second.Weight, gate, branches[0].Inverse, branches[1].Inverse);
                return [output];
            },
            context =>
            {
                var saved = context.Saved;
                Branch Of(int i, int groups) => new(saved[i]!, saved[2 + i], groups, saved[5 + i], CudaMemory.NewLike(saved[i]!));
                Branch[] branches = [Of(0, first.Groups), Of(1, second.Groups)];
                var (dWeights, dGate) = Run(branches, kind, saved[4], context.Gradients[0]!.to(saved[0]!.dtype), epsilon);
                var sums = PartialSumsCuda.Compute((dWeights[0], saved[2]), (dWeights[1], saved[3]), (dGate, saved[4]));
                return [branches[0].DValue, branches[1].DValue, sums[0], sums[1], sums[2]];
            })[0];

    // forward writes output; backward reads it as the gradient, and returns gradients of weights and gate for every slice of rows
    static (Tensor?[] Weights, Tensor? Gate) Run(Branch[] branches, FusionKind kind, Tensor? gate, Tensor output, double epsilon)
    {
        if (output.NumberOfElements == 0) return ([Zeros(branches[0].Weight), Zeros(branches[1].Weight)], Zeros(gate));
        if (kind != FusionKind.Concat) return Launch(branches, kind, gate, output, epsilon);
        // branches next to each other have nothing in common
        long width = branches[0].Value.size(-1);
        var first = Launch(branches[..1], FusionKind.Add, null, output.narrow(-1, 0, width), epsilon);
        var second = Launch(branches[1..], FusionKind.Add, null, output.narrow(-1, width, branches[1].Value.size(-1)), epsilon);
        return ([first.Weights[0], second.Weights[0]], null);
    }

    static Tensor? Zeros(Tensor? like) => like is null ? null : zeros([1, like.size(0)], ScalarType.Float32, like.device);

    static (Tensor?[] Weights, Tensor? Gate) Launch(ReadOnlySpan<Branch> branches, FusionKind kind, Tensor? gate, Tensor output, double epsilon)
    {
        var outputs = Rows.From(output);
        var gates = CudaMemory.Float32(gate);
        var (values, weights) = (new Rows[branches.Length], new Tensor?[branches.Length]);
        Span<int> groups = stackalloc int[branches.Length];
        bool wide = CudaMemory.Wide(outputs.Width, outputs) && CudaMemory.Address(gates) % 16 == 0, plain = gate is null,
            backward = branches[0].DValue is not null;
        for (int i = 0; i < branches.Length; i++)
        {
            (values[i], weights[i], groups[i]) = (Rows.From(branches[i].Value), CudaMemory.Float32(branches[i].Weight), branches[i].Groups);
            wide &= CudaMemory.Wide(values[i].Width / Math.Max(1, groups[i]), values[i]) && CudaMemory.Address(weights[i]) % 16 == 0;
            plain &= weights[i] is null;
        }
        int vector = CudaMemory.VectorLength(output.dtype, wide);
        var device = CudaRuntime.DeviceOf(output);
        var cut = BranchFusionLaunchConfiguration.For(backward, plain, wide, outputs.Width / vector, groups, device.SharedMemory);
        long slices = cut.Slices(outputs.Count);
        Tensor? Partial(Tensor? like) => backward && like is not null ? CudaMemory.New(output, ScalarType.Float32, slices, like.size(0)) : null;
        var dGate = Partial(gate);
        var dWeights = new Tensor?[branches.Length];
        var arguments = new Arguments
        {
            Gate = CudaMemory.Address(gates), Output = (nint)outputs[0], DGate = CudaMemory.Address(dGate), Rows = outputs.Count, Slices = slices,
            OutputStride = CudaMemory.Stride(outputs), Epsilon = (float)epsilon, Kind = (int)kind,
        };
        for (int i = 0; i < branches.Length; i++)
        {
            dWeights[i] = Partial(branches[i].Weight);
            arguments.Values[i] = (nint)values[i][0];
            arguments.Weights[i] = CudaMemory.Address(weights[i]);
            arguments.Inverse[i] = CudaMemory.Address(branches[i].Inverse);
            arguments.DValues[i] = CudaMemory.Address(branches[i].DValue);
            arguments.DWeights[i] = CudaMemory.Address(dWeights[i]);
            arguments.Widths[i] = values[i].Width;
            arguments.Groups[i] = groups[i];
            arguments.Strides[i] = CudaMemory.Stride(values[i]);
            arguments.Parts[i] = values[i].Width / Math.Max(1, groups[i]);
            arguments.Shifts[i] = BitOperations.Log2((ulong)(arguments.Parts[i] / vector));
        }
        device.Launch(cut.Source(output.dtype, wide), "fuse", (slices, cut.Tiles, 1), cut.Threads, cut.Shared, arguments);
        GC.KeepAlive((values, outputs.Tensor, weights, gates));
        return (dWeights, dGate);
    }
}
