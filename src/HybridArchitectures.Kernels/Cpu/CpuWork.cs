using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>Shares loops over rows among as many threads as libtorch uses.</summary>
static class CpuWork
{
    const long LeastPerThread = 1 << 15;        // elements: below, starting a thread costs more than it saves

    /// <summary>Calls <paramref name="body"/> with ranges [from, to) that cover all rows.</summary>
    public static void Share(long rows, long elementsPerRow, Action<long, long> body)
    {
        long parts = Parts(rows, rows * elementsPerRow);
        if (rows <= 0) return;
        if (parts == 1) body(0, rows);
        else Parallel.For(0, (int)parts, new ParallelOptions { MaxDegreeOfParallelism = (int)parts }, part => body(rows * part / parts, rows * (part + 1) / parts));
    }

    /// <summary>Calls <paramref name="body"/> with (block, from, to); the cut into blocks does not depend on the number of threads, and so neither do sums over them.</summary>
    public static void ShareBlocks(long rows, long elementsPerRow, long blocks, Action<long, long, long> body) =>
        Share(blocks, rows * elementsPerRow / Math.Max(1, blocks), (first, end) =>
        {
            for (long block = first; block < end; block++) body(block, rows * block / blocks, rows * (block + 1) / blocks);
        });

    /// <summary>Into how many blocks to cut rows whose sum is wanted.</summary>
    public static long Blocks(long rows) => Math.Clamp(rows / 64, 1, 16);

    static long Parts(long rows, long elements) => elements < 2 * LeastPerThread ? 1 : Math.Max(1, Math.Min(Math.Min(rows, get_num_threads()), elements / LeastPerThread));
}
