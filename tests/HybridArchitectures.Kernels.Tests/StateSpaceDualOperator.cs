using HybridArchitectures.Kernels.Composed;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

public sealed class StateSpaceDualOperator : SequenceOperator
{
    // heads, head size, groups, state size
    static readonly (long H, long P, long G, long N)[] Sizes =
        [(4, 8, 2, 16), (3, 5, 3, 7), (4, 64, 1, 64), (2, 32, 1, 96), (8, 16, 2, 128), (5, 1, 1, 1), (2, 128, 2, 24), (10, 8, 1, 8), (4, 24, 4, 256)];

    public override int Variants => Sizes.Length;

    public override IReadOnlyList<string> Timed => ["x", "dt", "B", "C"];

    public override IReadOnlyList<string> Optional => ["D", "dtBias", "initialState"];

    public override KernelBackend BackendFor(Tensor x) => StateSpaceDual.BackendFor(x);

    // tensor cores take decayed bfloat16 inputs rounded to bfloat16: 2^-9 each, as the paper's implementation does
    public override double StateTolerance(Tensor output) =>
        output.dtype == ScalarType.BFloat16 && BackendFor(output) == KernelBackend.Cuda ? 4e-3 : Tolerance;

    public override Tensors Inputs(long batch, long length, int variant = 0) =>
        Inputs(batch, length, Sizes[variant].H, Sizes[variant].P, Sizes[variant].G, Sizes[variant].N);

    public static Tensors Inputs(long batch, long length, long h, long p, long g, long n)
    {
        manual_seed(7 + Draw);
        return new()
        {
            ["x"] = randn([batch, length, h, p], ScalarType.Float64),
            ["dt"] = randn([batch, length, h], ScalarType.Float64) - 1.5,
            ["A"] = -rand([h], ScalarType.Float64) * 2 - 0.01,
            ["B"] = randn([batch, length, g, n], ScalarType.Float64),
            ["C"] = randn([batch, length, g, n], ScalarType.Float64),
            ["D"] = randn([h], ScalarType.Float64),
            ["dtBias"] = randn([h], ScalarType.Float64) * 0.3,
            ["initialState"] = randn([batch, h, p, n], ScalarType.Float64),
        };
    }

    public override (Tensor Output, Tensor Final) Forward(Tensors inputs, SequenceLayout? layout = null) => Forward(inputs, layout, 64);

    public static (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout, int chunkSize, (double, double)? limit = null) =>
        StateSpaceDual.Forward(i["x"], i["dt"], i["A"], i["B"], i["C"], i.GetValueOrDefault("D"), i.GetValueOrDefault("dtBias"), true,
            limit, i.GetValueOrDefault("initialState"), layout, chunkSize);

    public override (Tensor Output, Tensor Final) Composed(Tensors i, SequenceLayout? layout = null) =>
        ChunkedStateSpaceDual.Forward(new(i["x"], i["dt"], i["A"], i["B"], i["C"])
        {
            D = i.GetValueOrDefault("D"), DtBias = i.GetValueOrDefault("dtBias"), Softplus = true,
            InitialState = i.GetValueOrDefault("initialState"), Layout = layout,
        });

