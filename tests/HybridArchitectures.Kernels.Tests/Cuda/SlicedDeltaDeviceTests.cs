namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests on a GPU that the kernels of delta nets write gradients of slices to their places.</summary>
[Trait("device", "cuda")]
public class SlicedDeltaDeviceTests
{
    [Theory]
    [InlineData(false), InlineData(true)]
    public void Gradients_have_the_bits_of_those_joined_by_a_copy(bool decaysChannels)
    {
        Gpu.IsNeeded();
        new SlicedDelta(4, decaysChannels ? 4 : 2, 64, 128, decaysChannels).EqualsGradientsJoinedByCopy(2, 300, Gpu.Device);
        new SlicedDelta(16, 16, 128, 128, decaysChannels).EqualsGradientsJoinedByCopy(1, 4096, Gpu.Device);
        using var packed = SequenceLayout.Packed([[500, 0, 3300, 1], [2000]], 4000, Gpu.Device);
        new SlicedDelta(8, 8, 64, 64, decaysChannels).EqualsGradientsJoinedByCopy(2, 4000, Gpu.Device, packed);
    }
}
