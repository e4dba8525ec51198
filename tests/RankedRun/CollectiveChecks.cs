using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Training.Distributed;
using static TorchSharp.torch;

namespace RankedRun;

/// <summary>Checks every operation of the collectives of this rank against its definition.</summary>
static class CollectiveChecks
{
    // a library sends a large message in several parts
    const long LargeCount = 100_003;

    static readonly long[] Counts = [1, 7];

    public static void Run(Collectives ranks)
    {
        foreach (var type in new[] { ScalarType.Float32, ScalarType.Float64, ScalarType.BFloat16, ScalarType.Int64 })
            foreach (long count in Counts)
                Check(ranks, type, count);
        Check(ranks, ScalarType.Float32, LargeCount);
        Check(ranks, ScalarType.BFloat16, LargeCount);
        CheckBytes(ranks);
        CheckRefusals(ranks);
        CheckGroups(ranks);
        ranks.Barrier();
    }

    static Tensor Values(int rank, ScalarType type, long count, Device device) =>
        arange(count, ScalarType.Int64, device).add(Scalars.From((long)(7 * rank)), Scalars.One).remainder(Scalars.From(11L)).to(type);

    static void Check(Collectives ranks, ScalarType type, long count)
    {
        using var scope = NewDisposeScope();
        Tensor Of(int rank, long length) => Values(rank, type, length, ranks.Device);
        Tensor[] all = [.. Enumerable.Range(0, ranks.Size).Select(rank => Of(rank, count))];
        Tensor Folded(Func<Tensor, Tensor, Tensor> fold, Tensor[] parts) => parts.Aggregate(fold);
        Tensor Sum(Tensor[] parts) => Folded((a, b) => a.add(b, Scalars.One), parts);
        foreach (var (operation, expected) in new[]
        {
            (ReduceOperation.Sum, Sum(all)), (ReduceOperation.Max, Folded(maximum, all)), (ReduceOperation.Min, Folded(minimum, all)),
        })
        {
            var mine = all[ranks.Rank].clone();
            ranks.AllReduce(mine, operation);
            Same(expected, mine, $"all-reduce {operation} of {count} {type}");
            mine = all[ranks.Rank].clone();
            ranks.Reduce(mine, ranks.Size - 1, operation);
            if (ranks.Rank == ranks.Size - 1) Same(expected, mine, $"reduce {operation} of {count} {type}");
        }
        Tensor[] list = [all[ranks.Rank].clone(), all[ranks.Rank].clone().add_(Scalars.One, Scalars.One)];
        ranks.AllReduce(list);
        Same(Sum(all), list[0], $"all-reduce of a list of {count} {type}");
        Same(Sum([.. all.Select(one => one.add(Scalars.One, Scalars.One))]), list[1], $"all-reduce of a list of {count} {type}");
        var copy = all[ranks.Rank].clone();
        ranks.Broadcast(copy, ranks.Size - 1);
        Same(all[^1], copy, $"broadcast of {count} {type}");
        var gathered = zeros([ranks.Size * count], type, ranks.Device);
        ranks.AllGather(gathered, all[ranks.Rank]);
        Same(cat(all), gathered, $"all-gather of {count} {type}");
        var part = zeros([count], type, ranks.Device);
        Tensor[] wholes = [.. Enumerable.Range(0, ranks.Size).Select(rank => Of(rank, count * ranks.Size))];
        ranks.ReduceScatter(part, wholes[ranks.Rank]);
        Same(Sum(wholes).narrow(0, ranks.Rank * count, count), part, $"reduce-scatter of {count} {type}");
    }

    static void CheckBytes(Collectives ranks)
    {
        using var scope = NewDisposeScope();
        var text = tensor(new[] { (byte)ranks.Rank, (byte)200, (byte)3 });
        ranks.Broadcast(text, ranks.Size - 1);
        Same(tensor(new[] { (byte)(ranks.Size - 1), (byte)200, (byte)3 }), text, "broadcast of bytes on the CPU");
    }

    // ranks 0, 2, ... and ranks 1, 3, ...
    static void CheckGroups(Collectives ranks)
    {
        using var scope = NewDisposeScope();
        using var group = ranks.Split(ranks.Rank % 2);
        int[] members = [.. Enumerable.Range(0, ranks.Size).Where(rank => rank % 2 == ranks.Rank % 2)];
        if (group.Size != members.Length || group.Rank != Array.IndexOf(members, ranks.Rank))
            throw new InvalidOperationException($"rank {group.Rank} of {group.Size} in its group; expected {members.Length} ranks");
        var mine = Values(ranks.Rank, ScalarType.Float32, 7, ranks.Device);
        var gathered = zeros([7 * group.Size], ScalarType.Float32, ranks.Device);
        group.AllGather(gathered, mine);
        Same(cat([.. members.Select(rank => Values(rank, ScalarType.Float32, 7, ranks.Device))]), gathered, "all-gather in a group");
        Refused("group is -1", () => ranks.Split(-1));
    }

    static void CheckRefusals(Collectives ranks)
    {
        using var scope = NewDisposeScope();
        Refused("tensor is not contiguous", () => ranks.AllReduce(zeros([4, 3], device: ranks.Device).transpose(0, 1)));
        Refused("tensor is Byte", () => ranks.AllReduce(zeros([4], ScalarType.Byte, ranks.Device)));
        Refused($"root is {ranks.Size}", () => ranks.Broadcast(zeros([4], device: ranks.Device), ranks.Size));
        Refused("output has 4 elements", () => ranks.ReduceScatter(zeros([4], device: ranks.Device), zeros([3], device: ranks.Device)));
    }

    static void Refused(string expected, Action action)
    {
        try
        {
            action();
        }
        catch (ArgumentException e) when (e.Message.StartsWith(expected, StringComparison.Ordinal))
        {
            return;
        }
        throw new InvalidOperationException($"no refusal '{expected}...'");
    }

    static void Same(Tensor expected, Tensor actual, string what)
    {
        if (!expected.eq(actual).all().item<bool>())
            throw new InvalidOperationException($"{what}: {actual.ToString(true)}; expected {expected.ToString(true)}");
    }
}
