using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Cpu;

/// <summary>Contains the smaller operators, each with the composition of TorchSharp's operators that a user would write.</summary>
static class CpuOperators
{
    public static IEnumerable<Func<CpuRatio>> Cases(CpuMachine machine, bool backward)
    {
        yield return () => Norm(machine, backward);
        yield return () => GatedNorm(machine, backward);
        yield return () => Embedding(machine, backward);
        yield return () => Gated(machine, backward);
        yield return () => WindowAttention(machine, backward);
        yield return () => Loss(machine, backward);
    }

    static CpuRatio Case(
        string name, string sizes, bool backward, Func<Tensor> ours, Func<Tensor> composed, (double Ms, string Text) limit) =>
        new($"{name}, {(backward ? "forward + backward" : "forward")}", sizes, "composed operators", () => CpuRatios.Run(ours, backward),
            () => CpuRatios.Run(composed, backward), limit.Ms, limit.Text);

    static Tensor InverseRms(Tensor x) => rsqrt(x.square().mean([-1], true).add(Scalars.From(1e-5), Scalars.One));

    static CpuRatio Norm(CpuMachine machine, bool backward)
    {
        const long Rows = 4096, Width = 256;
        Tensor x = CpuRatios.Leaf(Rows, Width), weight = CpuRatios.Leaf(Width);
        return Case("RMS norm", $"{Rows} x {Width}", backward, () => RmsNorm.Forward(x, weight), () => x * InverseRms(x) * weight,
            machine.Limit(4.0 * Rows * Width * (backward ? 5 : 2), 0, 0));
    }

    static CpuRatio GatedNorm(CpuMachine machine, bool backward)
    {
        const long Rows = 4096, Width = 512;
        Tensor x = CpuRatios.Leaf(Rows, Width), gate = CpuRatios.Leaf(Rows, Width), weight = CpuRatios.Leaf(Width);
        Tensor Composed()
        {
            var gated = x * nn.functional.silu(gate);
            return gated * InverseRms(gated) * weight;
        }
        double elements = Rows * Width;
        return Case("gated RMS norm", $"{Rows} x {Width}", backward, () => GatedRmsNorm.Forward(x, gate, weight), Composed,
            machine.Limit(4 * elements * (backward ? 8 : 3), 0, elements * (backward ? 2 : 1)));
    }

    static CpuRatio Embedding(CpuMachine machine, bool backward)
    {
        const long Batch = 8, Length = 512, Heads = 8, Size = 64;
        var x = CpuRatios.Leaf(Batch, Length, Heads, Size);
        var (cosine, sine) = Rotary.Table(arange(Length, ScalarType.Int64), Rotary.InverseFrequencies((int)Size, 500_000));
        Tensor Composed()
        {
            var (cos, sin) = (cat([cosine, cosine], -1).unsqueeze(2), cat([sine, sine], -1).unsqueeze(2));
            return x * cos + cat([x.narrow(-1, Size / 2, Size / 2).neg(), x.narrow(-1, 0, Size / 2)], -1) * sin;
        }
        return Case("rotary embedding", $"B{Batch} L{Length} H{Heads} D{Size}", backward, () => Rotary.Forward(x, cosine, sine), Composed,
            machine.Limit(4.0 * Batch * Length * Heads * Size * (backward ? 4 : 2), 0, 0));
    }

    static CpuRatio Gated(CpuMachine machine, bool backward)
    {
        const long Rows = 4096, Width = 768;
        Tensor gate = CpuRatios.Leaf(Rows, Width), up = CpuRatios.Leaf(Rows, Width);
        double elements = Rows * Width;
        return Case("SwiGLU", $"{Rows} x {Width}", backward, () => SwiGlu.Forward(gate, up), () => nn.functional.silu(gate) * up,
            machine.Limit(4 * elements * (backward ? 8 : 3), 0, elements * (backward ? 2 : 1)));
    }

    static CpuRatio WindowAttention(CpuMachine machine, bool backward)
    {
        const long Batch = 8, Length = 512, Heads = 8, KeyHeads = 2, Size = 32;
        const int Window = 64;
        Tensor query = CpuRatios.Leaf(Batch, Length, Heads, Size), key = CpuRatios.Leaf(Batch, Length, KeyHeads, Size),
            value = CpuRatios.Leaf(Batch, Length, KeyHeads, Size);
        Tensor Composed()
        {
            Tensor PerQueryHead(Tensor shared) => shared.repeat_interleave(Heads / KeyHeads, 2).transpose(1, 2);
            var columns = arange(Length, ScalarType.Int64);
            var distance = columns.unsqueeze(-1) - columns;
            var mask = distance.ge(Scalars.Zero).logical_and(distance.lt(Scalars.From(Window)));
            return nn.functional.scaled_dot_product_attention(query.transpose(1, 2), PerQueryHead(key), PerQueryHead(value), mask).transpose(1, 2);
        }
        double scores = (double)Batch * Heads * Length * Window;
        return Case($"attention, window {Window}", $"B{Batch} L{Length} H{Heads}/{KeyHeads} D{Size}", backward,
            () => FusedAttention.Forward(query, key, value, window: Window), Composed,
            machine.Limit(0, 4 * scores * Size * (backward ? 3.5 : 1), scores * (backward ? 2 : 1)));
    }

    // one token over a full cache
    public static CpuRatio AttentionStep(CpuMachine machine, ScalarType type)
    {
        const long Keys = 8192, Heads = 32, KeyHeads = 8, Size = 64;
        Tensor New(long tokens, long heads) => randn(1, tokens, heads, Size).to(type);
        Tensor query = New(1, Heads), keys = New(Keys, KeyHeads), values = New(Keys, KeyHeads), lengths = tensor(new[] { (int)Keys });
        var limit = machine.Limit(2.0 * Keys * KeyHeads * Size * keys.ElementSize, 4.0 * Keys * Heads * Size, Keys * Heads);
        return new("attention, one token over a cache", $"B1 S{Keys} H{Heads}/{KeyHeads} D{Size}, {type}", "libtorch, grouped heads",
            () => CpuRatios.Run(() => AttentionDecode.Forward(query, keys, values, lengths), false),
            () => CpuRatios.Run(() => FusedAttention.Forward(query, keys, values), false), limit.Ms, limit.Text);
    }

    static CpuRatio Loss(CpuMachine machine, bool backward)
    {
        const long Tokens = 512, Width = 192, Classes = 32_768;
        Tensor hidden = CpuRatios.Leaf(Tokens, Width), weight = CpuRatios.Leaf(Classes, Width);
        var targets = randint(0, Classes, [Tokens], ScalarType.Int64);
        return Case("linear + cross entropy", $"{Tokens} tokens, {Width} x {Classes}", backward,
            () => LinearCrossEntropy.Forward(hidden, weight, targets),
            () => nn.functional.cross_entropy(nn.functional.linear(hidden, weight), targets),
            machine.Limit(0, 2.0 * Tokens * Width * Classes * (backward ? 3 : 1), Tokens * Classes));
    }
}
