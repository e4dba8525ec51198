using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>Contains the operators and sizes that are measured: those of 1B models with a context of 8192 tokens.</summary>
static class GpuCases
{
    /// <summary>Ends the shape of a loss that holds all logits, as its rivals do.</summary>
    public const string AllLogits = ", all logits held";

    static readonly ScalarType[] Types = [ScalarType.BFloat16, ScalarType.Float32];

    /// <summary>Returns the cases whose operator, shape and type contain a text, or all cases without one.</summary>
    public static GpuCase[] Matching(string? filter, bool tiny) =>
        [.. All(tiny).Where(one => filter is null || $"{one.Op}, {one.Shape}, {one.TypeName}".Contains(filter, StringComparison.OrdinalIgnoreCase))];

    /// <summary>Returns every case. The tiny ones have the same form, and sizes that a CPU computes within milliseconds.</summary>
    public static IEnumerable<GpuCase> All(bool tiny) =>
        Types.SelectMany(type => tiny ? Tiny(type) : type == ScalarType.BFloat16 ? [.. Large(type), .. LargeBFloat16()] : Large(type));

    static IEnumerable<GpuCase> Tiny(ScalarType type)
    {
        yield return StateSpaceDual(2, 70, 4, 8, 2, 16, type, true);
        yield return GatedDelta(2, 70, 2, 4, 16, type);
        yield return GatedDeltaStep(3, 2, 4, 16, type);
        yield return ChannelDelta(2, 70, 4, 16, type);
        yield return ChannelDeltaStep(3, 4, 16, type);
        yield return Linear(2, 70, 4, 16, type);
        yield return LinearStep(3, 4, 16, type);
        yield return SelectiveScan(2, 40, 70, 16, type);
        yield return Convolution(2, 40, 70, 4, type);
        yield return Convolution(2, 40, 70, 4, type, document: 30);
        yield return Norm(33, 64, type);
        yield return GatedNorm(33, 64, type);
        yield return Fusion(33, 64, 4, type);
        yield return Gated(33, 128, type);
        yield return CrossEntropy(65, 32, 500, type);
        yield return CrossEntropy(65, 32, 500, type, allLogits: true);
        yield return StateUpdate(3, 4, 8, 16, type);
        yield return Attention(2, 70, 4, 2, 16, 16, type);
        yield return Attention(2, 70, 4, 2, 16, 24, type, window: 20, sinks: 4);
        yield return Attention(2, 70, 4, 2, 16, 16, type, document: 30);
        yield return BySingleWarps(Attention(2, 70, 4, 2, 16, 16, type));
        yield return ByOwnKernels(Attention(2, 70, 4, 2, 136, 136, type));
        yield return ByLibTorch(Attention(2, 70, 4, 2, 136, 136, type));
        yield return Decode(2, 70, 4, 2, 16, type);
    }

    static IEnumerable<GpuCase> Large(ScalarType type)
    {
        yield return StateSpaceDual(8, 8192, 64, 64, 1, 128, type, true);
        yield return StateSpaceDual(8, 8192, 32, 128, 1, 128, type, false);
        yield return StateSpaceDual(1, 8192, 64, 64, 1, 128, type, true);
        yield return SelectiveScan(8, 4096, 8192, 16, type);
        yield return SelectiveScan(1, 4096, 8192, 16, type);
        yield return Convolution(8, 4096, 8192, 4, type);
        yield return Convolution(8, 4096, 8192, 4, type, document: 1000);
        yield return Norm(65536, 2048, type);
        yield return GatedNorm(65536, 4096, type);
        yield return Fusion(65536, 4096, 64, type);
        yield return Gated(65536, 8192, type);
        yield return CrossEntropy(8192, 2048, 128256, type);
        yield return CrossEntropy(8192, 2048, 128256, type, allLogits: true);
        yield return StateUpdate(64, 64, 64, 128, type);
        yield return StateUpdate(64, 64, 64, 128, type, ScalarType.BFloat16);
    }

