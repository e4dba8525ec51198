using System.Runtime.ExceptionServices;
using System.Text;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>Lets the ranks of a run decide together. With one rank, every method only runs its argument.</summary>
sealed class RankGroup(DataParallel? parallel) : IDisposable
{
    const int MaxShown = 200;

    public Collectives Collectives { get; } = parallel?.Collectives ?? Collectives.Single();

    /// <summary>Gets the strategy; that of one rank divides nothing.</summary>
    public DataParallelStrategy Strategy => IsAlone ? DataParallelStrategy.Replicated : parallel!.Strategy;

    /// <summary>Gets whether the state of the optimizer is divided over several ranks.</summary>
    public bool IsSharded => Strategy != DataParallelStrategy.Replicated;

    /// <summary>Gets whether the parameters are divided over several ranks.</summary>
    public bool DividesParameters => Strategy is DataParallelStrategy.FullySharded or DataParallelStrategy.Hybrid;

    /// <summary>Gets what must be the same on all ranks.</summary>
    public string Description => Strategy == DataParallelStrategy.Hybrid
        ? FormattableString.Invariant($"{Strategy} with {nameof(DataParallel.ShardRanks)} {parallel!.ShardRanks}") : Strategy.ToString();

    /// <summary>Gets whether all ranks have the complete parameters after a run.</summary>
    public bool GathersAfterRun => parallel?.GatherAfterRun ?? true;

    /// <summary>Gets the minimum size of gradients that are summed together.</summary>
    public long BucketBytes => parallel?.BucketBytes ?? long.MaxValue;

    /// <summary>Gets the ranks over which state and parameters are divided: all, or those of the machine of this rank.</summary>
    public Collectives Sharding { get; private set; } = parallel?.Collectives ?? Collectives.Single();

    /// <summary>Gets the ranks of the other machines that have the same share; null if all shares are different.</summary>
    public Collectives? Replicas { get; private set; }

    /// <summary>Divides the ranks into machines if the strategy requires it. All ranks call it.</summary>
    /// <exception cref="CollectiveException">The machines have different numbers of ranks.</exception>
    public void DivideByMachine()
    {
        if (Strategy != DataParallelStrategy.Hybrid) return;
        int machine = parallel!.ShardRanks > 0 ? Rank / parallel.ShardRanks : Machine();
        Sharding = Collectives.Split(machine);
        Replicas = Collectives.Split(Sharding.Rank);
    }

    // the first rank of the same machine
    int Machine()
    {
        string[] names = [.. Enumerable.Range(0, Size).Select(rank => TextFrom(rank, Environment.MachineName))];
        var counts = names.CountBy(name => name).ToArray();
        if (counts.FirstOrDefault(item => item.Value != counts[0].Value) is { Key: { } other } uneven)
            throw new CollectiveException(Require.Message($"the machine '{other}' has {uneven.Value} ranks",
                $"{counts[0].Value}, as '{counts[0].Key}' has, for the strategy {nameof(DataParallelStrategy.Hybrid)}; or set "
                + $"{nameof(DataParallel.ShardRanks)}"));
        return Array.IndexOf(names, Environment.MachineName);
    }

    /// <summary>Ends the connections within machines and between them.</summary>
    public void Dispose()
    {
        if (Replicas is null) return;
        Replicas.Dispose();
        Sharding.Dispose();
    }

    public int Size => Collectives.Size;

    public int Rank => Collectives.Rank;

    public bool IsAlone => Collectives.Size == 1;

    public bool IsFirst => Collectives.IsFirst;

    /// <summary>Returns the rows of this rank: its part of the rows of a step, in the order of the ranks.</summary>
    public (int First, int Count) RowsOf(int batch)
    {
        int first = (int)((long)batch * Rank / Size);
        return (first, (int)((long)batch * (Rank + 1) / Size) - first);
    }

    /// <summary>
    /// Tells the other ranks whether this one has failed. If another rank has and this one has not, throws an exception with the message of that
    /// rank. The caller throws its own exception.
    /// </summary>
    public void Settle(Exception? mine)
    {
        if (IsAlone || mine is CollectiveException) return;
        if (FirstText(mine?.Message) is not var (rank, message) || mine is not null) return;
        throw new CollectiveException($"rank {rank} failed: {message}");
    }

    /// <summary>Runs an action on rank 0. If it fails there, it fails on all ranks.</summary>
    public void OnFirst(Action action)
    {
        if (IsAlone)
        {
            action();
            return;
        }
        Exception? failure = null;
        try
        {
            if (IsFirst) action();
        }
        catch (Exception e)
        {
            failure = e;
        }
        Settle(failure);
        if (failure is not null) ExceptionDispatchInfo.Throw(failure);
    }

    /// <summary>Returns whether a condition holds on any rank.</summary>
    public bool Any(bool condition)
    {
        if (IsAlone) return condition;
        using var value = tensor(condition ? 1L : 0L);
        Collectives.AllReduce(value, ReduceOperation.Max);
        return value.item<long>() != 0;
    }

