using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Reference;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

[Trait("device", "cuda")]
public class GroupedLinearDeviceTests
{
    [Theory]
    [InlineData(ScalarType.BFloat16, 64, 128, new[] { 0, 0, 130, 257, 1000 })]
    [InlineData(ScalarType.BFloat16, 256, 72, new[] { 4096, 4099, 4099, 4099 })]
    [InlineData(ScalarType.Float32, 64, 36, new[] { 3, 3, 77, 129 })]
    public void Outputs_and_gradients_err_no_more_than_a_product_per_group(ScalarType type, int inputs, int outputs, int[] ends)
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(1);
        Gpu.PoisonFreeBlocks();
        // the places lie where the operands lie
        Tensor Places(Tensor like) => tensor(ends, ScalarType.Int32).to(like.device);
        Assert.Equal(KernelBackend.LibTorch,
            GroupedLinear.BackendFor(zeros(1, inputs, type, Gpu.Device), zeros(1, outputs, inputs, type, Gpu.Device)));
        OperatorCheck.IsAsGoodAsComposed(type,
            given => GroupedLinear.Forward(given[0]!.to(Gpu.Device), given[1]!.to(Gpu.Device), Places(zeros(1, device: Gpu.Device))).cpu(),
            given => GroupedLinearReference.Forward(given[0]!, given[1]!, Places(given[0]!)), given =>
            GroupedLinearReference.Forward(given[0]!, given[1]!, Places(given[0]!)),
            [OperatorCheck.Normal(ends[^1], inputs), OperatorCheck.Normal(ends.Length, outputs, inputs)]);
    }
}
