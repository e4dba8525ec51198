using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Copies tensors from main memory to a device without waiting for the work of that device.</summary>
static class DeviceCopy
{
    /// <summary>
    /// Returns the tensor on a device. To a GPU it is copied from page-locked memory, in the order of the current stream. A copy from other memory
    /// would wait until all earlier work of the stream is done.
    /// </summary>
    /// <param name="value">The tensor, in main memory.</param>
    /// <param name="device">The device. Null means the CPU.</param>
    public static Tensor Place(Tensor value, Device? device)
    {
        if (device is null || device.type == DeviceType.CPU) return value;
        if (device.type != DeviceType.CUDA || value.device_type != DeviceType.CPU) return value.to(device);
        using var locked = value.pin_memory();
        return locked.to(device, non_blocking: true);
    }
}