    /// <summary>Returns the sum of the values of all ranks.</summary>
    public double Sum(double value)
    {
        if (IsAlone) return value;
        using var sum = tensor(value, ScalarType.Float64);
        Collectives.AllReduce(sum);
        return sum.item<double>();
    }

    /// <summary>Replaces values by their sums over all ranks.</summary>
    public void Sum(double[] values)
    {
        if (IsAlone) return;
        using var sums = tensor(values);
        Collectives.AllReduce(sums);
        TensorMemory.ToArray<double>(sums).CopyTo(values, 0);
    }

    /// <summary>Returns the values of rank 0.</summary>
    public double[] FromFirst(params double[] values)
    {
        if (IsAlone) return values;
        using var copies = tensor(values);
        Collectives.Broadcast(copies);
        return TensorMemory.ToArray<double>(copies);
    }

    /// <summary>Returns the text of one rank.</summary>
    public string TextFrom(int rank, string text)
    {
        if (IsAlone) return text;
        using var scope = NewDisposeScope();
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        var length = tensor((long)bytes.Length);
        Collectives.Broadcast(length, rank);
        if (length.item<long>() == 0) return "";
        var copy = Rank == rank ? tensor(bytes) : zeros([length.item<long>()], ScalarType.Byte);
        Collectives.Broadcast(copy, rank);
        return Encoding.UTF8.GetString(TensorMemory.ToArray<byte>(copy));
    }

    /// <summary>Returns the parts of a file that all ranks have.</summary>
    public List<(long Offset, long Bytes, uint Crc)> Collect(IReadOnlyList<(long Offset, long Bytes, uint Crc)> mine)
    {
        using var scope = NewDisposeScope();
        var max = tensor((long)mine.Count);
        Collectives.AllReduce(max, ReduceOperation.Max);
        int count = (int)max.item<long>();
        long[] numbers = [.. mine.SelectMany(part => (long[])[part.Offset, part.Bytes, part.Crc]), .. new long[3 * (count - mine.Count)]];
        var all = zeros([numbers.Length * Size], ScalarType.Int64);
        Collectives.AllGather(all, tensor(numbers));
        // missing parts have no bytes
        return [.. TensorMemory.ToArray<long>(all).Chunk(3).Select(part => (part[0], part[1], (uint)part[2])).Where(part => part.Item2 > 0)];
    }

    /// <summary>Returns the first rank that has a text, and the text; null if none has.</summary>
    public (int Rank, string Text)? FirstText(string? mine)
    {
        if (IsAlone) return mine is null ? null : (0, mine);
        using var first = tensor((long)(mine is null ? Size : Rank));
        Collectives.AllReduce(first, ReduceOperation.Min);
        int rank = (int)first.item<long>();
        return rank == Size ? null : (rank, TextFrom(rank, mine ?? ""));
    }

    /// <summary>Checks that facts are the same on all ranks.</summary>
    /// <param name="facts">Names and values, in the same order on all ranks.</param>
    /// <exception cref="CollectiveException">A fact differs. The message is the same on all ranks, and names the fact and the rank.</exception>
    public void RequireSame(IReadOnlyList<(string Name, string Value)> facts)
    {
        if (IsAlone) return;
        string mine = string.Join('\0', facts.Select(fact => $"{fact.Name}\u0001{fact.Value}"));
        string expected = TextFrom(0, mine);
        if (FirstText(expected == mine ? null : mine) is not var (rank, other)) return;
        throw new CollectiveException(Difference(Parse(expected), Parse(other), rank));
    }

    static Dictionary<string, string> Parse(string text) =>
        text.Split('\0').Select(fact => fact.Split('\u0001', 2)).ToDictionary(fact => fact[0], fact => fact[1], StringComparer.Ordinal);

    static string Difference(Dictionary<string, string> expected, Dictionary<string, string> found, int rank)
    {
        foreach (string name in expected.Keys.Union(found.Keys))
        {
            string mine = expected.GetValueOrDefault(name, "absent"), other = found.GetValueOrDefault(name, "absent");
            if (mine == other) continue;
            // of a long text, the first line that differs
            string[] lines = mine.Split('\n'), otherLines = other.Split('\n');
            int line = Enumerable.Range(0, Math.Min(lines.Length, otherLines.Length)).FirstOrDefault(i => lines[i] != otherLines[i]);
            bool isLong = lines.Length > 1 || otherLines.Length > 1;
            string at = isLong ? string.Create(System.Globalization.CultureInfo.InvariantCulture, $" (line {line + 1})") : "";
            return Require.Message($"{name}{at} is {Shown(otherLines[line])} on rank {rank}", $"{Shown(lines[line])}, as on rank 0");
        }
        return $"rank {rank} differs from rank 0";
    }

    static string Shown(string value) => value.Trim() is { Length: > MaxShown } text ? text[..MaxShown] + "..." : value.Trim();
}
