using TorchSharp;

namespace HybridArchitectures;

/// <summary>Counts of live tensors that only the test at hand can change.</summary>
internal static class LiveTensors
{
    const int Attempts = 20;

    /// <summary>
    /// Returns the count after the garbage collector has freed all that earlier tests left, so that this cannot happen during a comparison.
    /// </summary>
    public static long Settled()
    {
        long count = torch.Tensor.TotalCount;
        // what one collection releases can hold what only a later one finds, so the count must stay through three
        for (int same = 0; same < 3; same++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            if (torch.Tensor.TotalCount == count) continue;
            count = torch.Tensor.TotalCount;
            same = -1;
        }
        return count;
    }

    /// <summary>
    /// Checks that repetitions of a step leave no tensor, not even to the garbage collector. A thread of an earlier test may still create or release
    /// tensors, so the comparison is repeated; a step that leaves tensors fails every time.
    /// </summary>
    public static async Task AssertNoneLeftBy(Func<Task> step, int repetitions = 4)
    {
        var counts = new List<long>();
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            counts.Clear();
            await step();
            Settled();
            for (int i = 0; i <= repetitions; i++)
            {
                await step();
                counts.Add(torch.Tensor.TotalCount);
            }
            if (counts.TrueForAll(count => count == counts[0])) return;
        }
        Xunit.Assert.Fail($"{string.Join(", ", counts)} live tensors after the same step");
    }

    /// <inheritdoc cref="AssertNoneLeftBy(Func{Task}, int)"/>
    public static void AssertNoneLeftBy(Action step, int repetitions = 4) => AssertNoneLeftBy(() =>
    {
        step();
        return Task.CompletedTask;
    }, repetitions).GetAwaiter().GetResult();

    /// <summary>Checks that no more tensors are alive than before, once what earlier threads and the garbage collector hold is gone.</summary>
    public static void AssertAtMost(long before)
    {
        long count = Settled();
        for (int attempt = 0; attempt < Attempts && count > before; attempt++) count = Settled();
        Xunit.Assert.True(count <= before, $"{count} live tensors; expected at most {before}");
    }
}