    // operators that models use with bfloat16 only
    static IEnumerable<GpuCase> LargeBFloat16()
    {
        const ScalarType type = ScalarType.BFloat16;
        yield return GatedDelta(1, 8192, 16, 32, 128, type);
        yield return GatedDelta(4, 8192, 16, 32, 128, type);
        yield return GatedDelta(4, 8192, 32, 32, 64, type);
        yield return GatedDeltaStep(1, 16, 32, 128, type);
        yield return GatedDeltaStep(64, 16, 32, 128, type);
        yield return ChannelDelta(1, 8192, 32, 128, type);
        yield return ChannelDelta(4, 8192, 32, 128, type);
        yield return ChannelDelta(4, 8192, 32, 64, type);
        yield return ChannelDeltaStep(1, 32, 128, type);
        yield return ChannelDeltaStep(64, 32, 128, type);
        yield return Linear(1, 8192, 32, 128, type);
        yield return Linear(4, 8192, 32, 64, type);
        yield return LinearStep(64, 32, 128, type);
        yield return Attention(4, 8192, 32, 8, 64, 64, type);
        yield return Attention(4, 8192, 32, 8, 128, 128, type);
        yield return Attention(4, 8192, 16, 4, 72, 128, type);
        yield return Attention(4, 8192, 32, 8, 64, 64, type, window: 512, sinks: 64);
        yield return Attention(4, 8192, 32, 8, 64, 64, type, document: 1000);
        yield return BySingleWarps(Attention(4, 8192, 32, 8, 64, 64, type));
        yield return BySingleWarps(Attention(4, 8192, 32, 8, 128, 128, type));
        yield return BySingleWarps(Attention(4, 8192, 16, 4, 72, 128, type));
        yield return BySingleWarps(Attention(4, 8192, 32, 8, 64, 64, type, window: 512, sinks: 64));
        yield return BySingleWarps(Attention(4, 8192, 32, 8, 64, 64, type, document: 1000));
        foreach (var wide in WideAttention())
        {
            yield return ByOwnKernels(wide);
            yield return ByLibTorch(wide);
        }
        foreach (long batch in new[] { 1, 64 })
            foreach (long size in new[] { 64, 128 })
                yield return Decode(batch, 8192, 32, 8, size, type);
        yield return Decode(1, 512, 32, 8, 64, type);
        yield return Decode(1, 131072, 32, 8, 128, type);
        yield return Decode(64, 8192, 32, 8, 64, type, window: 512, sinks: 64);
        yield return Decode(1, 8192, 32, 8, 128, type, queries: 8);
    }

    static GpuCase StateSpaceDual(long b, long l, long h, long p, long g, long n, ScalarType type, bool printGroups) =>
        new("state-space dual", $"B{b} L{l} H{h} P{p}{(printGroups ? $" G{g}" : "")} N{n}", type, MinGpuTime.StateSpaceDual(b, l, h, p, g, n, type),
            inputs =>
        {
            var (x, step, a) = (inputs.Leaf([b, l, h, p]), inputs.Leaf([b, l, h], 0.5, -3), inputs.Decays(h));
            var (keys, queries, skip, bias) = (inputs.Leaf([b, l, g, n]), inputs.Leaf([b, l, g, n]), inputs.Float32([h]), inputs.Float32([h]));
            return () => Kernels.Operators.StateSpaceDual.Forward(x, step, a, keys, queries, skip, bias, softplus: true).Output;
        });

    static GpuCase GatedDelta(long b, long l, long g, long h, long d, ScalarType type) =>
        new("gated delta rule", $"B{b} L{l} H{h}:{g} D{d}", type, MinGpuTime.GatedDelta(b, l, g, h, d, type), inputs =>
        {
            // keys of length 1, decays of a time step near 0.05 and strengths of a sigmoid
            Tensor Unit() => inputs.Fixed(nn.functional.normalize(randn([b, l, g, d], type, inputs.Device), dim: 3));
            Tensor Rates(bool decay)
            {
                var x = randn([b, l, h], ScalarType.Float32, inputs.Device);
                return inputs.Fixed(decay ? x.exp_().mul_(Scalars.From(-0.05)) : x.sigmoid_());
            }
            Tensor[] leaves = [.. new[] { Unit(), Unit(), Rates(true), Rates(false) }.Select(inputs.Differentiated)];
            var value = inputs.Leaf([b, l, h, d]);
            return () => GatedDeltaRule.Forward(leaves[0], leaves[1], value, leaves[2], leaves[3]).Output;
        });

