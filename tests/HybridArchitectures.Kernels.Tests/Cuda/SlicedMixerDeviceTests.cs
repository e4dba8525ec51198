using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Tests on a GPU that kernels write gradients of slices to their places.</summary>
[Trait("device", "cuda")]
public class SlicedMixerDeviceTests
{
    [Theory]
    [InlineData(ScalarType.Float32), InlineData(ScalarType.BFloat16)]
    public void Gradients_have_the_bits_of_those_joined_by_a_copy(ScalarType type)
    {
        Gpu.IsNeeded();
        new SlicedMixer(8, 8, 8, 16).EqualsGradientsJoinedByCopy(2, 300, type, Gpu.Device, isSplit: false);
        new SlicedMixer(64, 64, 1, 128).EqualsGradientsJoinedByCopy(1, 300, type, Gpu.Device, isSplit: true, normFirst: true);
        new SlicedMixer(32, 128, 1, 128).EqualsGradientsJoinedByCopy(2, 8192, type, Gpu.Device, isSplit: false);
        using var packed = SequenceLayout.Packed([[500, 0, 3300, 1], [2000]], 4000, Gpu.Device);
        new SlicedMixer(64, 64, 2, 128).EqualsGradientsJoinedByCopy(2, 4000, type, Gpu.Device, isSplit: false, layout: packed);
    }
}
