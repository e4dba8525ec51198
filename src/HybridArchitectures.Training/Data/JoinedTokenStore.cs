using static TorchSharp.torch;

namespace HybridArchitectures.Training.Data;

/// <summary>Concatenates several stores.</summary>
sealed class JoinedTokenStore : ITokenStore
{
    readonly ITokenStore[] parts;
    readonly long[] firsts;      // the start of each part

    public JoinedTokenStore(IEnumerable<ITokenStore> stores)
    {
        parts = [.. stores];
        firsts = new long[parts.Length];
        for (int i = 0; i < parts.Length; i++)
        {
            firsts[i] = Count;
            Count += parts[i].Count;
        }
        IsSmall = parts.All(part => part.IsSmall);
    }

    public long Count { get; }

    public bool IsSmall { get; }

    public void CopyTo(long start, Span<long> target)
    {
        int part = Array.BinarySearch(firsts, start);
        if (part < 0) part = ~part - 1;
        while (target.Length > 0)
        {
            long from = start - firsts[part];
            int count = (int)Math.Min(target.Length, parts[part].Count - from);
            parts[part].CopyTo(from, target[..count]);
            target = target[count..];
            start += count;
            part++;
        }
    }

    public Tensor ToTensor()
    {
        using var scope = NewDisposeScope();
        var all = parts.Select(part => part.ToTensor()).ToArray();
        // 16-bit values are unsigned, regardless of the dtype of the tensor
        return cat(IsSmall ? all : Array.ConvertAll(
            all, part => part.dtype == ScalarType.Int16 ? part.to(ScalarType.Int32).bitwise_and(tensor(0xffff)) : part)).MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        foreach (var part in parts) part.Dispose();
    }
}