    static GpuCase GatedDeltaStep(long b, long g, long h, long d, ScalarType type) =>
        new("gated delta step", $"B{b} H{h}:{g} D{d}", type, MinGpuTime.StateUpdate(b, h, d, d), inputs =>
        {
            Tensor New(params long[] size) => inputs.Fixed(randn(size, type, inputs.Device).mul_(Scalars.From(0.1)));
            var state = inputs.Fixed(zeros([b, h, d, d], ScalarType.Float32, inputs.Device));
            var (query, key, value) = (New(b, g, d), New(b, g, d), New(b, h, d));
            var (decay, strength) = (inputs.Fixed(New(b, h).abs().neg_()), inputs.Fixed(New(b, h).abs()));
            return () => GatedDeltaRule.Step(state, query, key, value, decay, strength);
        });

    static GpuCase ChannelDelta(long b, long l, long h, long d, ScalarType type) =>
        new("channel delta rule", $"B{b} L{l} H{h} D{d}", type, MinGpuTime.ChannelDelta(b, l, h, d, type), inputs =>
        {
            // as in GatedDelta, with a decay for each element of a key
            Tensor Unit() => inputs.Fixed(nn.functional.normalize(randn([b, l, h, d], type, inputs.Device), dim: 3));
            Tensor Normal(params long[] size) => inputs.Fixed(randn(size, ScalarType.Float32, inputs.Device));
            Tensor[] leaves = [.. new[]
            {
                Unit(), Unit(), Normal(b, l, h, d).exp_().mul_(Scalars.From(-0.05)), Normal(b, l, h).sigmoid_(),
            }.Select(inputs.Differentiated)];
            var value = inputs.Leaf([b, l, h, d]);
            return () => ChannelDeltaRule.Forward(leaves[0], leaves[1], value, leaves[2], leaves[3]).Output;
        });

    static GpuCase ChannelDeltaStep(long b, long h, long d, ScalarType type) =>
        new("channel delta step", $"B{b} H{h} D{d}", type, MinGpuTime.StateUpdate(b, h, d, d), inputs =>
        {
            Tensor New(params long[] size) => inputs.Fixed(randn(size, type, inputs.Device).mul_(Scalars.From(0.1)));
            var state = inputs.Fixed(zeros([b, h, d, d], ScalarType.Float32, inputs.Device));
            var (query, key, value) = (New(b, h, d), New(b, h, d), New(b, h, d));
            var (decay, strength) = (inputs.Fixed(New(b, h, d).abs().neg_()), inputs.Fixed(New(b, h).abs()));
            return () => ChannelDeltaRule.Step(state, query, key, value, decay, strength);
        });

    static GpuCase Linear(long b, long l, long h, long d, ScalarType type) =>
        new("linear attention", $"B{b} L{l} H{h} D{d}", type, MinGpuTime.LinearAttention(b, l, h, d, type), inputs =>
        {
            var (query, key, value) = (inputs.Leaf([b, l, h, d]), inputs.Leaf([b, l, h, d]), inputs.Leaf([b, l, h, d]));
            var decay = inputs.Differentiated(
                inputs.Fixed(randn([b, l, h, d], ScalarType.Float32, inputs.Device).exp_().mul_(Scalars.From(-0.05))));
            return () => LinearAttention.Forward(query, key, value, decay).Output;
        });

    static GpuCase LinearStep(long b, long h, long d, ScalarType type) =>
        new("linear attention step", $"B{b} H{h} D{d}", type, MinGpuTime.StateUpdate(b, h, d, d), inputs =>
        {
            Tensor New() => inputs.Fixed(randn([b, h, d], type, inputs.Device).mul_(Scalars.From(0.1)));
            var state = inputs.Fixed(zeros([b, h, d, d], ScalarType.Float32, inputs.Device));
            var (query, key, value, decay) = (New(), New(), New(), inputs.Fixed(New().abs().neg_()));
            return () => LinearAttention.Step(state, query, key, value, decay);
        });

    static GpuCase SelectiveScan(long b, long d, long l, long n, ScalarType type) =>
        new("selective scan", $"B{b} D{d} L{l} N{n}", type, MinGpuTime.SelectiveScan(b, l, d, n, type), inputs =>
        {
            var (x, step, gate, a) = (inputs.Leaf([b, l, d]), inputs.Leaf([b, l, d], 0.5, -3), inputs.Leaf([b, l, d]), inputs.Decays(d, n));
            var (keys, queries, skip, bias) = (inputs.Leaf([b, l, n]), inputs.Leaf([b, l, n]), inputs.Float32([d]), inputs.Float32([d]));
            return () => Kernels.Operators.SelectiveScan.Forward(x, step, a, keys, queries, skip, gate, bias, softplus: true).Output;
        });

