using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

/// <summary>Implements one product per group over TorchSharp operators.</summary>
static class GroupedLinearReference
{
    public static Tensor Forward(Tensor x, Tensor weight, Tensor ends)
    {
        var last = TensorMemory.ToArray<int>(ends);
        // one unbind: its gradient is one stack, with zeros for a group without rows
        var weights = weight.unbind(0);
        var results = new List<Tensor>(last.Length);
        for (int group = 0, start = 0; group < last.Length; start = last[group++])
            if (last[group] > start) results.Add(nn.functional.linear(x.narrow(0, start, last[group] - start), weights[group]));
        return results.Count == 0 ? nn.functional.linear(x, weights[0]) : cat(results, 0);
    }
}
