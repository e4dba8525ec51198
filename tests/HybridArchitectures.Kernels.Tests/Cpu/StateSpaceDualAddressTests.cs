using HybridArchitectures.Kernels.Cpu.StateSpace;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cpu;

public class StateSpaceDualAddressTests
{
    static StateSpaceDualInputs Inputs() => new(randn(1, 9, 2, 8), randn(1, 9, 2), randn(2), randn(1, 9, 1, 8), randn(1, 9, 1, 8)) { D = randn(2) };

    [Fact]
    public void Memory_that_was_released_is_refused_and_not_accessed()
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs();
        TensorStorage.Release(inputs.X);
        var error = Assert.Throws<InvalidOperationException>(() => StateSpaceDual.Compute(inputs));
        Assert.Contains("(1, 9, 2, 8) has no memory", error.Message);
    }

    [Fact]
    public void An_access_to_an_invalid_address_names_the_addresses_and_those_of_the_results()
    {
        using var scope = NewDisposeScope();
        var inputs = Inputs();
        var gradients = new StateSpaceDualGradients(StateSpaceDualCpu.Shape.From(inputs), inputs);
        string text = gradients.InvalidAddress(new()).Message;
        unsafe
        {
            Assert.Contains($"D 0x{(nint)gradients.D:x} of 0x{(nint)gradients.D:x}, dtBias 0x0 of 0x0", text);
        }
    }
}
