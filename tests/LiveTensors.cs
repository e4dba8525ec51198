using TorchSharp;

namespace HybridArchitectures;

/// <summary>Counts of live tensors that only the test at hand can change.</summary>
internal static class LiveTensors
{
    /// <summary>The count once all that earlier tests left to the garbage collector is gone: it cannot fall in the middle of a comparison.</summary>
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
}
