using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;
using Tensors = System.Collections.Generic.Dictionary<string, TorchSharp.torch.Tensor>;

namespace HybridArchitectures.Kernels.Tests;

/// <summary>Describes the gated delta rule for the tests.</summary>
public sealed class GatedDeltaRuleOperator : RecurrentOperator
{
    // heads, value size, groups, key size
    static readonly (long H, long V, long G, long K)[] Sizes = [(4, 10, 2, 8), (3, 5, 3, 7), (2, 16, 1, 32), (5, 1, 1, 1), (4, 24, 2, 16)];

    public override int Variants => Sizes.Length;

    public override IReadOnlyList<string> Timed => ["query", "key", "value", "decay", "strength"];

    public override int ChunkSize => 64;

    public override KernelBackend BackendFor(Tensor x) => GatedDeltaRule.BackendFor(x);

    public override OperatorOptions Select(KernelBackend backend) => new() { GatedDeltaRuleBackend = backend };

    // tensor cores take states and errors rounded to bfloat16: 2^-9 each
    public override double StateTolerance(Tensor output) =>
        output.dtype == ScalarType.BFloat16 && BackendFor(output) == KernelBackend.Cuda ? 4e-3 : Tolerance;

    public override Tensors Inputs(long batch, long length, int variant = 0) =>
        Inputs(batch, length, Sizes[variant].H, Sizes[variant].V, Sizes[variant].G, Sizes[variant].K);

    public static Tensors Inputs(long batch, long length, long h, long v, long g, long k)
    {
        manual_seed(7 + Draw);
        var key = randn([batch, length, g, k], ScalarType.Float64);
        return new()
        {
            ["query"] = randn([batch, length, g, k], ScalarType.Float64),
            ["key"] = key / key.norm(-1, keepdim: true),
            ["value"] = randn([batch, length, h, v], ScalarType.Float64),
            ["decay"] = -rand([batch, length, h], ScalarType.Float64),
            ["strength"] = rand([batch, length, h], ScalarType.Float64),
            ["initialState"] = randn([batch, h, k, v], ScalarType.Float64),
        };
    }

    public override (Tensor Output, Tensor Final) Forward(Tensors i, SequenceLayout? layout, int chunkSize) =>
        GatedDeltaRule.Forward(i["query"], i["key"], i["value"], i["decay"], i["strength"], i.GetValueOrDefault("initialState"), layout, chunkSize);

    public override Tensor Step(Tensor state, Tensors i) => GatedDeltaRule.Step(state, i["query"], i["key"], i["value"], i["decay"], i["strength"]);

    public override (Tensor Output, Tensor Final) Reference(Tensors i, SequenceLayout? layout) => GatedDeltaRuleReference.Forward(
        new(i["query"], i["key"], i["value"], i["decay"], i["strength"]) { InitialState = i.GetValueOrDefault("initialState"), Layout = layout });

    /// <summary>
    /// Computes chunks as they are composed in the dtype of the activations (arXiv 2412.06464, section 3.3): every product of two tensors has
    /// operands and a result of that dtype. Sums of logarithms, the triangular systems and states are float32.
    /// </summary>
    public static (Tensor Output, Tensor Final) Rounded(Tensors i, SequenceLayout? layout)
    {
        var value = i["value"];
        var type = value.dtype;
        long batch = value.size(0), length = value.size(1), heads = value.size(2);
        var (queries, keys) = (Chunks(SequenceMasks.Spread(i["query"], heads), layout), Chunks(SequenceMasks.Spread(i["key"], heads), layout));
        var (values, strengths) = (Chunks(value, layout), Chunks(i["strength"].to(ScalarType.Float32), layout));
        var (weights, fromStart) = Decays(Chunks(i["decay"].to(ScalarType.Float32), layout), layout, length);
        var later = Order(value.device).unsqueeze(1).gt(Order(value.device).unsqueeze(0));
        var lower = (einsum("cbhik,cbhjk->cbhij", keys, keys) * weights * strengths.unsqueeze(-1)).masked_fill(later.logical_not(), Scalars.Zero);
        var solved = linalg.inv(lower + eye(Size, dtype: ScalarType.Float32, device: value.device)).to(type);
        var scores = (einsum("cbhik,cbhjk->cbhij", queries, keys) * weights).to(type);
        var writing = (keys * weights.select(3, Size - 1).unsqueeze(-1)).to(type);
        var state = i.GetValueOrDefault("initialState") ?? zeros([batch, heads, keys.size(-1), values.size(-1)], ScalarType.Float32, value.device);
        var outputs = new Tensor[values.size(0)];
        for (int c = 0; c < outputs.Length; c++)
        {
            var before = state.to(type);
            var missing = ((values[c] - einsum("bhik,bhkv->bhiv", keys[c], before) * fromStart[c]) * strengths[c].unsqueeze(-1)).to(type);
            var written = einsum("bhij,bhjv->bhiv", solved[c], missing);
            outputs[c] = (einsum("bhik,bhkv->bhiv", queries[c], before) * fromStart[c]).add(einsum("bhij,bhjv->bhiv", scores[c], written),
                Scalars.One).to(type);
            state = (state * fromStart[c].select(2, Size - 1).unsqueeze(-1)).add(einsum("bhik,bhiv->bhkv", writing[c], written), Scalars.One);
        }
        var output = stack(outputs, 1).transpose(2, 3).flatten(1, 2).narrow(1, 0, length);
        return (SequenceMasks.WithoutPads(output, layout), state);
    }

    const long Size = 64;

    static Tensor Order(Device device) => arange(Size, ScalarType.Int64, device);

    // (batch, length, heads, ...) to (chunks, batch, heads, 64, ...)
    static Tensor Chunks(Tensor tensor, SequenceLayout? layout)
    {
        long batch = tensor.size(0), length = tensor.size(1), chunks = (length + Size - 1) / Size;
        tensor = SequenceMasks.WithoutPads(tensor, layout);
        if (chunks * Size > length)
            tensor = cat([tensor, zeros([batch, chunks * Size - length, .. tensor.shape[2..]], tensor.dtype, tensor.device)], 1);
        return tensor.unflatten(1, chunks, Size).transpose(2, 3).transpose(0, 1);
    }

    // decays from each token of a chunk to each later one, and from the chunk's start to each token; zero across documents
    static (Tensor Weights, Tensor FromStart) Decays(Tensor logarithms, SequenceLayout? layout, long length)
    {
        long chunks = logarithms.size(0), batch = logarithms.size(1), heads = logarithms.size(2);
        var order = Order(logarithms.device);
        var (hidden, later) = (order.unsqueeze(1).lt(order.unsqueeze(0)), order.unsqueeze(1).gt(order.unsqueeze(0)));
        var between = logarithms.unsqueeze(-1).expand(chunks, batch, heads, Size, Size).masked_fill(later.logical_not(), Scalars.Zero).cumsum(-2);
        var fromStart = logarithms.cumsum(-1);
        if (layout?.Starts is { } starts)
        {
            var started = cat([starts.to(ScalarType.Int64), zeros([batch, chunks * Size - length], ScalarType.Int64, starts.device)], 1)
                .unflatten(1, chunks, Size).cumsum(2).transpose(0, 1).unsqueeze(2);                           // (chunks, batch, 1, 64)
            hidden = hidden.logical_or(started.unsqueeze(-1).ne(started.unsqueeze(-2)));
            fromStart = fromStart.masked_fill(started.gt(Scalars.Zero), Scalars.MinusInfinity);
        }
        return (between.masked_fill(hidden, Scalars.MinusInfinity).exp(), fromStart.exp().unsqueeze(-1));
    }
}
