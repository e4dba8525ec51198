using TorchSharp;

namespace HybridArchitectures;

/// <summary>Counts of live tensors that only the test at hand can change.</summary>
internal static class LiveTensors
{
    /// <summary>The count once all that earlier tests left to the garbage collector is gone: it cannot fall in the middle of a comparison.</summary>
    public static long Settled()
    {
        long count;
        do
        {
            count = torch.Tensor.TotalCount;
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        while (torch.Tensor.TotalCount != count);
        return count;
    }
}
