using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Kernels.Tests.Cuda;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests;

public class ExpertVisitsTests
{
    // tokens, choices and experts: one chunk, a rest, several chunks, all visits to one expert, and more experts than visits
    public static TheoryData<int, int, int> Sizes => new()
    {
        { 1, 1, 1 }, { 5, 2, 3 }, { 100, 3, 8 }, { 700, 2, 37 }, { 300, 1, 1 }, { 40, 4, 1024 }, { 20_000, 1, 5 },
    };

    [Theory, MemberData(nameof(Sizes))]
    public void They_are_sorted_by_expert_and_then_by_position(int tokens, int choices, int experts)
    {
        using var scope = NewDisposeScope();
        AreSorted(Chosen(tokens, choices, experts, CPU), choices, experts);
    }

    [Theory, MemberData(nameof(Sizes))]
    public void They_are_under_emulation(int tokens, int choices, int experts)
    {
        using var scope = NewDisposeScope();
        var chosen = Chosen(tokens, choices, experts, CPU);
        CudaEmulation.BothOrders(() =>
        {
            using var inner = NewDisposeScope();
            Assert.True(ExpertOrderCuda.Serves(chosen, experts));
            AreSorted(chosen, choices, experts);
        });
    }

    [Theory, MemberData(nameof(Sizes)), Trait("device", "cuda")]
    public void They_are_on_a_GPU(int tokens, int choices, int experts)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        var chosen = Chosen(tokens, choices, experts, Gpu.Device);
        Assert.True(ExpertOrderCuda.Serves(chosen, experts));
        AreSorted(chosen, choices, experts);
        AreSorted(Chosen(200_001, 4, 64, Gpu.Device), 4, 64);
    }

    static Tensor Chosen(int tokens, int choices, int experts, Device device)
    {
        using var random = manual_seed(3);
        return randint(0, experts, [tokens, choices], ScalarType.Int64).to(device);
    }

    static void AreSorted(Tensor chosen, int choices, int experts)
    {
        var (rows, ends, loads) = ExpertVisits.Sort(chosen, experts);
        static long[] Numbers(Tensor values) => TensorMemory.ToArray<long>(values.cpu().to(ScalarType.Int64).contiguous());
        long[] visited = Numbers(chosen.flatten());
        long[] expected = [.. Enumerable.Range(0, visited.Length).OrderBy(visit => visited[visit]).Select(visit => (long)visit)];
        Assert.Equal(expected, Numbers(rows.Order));
        Assert.Equal(expected.Select(visit => visit / choices), Numbers(rows.Source));
        long[] inverse = Numbers(rows.Inverse);
        Assert.All(expected.Select((visit, place) => (visit, place)), item => Assert.Equal(item.place, inverse[item.visit]));
        long[] counts = [.. Enumerable.Range(0, experts).Select(expert => visited.LongCount(visit => visit == expert))];
        Assert.Equal(counts, Numbers(loads));
        Assert.Equal(counts.Select((_, expert) => counts.Take(expert + 1).Sum()), Numbers(ends));
        Assert.Equal((ScalarType.Int32, choices), (ends.dtype, (int)rows.Choices));
    }
}
