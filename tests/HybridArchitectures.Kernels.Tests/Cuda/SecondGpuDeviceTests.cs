using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>
/// Tests tensors on the second GPU of a host while libtorch works on the first. Kernels, products and streams must be those of the GPU with the
/// tensors.
/// </summary>
[Trait("device", "cuda")]
[Trait("gpus", "2")]
public class SecondGpuDeviceTests
{
    static readonly Device Second = new(DeviceType.CUDA, 1);

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void Operators_along_a_sequence_give_there_what_they_give_here(ScalarType type)
    {
        AreNeeded();
        foreach (var op in new SequenceOperator[] { new CausalConvolutionOperator(), new SelectiveScanOperator(), new StateSpaceDualOperator() })
        {
            using var scope = NewDisposeScope();
            using var random = manual_seed(1);
            var inputs = op.Inputs(2, 130);
            Tensor[] Results(Device device)
            {
                var leaves = op.Leaves(inputs, type, device: device);
                var (output, final) = op.Forward(leaves, null);
                Autograd.Backward(output.to(ScalarType.Float32).sum().add(final.to(ScalarType.Float32).sum(), Scalars.One));
                return [output.detach(), final.detach(), .. leaves.OrderBy(leaf => leaf.Key).Select(leaf => leaf.Value.grad!)];
            }
            Equal(Results(Gpu.Device), Results(Second));
        }
    }

    [Theory]
    [InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float32)]
    public void Other_operators_give_there_what_they_give_here(ScalarType type)
    {
        AreNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(2);
        var (x, y, weight, head) = (OperatorCheck.Normal(66, 128), OperatorCheck.Normal(66, 128), OperatorCheck.Normal(128),
            OperatorCheck.Normal(5003, 128) * 0.3);
        var targets = randint(0, 5003, [66], ScalarType.Int64);
        Equal(i => RmsNorm.Forward(i[0], i[1]), x, weight);
        Equal(i => GatedRmsNorm.Forward(i[0], i[1], i[2]), x, y, weight);
        Equal(i => SwiGlu.Forward(i[0], i[1]), x, y);
        Equal(i => BranchFusion.Forward(new(i[0], null, 2), new(i[1], null, 2), FusionKind.Difference), x, y);
        // several chunks of classes, whose gradients libtorch's and cuBLAS's products add up
        using (OperatorOptions.Use(new() { Thresholds = new() { MinLogits = 1 } }))
            Equal(i => LinearCrossEntropy.Forward(i[0], i[1], targets.to(i[0].device)), x, head);

        void Equal(Func<Tensor[], Tensor> op, params Tensor[] inputs)
        {
            Tensor[] Results(Device device)
            {
                var leaves = inputs.Select(input => input.to(type).to(device).detach().requires_grad_()).ToArray();
                var output = op(leaves);
                Autograd.Backward(output.to(ScalarType.Float32).sum());
                return [output.detach(), .. leaves.Select(leaf => leaf.grad!)];
            }
            SecondGpuDeviceTests.Equal(Results(Gpu.Device), Results(Second));
        }
    }

    [Fact]
    public void A_product_of_cuBLAS_runs_on_the_GPU_of_its_operands()
    {
        AreNeeded();
        using var scope = NewDisposeScope();
        using var random = manual_seed(3);
        var (a, b) = (randn(70, 64).to(ScalarType.BFloat16).to(Second), randn(64, 40).to(ScalarType.BFloat16).to(Second));
        var result = empty([70, 40], ScalarType.Float32, Second);
        Assert.True(CudaBlas.TryProduct(result, a, false, b, add: false));
        OperatorCheck.Close(a.cpu().to(ScalarType.Float64).mm(b.cpu().to(ScalarType.Float64)), result.cpu(), 1e-6, "the product");
    }

    static void AreNeeded()
    {
        Gpu.IsNeeded();
        Assert.SkipUnless(cuda.device_count() > 1, "one CUDA device: nothing was run on a second one");
    }

    static void Equal(Tensor[] here, Tensor[] there)
    {
        for (int i = 0; i < here.Length; i++)
        {
            Assert.Equal((DeviceType.CUDA, 1), (there[i].device_type, there[i].device_index));
            Assert.True(here[i].cpu().eq(there[i].cpu()).all().item<bool>(), $"result {i} differs");
        }
    }
}
