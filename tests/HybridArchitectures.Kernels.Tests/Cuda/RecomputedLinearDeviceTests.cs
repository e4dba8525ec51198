using HybridArchitectures.Kernels.Operators;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests on a GPU that kernels write the input of a projection again with the bits of the forward pass, also over the gradient.</summary>
[Trait("device", "cuda")]
public class RecomputedLinearDeviceTests
{
    static Tensor Normal(params long[] size) => randn(size, ScalarType.Float32, Gpu.Device);

    [Theory]
    [InlineData(1, 8), InlineData(615, 123), InlineData(513, 11_008), InlineData(4099, 4096), InlineData(70_000, 64)]
    public void Results_are_those_of_a_projection_of_a_saved_input_to_the_bit(int rows, int width)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        Tensor[] pair = [Normal(rows, width), Normal(rows, width)];
        foreach (var type in (ScalarType[])[ScalarType.BFloat16, ScalarType.Float32])
        {
            RecomputedLinearOperator.EqualsProjectionOfSavedInput(
                inputs => new SwiGluProduct(inputs[0], inputs[1]), pair, type, ScalarType.Float32, bias: true);
            foreach (bool normFirst in (bool[])[false, true])
                RecomputedLinearOperator.EqualsProjectionOfSavedInput(
                    inputs => new GatedNormProduct(new(inputs[0], inputs[1], inputs[2], 1e-5, 1, normFirst)), [.. pair, Normal(width)], type,
                    ScalarType.Float32);
        }
    }
}