    /// <summary>
    /// Computes chunks as they are composed in the dtype of the activations (section 6 of the paper, listing 1): every product of two tensors has
    /// operands and a result of that dtype. Sums of logarithms and states are float32.
    /// </summary>
    public static (Tensor Output, Tensor Final) Chunked(
        Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? bias, Tensor? initialState, SequenceLayout? layout)
    {
        var type = x.dtype;
        long batch = x.size(0), length = x.size(1), heads = x.size(2);
        var (inputs, keys, queries) = (Chunks(x, layout), Chunks(SequenceMasks.Spread(B, heads), layout),
            Chunks(SequenceMasks.Spread(C, heads), layout));
        var steps = Chunks(SequenceMasks.TimeStep(dt.to(ScalarType.Float32), bias?.to(ScalarType.Float32), true, null, layout), layout);
        var (decays, fromStart) = Decays((steps * A).permute(0, 1, 3, 2), layout, length);
        var added = inputs * steps.to(type).unsqueeze(-1);
        var output = einsum("bchij,bcjhp->bcihp", (einsum("bcihn,bcjhn->bchij", queries, keys) * decays).to(type), added);
        var toEnd = decays.select(3, Size - 1).permute(0, 1, 3, 2).unsqueeze(-1);
        var contributions = einsum("bcjhp,bcjhn->bchpn", (added * toEnd).to(type), keys).to(ScalarType.Float32);
        var state = initialState ?? zeros([batch, heads, x.size(3), B.size(3)], ScalarType.Float32, x.device);
        var entering = new List<Tensor>();
        for (long chunk = 0; chunk < inputs.size(1); chunk++)
        {
            entering.Add(state);
            state = (state * fromStart.select(1, chunk).select(-1, Size - 1).unsqueeze(-1).unsqueeze(-1)).add(
                contributions.select(1, chunk), Scalars.One);
        }
        var fromStates = einsum("bcihn,bchpn->bcihp", queries, stack(entering, 1).to(type)) * fromStart.permute(0, 1, 3, 2).unsqueeze(-1);
        output = output.add(fromStates.to(type), Scalars.One);
        if (D is not null) output = output.add(inputs * D.to(type).unsqueeze(-1), Scalars.One);
        return (SequenceMasks.WithoutPads(output.flatten(1, 2).narrow(1, 0, length), layout), state);
    }

    const long Size = 64;

    // (batch, length, ...) to (batch, chunks, 64, ...)
    static Tensor Chunks(Tensor tensor, SequenceLayout? layout)
    {
        long batch = tensor.size(0), length = tensor.size(1), chunks = (length + Size - 1) / Size, missing = chunks * Size - length;
        tensor = SequenceMasks.WithoutPads(tensor, layout);
        if (missing > 0) tensor = cat([tensor, zeros([batch, missing, .. tensor.shape[2..]], tensor.dtype, tensor.device)], 1);
        return tensor.unflatten(1, chunks, Size);
    }

    // decays from each token of a chunk to each later one, and from the chunk's start to each token; zero across documents
    static (Tensor Decays, Tensor FromStart) Decays(Tensor logarithms, SequenceLayout? layout, long length)
    {
        long batch = logarithms.size(0), chunks = logarithms.size(1), heads = logarithms.size(2);
        var order = arange(Size, ScalarType.Int64, logarithms.device);
        var between = logarithms.unsqueeze(-1).expand(batch, chunks, heads, Size, Size).masked_fill(
            order.unsqueeze(1).le(order.unsqueeze(0)), Scalars.Zero).cumsum(-2);
        var hidden = order.unsqueeze(1).lt(order.unsqueeze(0));
        var fromStart = logarithms.cumsum(-1);
        if (layout?.Starts is { } starts)
        {
            var documents = starts.to(ScalarType.Int64).cumsum(1);
            long missing = chunks * Size - length;
            if (missing > 0) documents = cat([documents, documents.narrow(1, length - 1, 1).expand(batch, missing)], 1);
            documents = documents.unflatten(1, chunks, Size);
            hidden = hidden.logical_or(documents.unsqueeze(-1).ne(documents.unsqueeze(-2))).unsqueeze(2);
            var before = cat([zeros([batch, 1], ScalarType.Int64, starts.device), documents.select(2, Size - 1).narrow(1, 0, chunks - 1)], 1);
            fromStart = fromStart.masked_fill(documents.ne(before.unsqueeze(-1)).unsqueeze(2), Scalars.MinusInfinity);
        }
        return (between.masked_fill(hidden, Scalars.MinusInfinity).exp(), fromStart.exp());
    }

    public override Tensor Step(Tensor state, Tensors i) =>
        StateSpaceDual.Step(state, i["x"], i["dt"], i["A"], i["B"], i["C"], i.GetValueOrDefault("D"), i.GetValueOrDefault("dtBias"),
            true);
}
