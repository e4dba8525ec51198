using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

public class TorchRandomTests
{
    [Fact]
    public void A_state_read_and_written_back_draws_the_same_numbers()
    {
        using var scope = NewDisposeScope();
        var state = TorchRandom.ReadBytes();
        var first = randn(5);
        TorchRandom.Write(state);
        Assert.Equal(first.data<float>().ToArray(), randn(5).data<float>().ToArray());
        using var tensorState = TorchRandom.Read();
        var next = rand(3);
        TorchRandom.Write(tensorState);
        Assert.Equal(next.data<float>().ToArray(), rand(3).data<float>().ToArray());
    }

    [Fact]
    public void The_state_is_read_and_written_while_another_thread_collects_garbage()
    {
        // with torch.get_rng_state and set_rng_state, the process dies here within two seconds of a quiet machine
        int calls = Effort.Choose(everyday: 50_000, full: 1_000_000);
        using var stop = new CancellationTokenSource();
        var collector = new Thread(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
            }
        });
        collector.Start();
        var state = TorchRandom.ReadBytes();
        try
        {
            for (int call = 0; call < calls; call++)
            {
                TorchRandom.Write(state);
                Assert.True(state.AsSpan().SequenceEqual(TorchRandom.ReadBytes()), $"call {call}");
            }
        }
        finally
        {
            stop.Cancel();
            collector.Join();
        }
    }
}
