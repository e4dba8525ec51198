using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests under emulation that the kernels of delta nets write gradients of slices to their places.</summary>
public sealed class SlicedDeltaEmulationTests : IDisposable
{
    readonly IDisposable options = OperatorOptions.Use(new() { Backend = KernelBackend.Cuda });

    public void Dispose() => options.Dispose();

    [Theory]
    [InlineData(80), InlineData(90)]
    public void Gradients_have_the_bits_of_those_joined_by_a_copy(int capability)
    {
        using var emulation = new CudaEmulation(capability: capability);
        new SlicedDelta(4, 2, 16, 24).EqualsGradientsJoinedByCopy(2, 70, CPU);
        new SlicedDelta(2, 2, 24, 16, DecaysChannels: true).EqualsGradientsJoinedByCopy(1, 70, CPU);
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void Padding_and_documents_have_the_same_gradients(bool decaysChannels)
    {
        using var emulation = new CudaEmulation();
        using var packed = SequenceLayout.Packed([[5, 0, 33, 1], [20]], 39);
        new SlicedDelta(2, 2, 16, 16, decaysChannels).EqualsGradientsJoinedByCopy(2, 39, CPU, packed);
    }
}
