using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Reference;

static class Precision
{
    /// <summary>The type that sums and statistics of an operator are kept in: float32, or float64 for float64 input.</summary>
    public static ScalarType Wide(Tensor x) => x.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;

    /// <summary>The tensor in its wide type.</summary>
    public static Tensor Widen(Tensor x) => x.to(Wide(x));
}
