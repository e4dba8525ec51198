using BenchmarkDotNet.Attributes;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

/// <summary>
/// Against the chunked form over batched matrix products, all chunks at once (the listing of arXiv 2405.21060), with libtorch's gradients.
/// </summary>
public class StateSpaceDualBenchmark : OperatorBenchmark
{
    const int Chunk = 64;
    Tensor x = null!, timeStep = null!, a = null!, b = null!, c = null!;

    /// <summary>batch x length x heads x head size x states; one group.</summary>
    [Params("8x256x4x64x64", "8x256x8x64x32", "1x2048x16x64x128")]
    public string Sizes { get; set; } = "";

    protected override void Prepare()
    {
        var sizes = Sizes.Split('x').Select(long.Parse).ToArray();
        (x, timeStep, a) = (Leaf(sizes[..4]), Leaf(sizes[..3]), Leaf(sizes[2]));
        (b, c) = (Leaf(sizes[0], sizes[1], 1, sizes[4]), Leaf(sizes[0], sizes[1], 1, sizes[4]));
        using var noGrad = no_grad();
        a.abs_().neg_();
        timeStep.abs_();
    }

    protected override Tensor Ours() => StateSpaceDual.Forward(x, timeStep, a, b, c, chunkSize: Chunk).Output;

    protected override Tensor Composed()
    {
        long batch = x.size(0), chunks = x.size(1) / Chunk, heads = x.size(2), headSize = x.size(3), states = b.size(3);
        // (batch, chunk, head, token, ...), then the first three as one
        Tensor Chunked(Tensor tensor) => tensor.reshape(batch, chunks, Chunk, tensor.size(2), -1).transpose(2, 3);
        Tensor Flat(Tensor tensor) => tensor.reshape(batch * chunks * heads, tensor.size(-2), tensor.size(-1));
        var input = Flat(Chunked(x * timeStep.unsqueeze(-1)));
        var (keys, queries) = (Flat(Chunked(b).expand(batch, chunks, heads, Chunk, states)),
            Flat(Chunked(c).expand(batch, chunks, heads, Chunk, states)));
        // (batch, chunk, head, token)
        var sums = Chunked((timeStep * a).unsqueeze(-1)).squeeze(-1).cumsum(-1);
        var later = ones(Chunk, Chunk).triu(1).to(ScalarType.Bool);
        var decays = (sums.unsqueeze(-1) - sums.unsqueeze(-2)).masked_fill(later, Scalars.MinusInfinity).exp();
        var within = bmm(bmm(queries, keys.transpose(1, 2)) * Flat(decays), input);
        var toEnd = (sums.narrow(3, Chunk - 1, 1) - sums).exp();
        var made = bmm((keys * toEnd.reshape(-1, Chunk, 1)).transpose(1, 2), input).reshape(batch, chunks, heads, states, headSize);

        // from chunk to chunk, by the same masked decays
        var steps = cat([zeros(batch, heads, 1), sums.select(3, Chunk - 1).transpose(1, 2)], 2).cumsum(-1);                // (batch, head, chunk + 1)
        var after = ones(chunks, chunks).triu(0).to(ScalarType.Bool);
        var carry = (steps.narrow(2, 0, chunks).unsqueeze(-1) - steps.narrow(2, 1, chunks).unsqueeze(-2)).masked_fill(
            after, Scalars.MinusInfinity).exp();
        var before = bmm(carry.reshape(batch * heads, chunks, chunks), made.transpose(1, 2).reshape(batch * heads, chunks, -1))
            .reshape(batch, heads, chunks, states, headSize).transpose(1, 2).reshape(batch * chunks * heads, states, headSize);
        var across = bmm(queries * sums.exp().reshape(-1, Chunk, 1), before);
        return (within + across).reshape(batch, chunks, heads, Chunk, headSize).transpose(2, 3).reshape(batch, -1, heads, headSize);
    }
}
