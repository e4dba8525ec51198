using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Contains the checks of the decoding kernels under emulation and on a GPU.</summary>
static class AttentionDecodeChecks
{
    /// <summary>Describes the sizes of a case, and how its scores are changed.</summary>
    public sealed record Case(long Queries, long Capacity, long Heads, long KeyHeads, long Size, long ValueSize)
    {
        public int? Window { get; init; }
        public int Sinks { get; init; }
        public bool Ring { get; init; }
        public double? Softcap { get; init; }
        public bool Logits { get; init; }
        public double? Scale { get; init; }
        public int[] Lengths { get; init; } = [];
    }

    public sealed record Inputs(Tensor Query, Tensor Keys, Tensor Values, Tensor Lengths, Tensor? Logits);

    /// <summary>Returns random inputs in float64. Slots that no row has reached contain NaN.</summary>
    public static Inputs Random(Case one, Device device)
    {
        long batch = one.Lengths.Length;
        Tensor New(params long[] size) => randn(size, ScalarType.Float64, device);
        var (keys, values) = (New(batch, one.Capacity, one.KeyHeads, one.Size), New(batch, one.Capacity, one.KeyHeads, one.ValueSize));
        for (int row = 0; row < batch; row++)
            if (one.Lengths[row] < one.Capacity)
                foreach (var cache in new[] { keys, values })
                    cache.narrow(0, row, 1).narrow(1, one.Lengths[row], one.Capacity - one.Lengths[row]).fill_(Scalars.From(double.NaN));
        return new(New(batch, one.Queries, one.Heads, one.Size), keys, values, tensor(one.Lengths, ScalarType.Int32, device: device),
            one.Logits ? New(one.Heads) : null);
    }

    public static Tensor Decode(Case one, Inputs inputs, ScalarType type)
    {
        using var noGrad = no_grad();
        Tensor As(Tensor x) => x.to(type);
        return AttentionDecode.Forward(As(inputs.Query), As(inputs.Keys), As(inputs.Values), inputs.Lengths, one.Scale, one.Window,
            one.Sinks, one.Ring, one.Softcap, inputs.Logits?.to(ScalarType.Float32));
    }

    /// <summary>Calls that share a workspace leave it as they found it.</summary>
    public static void CallsShareAWorkspace(Device device, ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var workspace = new AttentionDecodeWorkspace(3, 8, device);
        foreach (long queries in new long[] { 1, 8, 3 })
        {
            var one = new Case(queries, 400, 8, 2, 64, 64) { Lengths = [390, 77, 400] };
            var inputs = Random(one, device);
            var expected = Decode(one, inputs, type);
            for (int i = 0; i < 3; i++)
                Assert.True(AttentionDecode.Forward(inputs.Query.to(type), inputs.Keys.to(type), inputs.Values.to(type), inputs.Lengths,
                    workspace: workspace).Equals(expected), $"{type}: call {i} of {queries} queries");
        }
        var wide = zeros([4, 8, 64, 64], type, device);
        var lengths = full([4], Scalars.From(400L), ScalarType.Int32, device);
        var cache = zeros([4, 400, 64, 64], type, device);
        Refusal.Expect("workspace", "room for 192 counters", () => AttentionDecode.Forward(wide, cache, cache, lengths, workspace: workspace));
    }

    static Tensor Exact(Case one, Inputs inputs, ScalarType type)
    {
        using var noGrad = no_grad();
        Tensor As(Tensor x, ScalarType to) => x.to(to).to(ScalarType.Float64);
        return AttentionDecodeReference.Forward(As(inputs.Query, type), As(inputs.Keys, type), As(inputs.Values, type), inputs.Lengths, one.Scale,
            one.Window, one.Sinks, one.Ring, one.Softcap, inputs.Logits is { } logits ? As(logits, ScalarType.Float32) : null);
    }

    // as one would write it, scores and probabilities in the tensors' type
    static Tensor Composed(Case one, Inputs inputs, ScalarType type)
    {
        using var noGrad = no_grad();
        long perHead = one.Heads / one.KeyHeads;
        Tensor Repeated(Tensor x) => x.to(type).nan_to_num(0).repeat_interleave(perHead, 2);
        var positions = AttentionDecodeReference.Positions(one.Queries, one.Capacity, inputs.Lengths, one.Sinks, one.Ring);
        var visible = AttentionReference.Visible(one.Queries, one.Capacity, one.Window, one.Sinks, positions, inputs.Query.device);
        var hidden = visible.logical_not().unsqueeze(1);
        var scores = einsum("bqhd,bchd->bhqc", inputs.Query.to(type), Repeated(inputs.Keys)) * (one.Scale ?? 1 / Math.Sqrt(one.Size));
        if (one.Softcap is { } cap) scores = (scores / cap).tanh() * cap;
        scores = scores.masked_fill(hidden, -1e30);
        if (inputs.Logits is { } logits)
            scores = cat([scores, logits.to(type).reshape(1, -1, 1, 1).expand(scores.size(0), one.Heads, one.Queries, 1)], -1);
        var weights = scores.softmax(-1).narrow(-1, 0, one.Capacity).masked_fill(hidden, 0);
        return einsum("bhqc,bche->bqhe", weights, Repeated(inputs.Values));
    }

