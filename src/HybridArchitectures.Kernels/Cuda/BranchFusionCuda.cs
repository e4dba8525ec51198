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
    internal struct Pair<T>
    {
        T first;
    }

    internal struct Arguments
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

    // InverseFirst, InverseSecond: 1 / root mean square of each group of a branch; null without a norm
    sealed record Saved(BranchFusionInputs Inputs, Tensor? InverseFirst, Tensor? InverseSecond) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(Inputs.Map(replace), replace(InverseFirst), replace(InverseSecond));
    }

    public static Tensor Apply(BranchFusionInputs inputs) => Autograd.Apply<Saved>(inputs.Differentiable, _ =>
    {
        var value = inputs.First.Value;
        var sizes = new long[value.dim()];
        for (int i = 0; i < sizes.Length; i++) sizes[i] = value.size(i);
        if (inputs.Kind == FusionKind.Concat) sizes[^1] += inputs.Second.Value.size(-1);
        var output = CudaMemory.New(value, value.dtype, sizes);
        Branch Forward(FusionBranch branch) => new(branch.Value, branch.Weight, branch.Groups,
            branch.Groups > 0 ? CudaMemory.New(value, ScalarType.Float32, value.NumberOfElements / value.size(-1), branch.Groups) : null, null);
        Branch[] branches = [Forward(inputs.First), Forward(inputs.Second)];
        Run(branches, inputs.Kind, inputs.Gate, output, inputs.Epsilon);
        return ([output], new Saved(inputs, branches[0].Inverse, branches[1].Inverse));
    }, Backward)[0];

    static Tensor?[] Backward(BackwardContext context, Saved saved)
    {
        var (inputs, first, second) = (saved.Inputs, saved.Inputs.First, saved.Inputs.Second);
        Branch[] branches =
        [
            new(first.Value, first.Weight, first.Groups, saved.InverseFirst, CudaMemory.NewLike(first.Value)),
            new(second.Value, second.Weight, second.Groups, saved.InverseSecond, CudaMemory.NewLike(second.Value)),
        ];
        var gradient = context.Gradients[0]!.to(first.Value.dtype);
        var (dWeights, dGate) = Run(branches, inputs.Kind, inputs.Gate, gradient, inputs.Epsilon);
        var sums = PartialSumsCuda.Compute((dWeights[0], first.Weight), (dWeights[1], second.Weight), (dGate, inputs.Gate));
        return [branches[0].DValue, branches[1].DValue, sums[0], sums[1], sums[2]];
    }

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
        var configuration = BranchFusionLaunchConfiguration.For(backward, plain, wide, outputs.Width / vector, groups, device.SharedMemory);
        long slices = configuration.Slices(outputs.Count);
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
            arguments.Weights[i] = CudaMemory.Address(weights[i]);
            arguments.DWeights[i] = CudaMemory.Address(dWeights[i]);
            SetBranch(ref arguments, i, branches[i], values[i], vector);
        }
        device.Launch(configuration.Variant(output.dtype, wide), "fuse", (slices, configuration.Tiles, 1), configuration.Threads,
            configuration.Shared, arguments);
        GC.KeepAlive((values, outputs.Tensor, weights, gates));
        return (dWeights, dGate);
    }

    static void SetBranch(ref Arguments arguments, int i, Branch branch, Rows values, int vector)
    {
        arguments.Values[i] = (nint)values[0];
        arguments.Inverse[i] = CudaMemory.Address(branch.Inverse);
        arguments.DValues[i] = CudaMemory.Address(branch.DValue);
        arguments.Widths[i] = values.Width;
        arguments.Groups[i] = branch.Groups;
        arguments.Strides[i] = CudaMemory.Stride(values);
        arguments.Parts[i] = values.Width / Math.Max(1, branch.Groups);
        arguments.Shifts[i] = BitOperations.Log2((ulong)(arguments.Parts[i] / vector));
    }
}