    static GpuCase Convolution(long b, long d, long l, long w, ScalarType type, long? document = null)
    {
        string seen = document is null ? "" : $", documents of {document}";
        return new("convolution", $"B{b} D{d} L{l} W{w}{seen}", type, MinGpuTime.Pass(b * l * d, 2, 3, type), inputs =>
        {
            var (x, weight, bias) = (inputs.Leaf([b, l, d]), inputs.Leaf([d, w]), inputs.Leaf([d]));
            var layout = document is { } length ? Documents(b, l, length, inputs.Device) : null;
            return () => CausalConvolution.Forward(x, weight, bias, silu: true, null, layout).Output;
        });
    }

    // rows of documents of one length, of which the last can be shorter
    static SequenceLayout Documents(long b, long l, long length, Device device)
    {
        long[] row = [.. Enumerable.Range(0, (int)((l + length - 1) / length)).Select(i => Math.Min(length, l - i * length))];
        return SequenceLayout.Packed([.. Enumerable.Repeat(row, (int)b)], l, device);
    }

    static GpuCase Norm(long rows, long width, ScalarType type) =>
        new("rmsnorm", $"{rows} x {width}", type, MinGpuTime.Pass(rows * width, 2, 3, type), inputs =>
        {
            var (x, weight) = (inputs.Leaf([rows, width]), inputs.Leaf([width]));
            return () => RmsNorm.Forward(x, weight);
        });

    static GpuCase GatedNorm(long rows, long width, ScalarType type) =>
        new("gated rmsnorm", $"{rows} x {width}", type, MinGpuTime.Pass(rows * width, 3, 5, type), inputs =>
        {
            var (x, gate, weight) = (inputs.Leaf([rows, width]), inputs.Leaf([rows, width]), inputs.Leaf([width]));
            return () => GatedRmsNorm.Forward(x, gate, weight);
        });

    static GpuCase Fusion(long rows, long width, int heads, ScalarType type) =>
        new("branch fusion", $"{rows} x {width}, {heads} heads", type, MinGpuTime.Pass(rows * width, 3, 5, type), inputs =>
        {
            var (first, second) = (inputs.Leaf([rows, width]), inputs.Leaf([rows, width]));
            return () => BranchFusion.Forward(new(first, null, heads), new(second, null, heads), FusionKind.Difference);
        });

    static GpuCase Gated(long rows, long width, ScalarType type) =>
        new("swiglu", $"{rows} x {width}", type, MinGpuTime.Pass(rows * width, 3, 5, type), inputs =>
        {
            var (gate, up) = (inputs.Leaf([rows, width]), inputs.Leaf([rows, width]));
            return () => SwiGlu.Forward(gate, up);
        });

    static GpuCase CrossEntropy(long tokens, long d, long v, ScalarType type, bool allLogits = false) =>
        new("linear + cross entropy", $"{tokens} tokens, d {d}, V {v}{(allLogits ? AllLogits : "")}", type,
            MinGpuTime.LinearCrossEntropy(tokens, d, v, type), inputs =>
        {
            var (hidden, weight) = (inputs.Leaf([tokens, d]), inputs.Leaf([v, d], 0.02));
            var targets = inputs.Fixed(randint(v, tokens, ScalarType.Int64, inputs.Device));
            return () =>
            {
                using var options = OperatorOptions.Use(new() { LogitsShare = allLogits ? 1 : OperatorOptions.Current.LogitsShare });
                return LinearCrossEntropy.Forward(hidden, weight, targets);
            };
        });

    static GpuCase Attention(long b, long l, long h, long k, long d, long e, ScalarType type, int? window = null, int sinks = 0, long? document =
        null)
    {
        double pairs = b * Enumerable.Range(0, (int)l).Sum(i => (double)Visible(i % (document ?? l), window, sinks));
        string seen = window is not null ? $", window {window} + {sinks} sinks" : document is not null ? $", documents of {document}" : "";
        return new("attention", $"B{b} L{l} H{h}:{k} D{(d == e ? d : $"{d}:{e}")}{seen}", type, MinGpuTime.Attention(pairs, b * l, h, k, d, e, type),
            inputs =>
        {
            var (query, key, value) = (inputs.Leaf([b, l, h, d]), inputs.Leaf([b, l, k, d]), inputs.Leaf([b, l, k, e]));
            AttentionPositions? positions = null;
            if (document is { } length)
            {
                using var layout = Documents(b, l, length, inputs.Device);
                positions = AttentionPositions.FromLayout(layout, inputs.Device);
            }
            return () => FusedAttention.Forward(query, key, value, window: window, sinks: sinks, positions: positions);
        });
    }

