using HybridArchitectures.Design;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Verification;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Models;

public class MissingDeviceTests
{
    [Fact]
    public void A_GPU_that_the_libtorch_cannot_use_is_refused_with_what_to_install()
    {
        Assert.SkipWhen(cuda.is_available(), "this machine has a GPU");
        var design = TinyDesigns.Get("mamba1");
        foreach (var make in new Action[]
        {
            () => design.CreateModel(ScalarType.BFloat16, new Device(DeviceType.CUDA)), () =>
                design.CreateStack(device: new Device(DeviceType.CUDA, 1)),
            () => DesignVerifier.Verify(design, new() { Device = new Device(DeviceType.CUDA) }), () => TorchLibrary.Gpu(), () => TorchLibrary.Gpu(3),
        })
        {
            string said = Assert.Throws<ArgumentException>(make).Message;
            Assert.Matches("^(device|index) is cuda", said);
            Assert.Contains("built without CUDA", said);
            Assert.Contains(OperatingSystem.IsWindows() ? "dotnet add package TorchSharp-cuda-windows" : "dotnet add package TorchSharp-cuda-linux",
                said);
        }
    }
}
