using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Throws exceptions that name the missing component if a device cannot be used.</summary>
static class TorchDevices
{
    /// <summary>Throws an exception for a CUDA device that the libtorch of this program or this machine does not have.</summary>
    /// <param name="device">The requested device.</param>
    /// <param name="name">The name of the argument.</param>
    /// <exception cref="ArgumentException">The device cannot be used. The message says what to install.</exception>
    public static void EnsureUsable(Device device, string name)
    {
        if (device.type != DeviceType.CUDA) return;
        TorchLibrary.EnsureLoaded();
        if (!File.Exists(Path.Combine(TorchLibrary.Folder, NativeNames.File(NativeNames.TorchCuda))))
            throw Require.Refusal(name, device, WithoutCuda());
        if (!cuda.is_available())
            throw Require.Refusal(name, device,
                "cpu, since libtorch finds no GPU that it can use. It needs NVIDIA's driver, 570 or later for the CUDA 12.8 of TorchSharp's "
                + "packages and 580 or later for CUDA 13; nvidia-smi prints its version");
        int count = cuda.device_count();
        if (device.index >= count)
            throw Require.Refusal(name, device, $"cuda:0{(count == 1 ? "" : $" to cuda:{count - 1}")}, the GPUs of this machine");
    }

    static string WithoutCuda()
    {
        string package = OperatingSystem.IsWindows() ? "TorchSharp-cuda-windows" : "TorchSharp-cuda-linux";
        return $"cpu, since the libtorch of this program ('{TorchLibrary.Folder}') is built without CUDA. "
            + $"For a GPU, put the package {package} in the place of TorchSharp-cpu (dotnet remove package TorchSharp-cpu; dotnet add package "
            + $"{package} --version {NativeNames.TorchSharpVersion}), "
            + $"or let {TorchLibrary.PathVariable} name the folder of a libtorch with CUDA in a program without either package.";
    }
}
