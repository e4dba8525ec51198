using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Represents a record of what an operator saves for its gradient: tensors by name, and values that are not tensors.</summary>
interface ISavedTensors<TSelf> where TSelf : class, ISavedTensors<TSelf>
{
    /// <summary>Returns a copy in which every tensor is replaced. The order of the calls is always the same.</summary>
    TSelf Map(Func<Tensor?, Tensor?> replace);
}