    /// <summary>Compares both types with float64: bfloat16 errs at most twice as much as composed operators, float32 by a few last places.</summary>
    public static void Holds(Case one, Device device)
    {
        using var scope = NewDisposeScope();
        var inputs = Random(one, device);
        var narrow = ScalarType.BFloat16;
        OperatorCheck.ErrsAtMostTwice($"{one}", Decode(one, inputs, narrow).to(ScalarType.Float64),
            Composed(one, inputs, narrow).to(ScalarType.Float64), Exact(one, inputs, narrow));
        OperatorCheck.Close(Exact(one, inputs, ScalarType.Float32), Decode(one, inputs, ScalarType.Float32), 3e-6, $"{one}, float32");
    }

    /// <summary>Returns cases that cover sizes, lengths, windows, rings, caps and logits; lengths stay below a few hundred.</summary>
    public static IEnumerable<Case> Small()
    {
        int[] lengths = [1, 300, 64, 65, 0, 129];
        foreach (var (size, valueSize) in new[] { (64L, 64L), (128, 128), (72, 128), (16, 24), (256, 256), (192, 128), (48, 96) })
            yield return new(1, 300, 8, 2, size, valueSize) { Lengths = size > 128 ? [3, 130] : lengths };
        yield return new(1, 200, 4, 4, 64, 64) { Lengths = [200, 17], Scale = 0.4 };
        yield return new(3, 200, 16, 1, 64, 64) { Lengths = [200, 2, 70] };
        yield return new(8, 200, 8, 1, 32, 32) { Lengths = [199, 8, 1] };
        yield return new(1, 300, 4, 2, 64, 64) { Lengths = [300, 40, 111], Window = 50 };
        yield return new(1, 300, 4, 2, 64, 64) { Lengths = [300, 40, 111], Window = 50, Sinks = 5 };
        yield return new(5, 300, 4, 2, 64, 32) { Lengths = [300, 52, 4], Window = 50, Sinks = 70 };
        yield return new(1, 57, 4, 2, 64, 64) { Lengths = [57, 3, 1000, 58], Window = 50, Sinks = 7, Ring = true };
        yield return new(4, 70, 4, 2, 64, 64) { Lengths = [70, 3, 1000, 71], Window = 50, Sinks = 7, Ring = true };
        yield return new(2, 300, 4, 2, 64, 64) { Lengths = [300, 1], Softcap = 2 };
        yield return new(1, 300, 4, 2, 64, 64) { Lengths = [300, 0, 5], Logits = true };
        yield return new(3, 80, 8, 2, 64, 64) { Lengths = [500, 7], Softcap = 3, Logits = true, Window = 30, Sinks = 9, Ring = true };
    }

    /// <summary>
    /// Checks that a row's result does not depend on the other rows, on the capacity, or on the number of queries that are taken at once.
    /// </summary>
    public static void IsTheSameToTheBitInOtherCompany(Device device, ScalarType type)
    {
        using var scope = NewDisposeScope();
        var one = new Case(4, 400, 8, 2, 64, 64) { Lengths = [390, 77, 400] };
        var inputs = Random(one, device);
        var together = Decode(one, inputs, type);
        for (int row = 0; row < 3; row++)
        {
            Tensor Row(Tensor x) => x.narrow(0, row, 1);
            var alone = new Inputs(Row(inputs.Query), Row(inputs.Keys), Row(inputs.Values), Row(inputs.Lengths), null);
            Assert.True(Decode(one, alone, type).Equals(Row(together)), $"{type}: row {row} alone");
            var shorter = alone with { Keys = alone.Keys.narrow(1, 0, one.Lengths[row]), Values = alone.Values.narrow(1, 0, one.Lengths[row]) };
            Assert.True(Decode(one, shorter, type).Equals(Row(together)), $"{type}: row {row} of a cache without room");
            for (int query = 0; query < 4; query++)
            {
                var step = alone with { Query = alone.Query.narrow(1, query, 1), Lengths = alone.Lengths - (3 - query) };
                Assert.True(Decode(one, step, type).Equals(Row(together).narrow(1, query, 1)), $"{type}: query {query} of row {row}");
            }
        }
    }

    /// <summary>Checks that a cache that is a slice of a wider tensor is read in place.</summary>
    public static void ReadsSlicesInPlace(Device device, ScalarType type)
    {
        using var scope = NewDisposeScope();
        var one = new Case(1, 100, 4, 2, 32, 64) { Lengths = [100, 31] };
        var inputs = Random(one, device);
        var dense = Decode(one, inputs, type);
        var both = cat([inputs.Keys, inputs.Values], 3).to(type);
        var turned = inputs.Values.to(type).transpose(1, 2).contiguous().transpose(1, 2);
        using var noGrad = no_grad();
        foreach (var (keys, values) in new[] { (both.narrow(3, 0, 32), both.narrow(3, 32, 64)), (both.narrow(3, 0, 32), turned) })
            Assert.True(AttentionDecode.Forward(inputs.Query.to(type), keys, values, inputs.Lengths).Equals(dense));
    }
}