    // heads of more than 128 elements, as Qwen3.5 and latent attention have
    static IEnumerable<GpuCase> WideAttention()
    {
        const ScalarType type = ScalarType.BFloat16;
        yield return Attention(1, 8192, 16, 4, 256, 256, type);
        yield return Attention(1, 8192, 16, 16, 192, 128, type);
        yield return Attention(1, 8192, 16, 4, 256, 256, type, window: 512, sinks: 64);
        yield return Attention(1, 8192, 16, 4, 256, 256, type, document: 1000);
    }

    // the kernels for other GPUs than those of compute capability 9.0, which run there too
    static GpuCase BySingleWarps(GpuCase attention) => WithOptions(attention, "attention by warps",
        current => current with { Thresholds = current.Thresholds with { AttentionGroupCapability = 0 } });

    // this library's kernels, also for plain attention that is left to libtorch
    static GpuCase ByOwnKernels(GpuCase attention) => WithOptions(attention, "attention",
        current => current with { Thresholds = current.Thresholds with { MaxPlainAttentionGradientSize = long.MaxValue } });

    static GpuCase ByLibTorch(GpuCase attention) => WithOptions(attention, "libtorch attention",
        current => current with { FusedAttentionBackend = KernelBackend.LibTorch });

    // the kernels of the backward pass are those that the forward pass selects
    static GpuCase WithOptions(GpuCase one, string op, Func<OperatorOptions, OperatorOptions> change) => one with
    {
        Op = op,
        Prepare = inputs =>
        {
            var call = one.Prepare(inputs);
            return () =>
            {
                using var options = OperatorOptions.Use(change(OperatorOptions.Current));
                return call();
            };
        },
    };

    // caches that are full, in slots of a cache with room for 64 more
    static GpuCase Decode(long b, long length, long h, long k, long d, ScalarType type, long queries = 1, int? window = null, int sinks = 0)
    {
        double seen = Visible(length - 1, window, sinks) + (window is null ? 0 : queries - 1);
        string more = (queries > 1 ? $", {queries} queries" : "") + (window is not null ? $", window {window} + {sinks} sinks" : "");
        return new("attention decode", $"B{b} C{length} H{h}:{k} D{d}{more}", type, MinGpuTime.Decode(b, seen, queries * h, k, d, type), inputs =>
        {
            Tensor New(params long[] size) => inputs.Fixed(randn(size, type, inputs.Device));
            var (query, keys, values) = (New(b, queries, h, d), New(b, length + 64, k, d), New(b, length + 64, k, d));
            var lengths = inputs.Fixed(full([b], Scalars.From(length), ScalarType.Int32, inputs.Device));
            var workspace = new AttentionDecodeWorkspace(b, h, inputs.Device);
            return () => AttentionDecode.Forward(query, keys, values, lengths, window: window, sinks: sinks, workspace: workspace);
        }) { InGraph = true };
    }

    // keys that a query at this place of its document sees
    static long Visible(long position, int? window, int sinks)
    {
        long before = position + 1;
        return window is { } width && width < before ? width + Math.Min(sinks, before - width) : before;
    }

    static GpuCase StateUpdate(long b, long h, long p, long n, ScalarType type, ScalarType states = ScalarType.Float32) =>
        new("state update", $"B{b} H{h} P{p} N{n}{(states == ScalarType.BFloat16 ? " bfloat16 states" : "")}", type,
            MinGpuTime.StateUpdate(b, h, p, n, states == ScalarType.BFloat16 ? 2 : 4), inputs =>
        {
            var state = inputs.Fixed(zeros([b, h, p, n], states, inputs.Device));
            var (x, step, a) = (inputs.Leaf([b, h, p]), inputs.Leaf([b, h], 0.5, -3), inputs.Decays(h));
            var (keys, queries, skip, bias) = (inputs.Leaf([b, 1, n]), inputs.Leaf([b, 1, n]), inputs.Float32([h]), inputs.Float32([h]));
            return () => Kernels.Operators.StateSpaceDual.Step(state, x, step, a, keys, queries, skip, bias, softplus: true);
        });
}
