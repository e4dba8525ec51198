using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

public class CudaGraphPoolTests
{
    const long Megabyte = 1 << 20;

    [Theory]
    [InlineData(1, 0, 1)]                       // the first segments
    [InlineData(2, 10_000 * Megabyte, 2)]       // work that needs much: twice as much each time
    [InlineData(1024, 3 * Megabyte, 1)]         // work that needs little, or another process that took memory, after many others
    [InlineData(1024, 96 * Megabyte, 4)]
    [InlineData(1024, -500 * Megabyte, 1)]      // another process returned memory
    public void Segments_grow_by_twice_what_was_missing_at_most(long growth, long missing, long expected) =>
        Assert.Equal(expected, CudaGraphPool.NextGrowth(growth, missing));

    [Fact]
    [Trait("device", "cuda")]
    public void Work_that_keeps_memory_many_times_takes_little_more_than_it_keeps()
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: no memory was reserved");
        const int Times = 24;
        const long Kept = 64 * Megabyte;
        using var scope = NewDisposeScope();
        var pool = CudaGraphPool.For(0);
        pool.Run(() => { });
        long before = CudaGraphDriver.FreeMemory();
        for (int i = 0; i < Times; i++) pool.Run(() => empty([Kept], ScalarType.Byte, CUDA));
        long taken = before - CudaGraphDriver.FreeMemory();
        Assert.True(taken <= 5 * Times * Kept, $"{taken / Megabyte} MiB were taken for {Times * Kept / Megabyte} MiB");
    }
}
