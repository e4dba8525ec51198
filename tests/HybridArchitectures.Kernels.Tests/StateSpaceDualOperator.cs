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
            limit,
            i.GetValueOrDefault("initialState"), layout, chunkSize);

    public override (Tensor Output, Tensor Final) Composed(Tensors i, SequenceLayout? layout = null) =>
        ChunkedStateSpaceDual.Forward(new(i["x"], i["dt"], i["A"], i["B"], i["C"])
        {
            D = i.GetValueOrDefault("D"), DtBias = i.GetValueOrDefault("dtBias"), Softplus = true,
            InitialState = i.GetValueOrDefault("initialState"), Layout = layout,
        });

    /// <summary>
    /// Chunks as one composes them in the activations' type (section 6 of the paper, listing 1): every product of two tensors takes and gives that
    /// type; sums of logarithms and states are float32.
    /// </summary>
    public static (Tensor Output, Tensor Final) Chunked(
        Tensor x, Tensor dt, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? bias, Tensor? initialState, SequenceLayout? layout)
    {
        const long size = 64;
        var type = x.dtype;
        long batch = x.size(0), length = x.size(1), heads = x.size(2), chunks = (length + size - 1) / size, missing = chunks * size - length;
        Tensor Cut(Tensor tensor)
        {
            tensor = SequenceMasks.WithoutPads(tensor, layout);
            return (missing == 0 ? tensor : cat([tensor, zeros([batch, missing, .. tensor.shape[2..]], tensor.dtype, x.device)], 1)).unflatten(
                1, chunks, size);
        }
        var (inputs, keys, queries) = (Cut(x), Cut(SequenceMasks.Spread(B, heads)), Cut(SequenceMasks.Spread(C, heads)));
        var delta = Cut(SequenceMasks.TimeStep(dt.to(ScalarType.Float32), bias?.to(ScalarType.Float32), true, null, layout));
        var logarithms = (delta * A).permute(0, 1, 3, 2);                                          // (B, C, H, Q)
        var order = arange(size, ScalarType.Int64, x.device);
        var between = logarithms.unsqueeze(-1).expand(batch, chunks, heads, size, size).masked_fill(
            order.unsqueeze(1).le(order.unsqueeze(0)), Scalars.Zero).cumsum(-2);
        var hidden = order.unsqueeze(1).lt(order.unsqueeze(0));
        Tensor? documents = layout?.Starts is { } starts ? starts.to(ScalarType.Int64).cumsum(1) : null;
        if (documents is not null)
        {
            if (missing > 0) documents = cat([documents, documents.narrow(1, length - 1, 1).expand(batch, missing)], 1);
            documents = documents.unflatten(1, chunks, size);
            hidden = hidden.logical_or(documents.unsqueeze(-1).ne(documents.unsqueeze(-2))).unsqueeze(2);
        }
        var decays = between.masked_fill(hidden, Scalars.MinusInfinity).exp();
        var added = inputs * delta.to(type).unsqueeze(-1);
        var output = einsum("bchij,bcjhp->bcihp", (einsum("bcihn,bcjhn->bchij", queries, keys) * decays).to(type), added);
        var contributions = einsum("bcjhp,bcjhn->bchpn", (added * decays.select(3, size - 1).permute(0, 1, 3, 2).unsqueeze(-1)).to(type), keys).to(
            ScalarType.Float32);
        var fromStart = logarithms.cumsum(-1);
        if (documents is not null)
        {
            var before = cat([zeros([batch, 1], ScalarType.Int64, x.device), documents.select(2, size - 1).narrow(1, 0, chunks - 1)], 1);
            fromStart = fromStart.masked_fill(documents.ne(before.unsqueeze(-1)).unsqueeze(2), Scalars.MinusInfinity);
        }
        fromStart = fromStart.exp();
        var state = initialState ?? zeros([batch, heads, x.size(3), B.size(3)], ScalarType.Float32, x.device);
        var entering = new List<Tensor>();
        for (long chunk = 0; chunk < chunks; chunk++)
        {
            entering.Add(state);
            state = (state * fromStart.select(1, chunk).select(-1, size - 1).unsqueeze(-1).unsqueeze(-1)).add(
                contributions.select(1, chunk), Scalars.One);
        }
        output = output.add((einsum("bcihn,bchpn->bcihp", queries, stack(entering, 1).to(type)) * fromStart.permute(0, 1, 3, 2).unsqueeze(-1)).to(
            type), Scalars.One);
        if (D is not null) output = output.add(inputs * D.to(type).unsqueeze(-1), Scalars.One);
        return (SequenceMasks.WithoutPads(output.flatten(1, 2).narrow(1, 0, length), layout), state);
    }

    public override Tensor Step(Tensor state, Tensors i) =>
        StateSpaceDual.Step(state, i["x"], i["dt"], i["A"], i["B"], i["C"], i.GetValueOrDefault("D"), i.GetValueOrDefault("dtBias"),
            true);
}
