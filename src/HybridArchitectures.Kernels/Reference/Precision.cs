using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

static class Precision
{
    /// <summary>Returns the dtype of sums and statistics of an operator: float32, or float64 for float64 inputs.</summary>
    public static ScalarType Wide(Tensor x) => x.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;

    /// <summary>Returns the tensor in that dtype.</summary>
    public static Tensor Widen(Tensor x) => x.to(Wide(x));
}
