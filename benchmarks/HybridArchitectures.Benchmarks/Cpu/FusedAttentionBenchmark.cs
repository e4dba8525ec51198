using BenchmarkDotNet.Attributes;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

/// <summary>Against TorchSharp's scaled_dot_product_attention, which wants equal head counts, and a mask where there is a window.</summary>
public class FusedAttentionBenchmark : OperatorBenchmark
{
    const int Heads = 8, Sets = 2, Size = 32, Length = 512;
    Tensor query = null!, key = null!, value = null!, positions = null!, documents = null!;

    /// <summary>causal, window (of 64), packed (documents of 128) or decode (one query).</summary>
    [Params("causal", "window", "packed", "decode")]
    public string Case { get; set; } = "";

    protected override void Prepare()
    {
        (query, key, value) = (Leaf(8, Case == "decode" ? 1 : Length, Heads, Size), Leaf(8, Length, Sets, Size), Leaf(8, Length, Sets, Size));
        using var scope = NewDisposeScope();
        var columns = arange(Length, ScalarType.Int64);
        positions = columns.remainder(Scalars.From(128)).to(ScalarType.Int64).expand(8, Length).contiguous().DetachFromDisposeScope();
        documents = columns.div(Scalars.From(128), RoundingMode.floor).to(ScalarType.Int64).expand(8, Length).contiguous().DetachFromDisposeScope();
    }

    protected override Tensor Ours() => Case == "packed"
        ? FusedAttention.Forward(query, key, value, positions: new(positions, positions, documents, documents))
        : FusedAttention.Forward(query, key, value, window: Case == "window" ? 64 : null);

    protected override Tensor Composed()
    {
        Tensor Every(Tensor x) => x.repeat_interleave(Heads / Sets, 2).transpose(1, 2);
        Tensor? mask = null;
        var columns = arange(Length, ScalarType.Int64);
        if (Case == "window")
        {
            var distance = columns.unsqueeze(-1) - columns;
            mask = distance.ge(Scalars.Zero).logical_and(distance.lt(Scalars.From(64)));
        }
        if (Case == "packed")
            mask = columns.le(columns.unsqueeze(-1)).logical_and(documents.unsqueeze(-1).eq(documents.unsqueeze(-2))).unsqueeze(1);
        return nn.functional.scaled_dot_product_attention(query.transpose(1, 2), Every(key), Every(value), mask, 0, Case == "causal").transpose(1, 2);
    }
}
