using HybridArchitectures.Kernels.Runtime;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public class TensorStorageTests
{
    [Fact]
    public void A_gradient_is_right_although_weights_were_released_after_the_forward_pass()
    {
        using var scope = NewDisposeScope();
        var whole = randn([6 * 4 + 6]);
        var (values, bias) = (whole.narrow(0, 0, 24).view(6, 4), whole.narrow(0, 24, 6));
        float[] kept = TensorMemory.ToArray<float>(whole);
        var (weight, offset) = (new Parameter(values.clone()), new Parameter(bias.clone()));
        Tensor x = randn([3, 4]).requires_grad_();
        Autograd.Backward(nn.functional.linear(x, weight, offset).square().sum());
        float[][] expected = [.. ((Tensor[])[weight, offset, x]).Select(tensor => TensorMemory.ToArray<float>(tensor.grad!))];
        foreach (var tensor in (Tensor[])[weight, offset, x]) tensor.grad = null;

        using (no_grad())
        {
            TensorStorage.SetData(weight, values);
            TensorStorage.SetData(offset, bias);
        }
        var loss = nn.functional.linear(x, weight, offset).square().sum();
        using (no_grad())
        {
            TensorStorage.SetData(weight, tensor(float.NaN).expand(6, 4));
            TensorStorage.Release(whole);
            Assert.True(weight.isnan().all().item<bool>());
            Assert.Equal(0, TensorMemory.Pointer(whole));
            TensorStorage.Allocate(whole);
            whole.copy_(tensor(kept));
            TensorStorage.SetData(weight, values);
        }
        Autograd.Backward(loss);
        Assert.Equal(expected, ((Tensor[])[weight, offset, x]).Select(tensor => TensorMemory.ToArray<float>(tensor.grad!)));
    }
}
