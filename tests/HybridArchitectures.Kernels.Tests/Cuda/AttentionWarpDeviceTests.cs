using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Runs the attention kernels with products of single warps on the GPU that is there, also if it is one of compute capability 9.0.</summary>
[Trait("device", "cuda")]
public sealed class AttentionWarpDeviceTests : IDisposable
{
    readonly IDisposable options = OperatorOptions.Use(new()
    {
        FusedAttentionBackend = KernelBackend.Cuda, Thresholds = new() { AttentionGroupCapability = 0 },
    });

    public void Dispose() => options.Dispose();

    static Tensor[] Inputs(long batch, long queries, long keys, long heads, long keyHeads, long size, long valueSize)
    {
        Tensor New(long length, long count, long width) => randn([batch, length, count, width], ScalarType.Float64, Gpu.Device);
        return [New(queries, heads, size), New(keys, keyHeads, size), New(keys, keyHeads, valueSize)];
    }

    [Theory]
    [InlineData(64, 64), InlineData(128, 128), InlineData(72, 128), InlineData(48, 96), InlineData(16, 16), InlineData(20, 100), InlineData(192, 128),
        InlineData(256, 256), InlineData(16, 256)]
    public void Outputs_err_at_most_twice_as_much_as_composed_operators_for_all_head_sizes(long size, long valueSize)
    {
        Gpu.IsNeeded();
        foreach (var (queries, keys) in new[] { (2L, 2L), (65, 65), (128, 128), (333, 333), (777, 777), (3, 1000), (200, 1025) })
        {
            using var scope = NewDisposeScope();
            // where few probabilities meet, two errors of a few numbers would be compared: their ratio is a matter of luck
            long rows = keys < 10 ? 64 : 1;
            using var poisoned = Gpu.Poisoned();
            AttentionComposed.OutputErrsAtMostTwice(Inputs(2 * rows, queries, keys, 8, 2, size, valueSize), queries == 333 ? 0.4 : null);
            AttentionComposed.OutputErrsAtMostTwice(Inputs(rows, queries, keys, 3, 3, size, valueSize), window: 100, sinks: 5);
            Tensor[] capped = [.. Inputs(rows, queries, keys, 6, 1, size, valueSize), randn([6], ScalarType.Float64, Gpu.Device)];
            AttentionComposed.OutputErrsAtMostTwice(capped, window: 200, softcap: 20);
        }
    }

    [Theory]
    [InlineData(null, 0, 64), InlineData(100, 30, 64), InlineData(300, 10, 128)]
    public void Documents_and_padding(int? window, int sinks, long size)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var packed = SequenceLayout.Packed([[1000, 37, 0, 200, 811], [1, 0, 1747], [2048], []], 2048, Gpu.Device);
        AttentionComposed.OutputErrsAtMostTwice(Inputs(4, 2048, 2048, 4, 2, size, 64), window: window, sinks: sinks,
            positions: AttentionPositions.FromLayout(packed, Gpu.Device));
        using var padded = SequenceLayout.Padded([700, 1, 64, 0], 700, Gpu.Device);
        AttentionComposed.OutputErrsAtMostTwice(Inputs(4, 700, 700, 4, 2, size, 64), window: window, sinks: sinks,
            positions: AttentionPositions.FromLayout(padded, Gpu.Device));
    }
}
