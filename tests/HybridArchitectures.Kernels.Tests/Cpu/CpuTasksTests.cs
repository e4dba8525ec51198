using HybridArchitectures.Kernels.Cpu;

namespace HybridArchitectures.Kernels.Tests.Cpu;

public class CpuTasksTests
{
    const long Many = 1 << 20;      // elements: enough for more than one thread

    [Fact]
    public void Every_task_runs_once_also_those_that_tasks_start()
    {
        var runs = new int[1000, 3];
        CpuTasks.Run(1000, Many, i => CpuTasks.Run(3, Many, j => Interlocked.Increment(ref runs[i, j])));
        Assert.All(runs.Cast<int>(), count => Assert.Equal(1, count));
    }

    [Fact]
    public void What_a_task_throws_reaches_the_caller_and_the_next_tasks_run()
    {
        var thrown = Assert.Throws<InvalidOperationException>(() => CpuTasks.Run(100, Many, i => throw new InvalidOperationException($"task {i}")));
        Assert.StartsWith("task ", thrown.Message, StringComparison.Ordinal);
        long sum = 0;
        CpuTasks.Run(100, Many, i => Interlocked.Add(ref sum, i));
        Assert.Equal(4950, sum);
    }

    [Fact]
    public async Task Several_threads_may_run_tasks_at_once()
    {
        var sums = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() =>
        {
            long sum = 0;
            for (int round = 0; round < 200; round++) CpuTasks.Run(10, Many, i => Interlocked.Add(ref sum, i));
            return sum;
        })));
        Assert.All(sums, sum => Assert.Equal(200 * 45, sum));
    }

    [Theory]
    [InlineData(1, 10), InlineData(7, 1 << 20), InlineData(1000, 5), InlineData(1000, 4096)]
    public void Shares_cover_every_row_once(long rows, long elementsPerRow)
    {
        var seen = new int[rows];
        CpuTasks.Share(rows, elementsPerRow, (from, to) =>
        {
            for (long row = from; row < to; row++) Interlocked.Increment(ref seen[row]);
        });
        Assert.All(seen, count => Assert.Equal(1, count));
    }
}
