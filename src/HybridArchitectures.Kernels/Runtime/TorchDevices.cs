using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Says what is missing where a device cannot be used.</summary>
static class TorchDevices
{
    /// <summary>Refuses a CUDA device that this program's libtorch or this machine does not have.</summary>
    /// <param name="device">The device asked for.</param>
    /// <param name="name">The argument's name.</param>
    /// <exception cref="ArgumentException">The device cannot be used; the message says what to install.</exception>
    public static void Require(Device device, string name)
    {
        if (device.type != DeviceType.CUDA) return;
        TorchLibrary.EnsureLoaded();
        if (!File.Exists(Path.Combine(TorchLibrary.Folder, NativeNames.File(NativeNames.TorchCuda))))
            throw new ArgumentException(WithoutCuda(device, name), name);
        if (!cuda.is_available())
            throw new ArgumentException($"{name} is {device}; expected cpu, since libtorch finds no GPU that it can use. It needs NVIDIA's driver, "
                + "570 or later for the CUDA 12.8 of TorchSharp's packages and 580 or later for CUDA 13; nvidia-smi prints its version.", name);
        int count = cuda.device_count();
        if (device.index >= count)
            throw new ArgumentException($"{name} is {device}; expected cuda:0{(count == 1 ? "" : $" to cuda:{count - 1}")}, the GPUs of this machine.", name);
    }

    static string WithoutCuda(Device device, string name)
    {
        string package = OperatingSystem.IsWindows() ? "TorchSharp-cuda-windows" : "TorchSharp-cuda-linux";
        return $"{name} is {device}; expected cpu, since the libtorch of this program ('{TorchLibrary.Folder}') is built without CUDA. "
            + $"For a GPU, put the package {package} in the place of TorchSharp-cpu (dotnet remove package TorchSharp-cpu; dotnet add package {package} --version {NativeNames.TorchSharpVersion}), "
            + $"or let {TorchLibrary.PathVariable} name the folder of a libtorch with CUDA in a program without either package.";
    }
}
