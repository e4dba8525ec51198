using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Tests.Cuda;

[Trait("device", "cuda")]
public class DeviceUploadDeviceTests
{
    [Fact]
    public void A_copy_waits_until_the_copy_before_has_read_the_numbers()
    {
        Gpu.IsNeeded();
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var busy = randn([4096, 4096], device: CUDA);
        var target = zeros([3], ScalarType.Int64, CUDA);
        using var upload = new DeviceUpload(target);
        var seen = new List<Tensor>();
        for (long round = 0; round < 20; round++)
        {
            busy = mm(busy, busy);      // the copy is still queued when the host goes on
            upload.Copy([round, -round, 7 * round], target);
            seen.Add(target.clone());
        }
        for (long round = 0; round < 20; round++)
            Assert.Equal([round, -round, 7 * round], TensorMemory.ToArray<long>(seen[(int)round]));
    }
}
