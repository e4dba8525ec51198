using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Contains the device of a model and the dtype of its activations.</summary>
/// <param name="Device">The device. A GPU has no number: with several ranks, each one uses the GPU of its number.</param>
/// <param name="Compute">The dtype of activations: float32 on the CPU, bfloat16 on a GPU.</param>
sealed record ModelPlace(Device Device, ScalarType Compute)
{
    /// <summary>The names of the places, in the order of the help.</summary>
    public const string Auto = "auto", OnCpu = "cpu", OnCuda = "cuda";

    /// <summary>Gets the CPU with float32 activations.</summary>
    public static ModelPlace Cpu => new(CPU, ScalarType.Float32);

    // torch.CUDA would throw without a GPU
    static ModelPlace Cuda => new(new Device(DeviceType.CUDA), ScalarType.BFloat16);

    /// <summary>Gets whether this is a GPU.</summary>
    public bool IsGpu => Device.type == DeviceType.CUDA;

    /// <summary>
    /// Gets the dtype of the weights of a model that is not trained. They are converted to the dtype of activations at every use, so that bfloat16
    /// ones give the same results and save that conversion.
    /// </summary>
    public ScalarType InferenceWeights => Compute;

    /// <summary>Returns the place that a name means.</summary>
    /// <param name="text">The name: auto, cpu or cuda.</param>
    /// <param name="name">The name of the option or key.</param>
    /// <exception cref="ArgumentException">The name is unknown, or it is cuda and no GPU can be used.</exception>
    public static ModelPlace Parse(string text, string name) => Parse(text, name, Obstacle);

    internal static ModelPlace Parse(string text, string name, Func<string?> obstacle) => text switch
    {
        OnCpu => Cpu,
        Auto => obstacle() is null ? Cuda : Cpu,
        OnCuda => obstacle() is not { } reason ? Cuda : throw Require.Refusal(name, text, $"{OnCpu}, because {reason}"),
        _ => throw Require.Refusal(name, text, $"{Auto}, {OnCpu} or {OnCuda}"),
    };

    // why no GPU can be used; null if one can
    static string? Obstacle()
    {
        if (!File.Exists(Path.Combine(TorchLibrary.Folder, NativeNames.File(NativeNames.TorchCuda))))
            return $"the libtorch in {TorchLibrary.Folder} is for the CPU. Build hybrid with -p:TorchBackend=cuda, or with -p:TorchBackend=none and "
                + $"name the folder of a libtorch with CUDA in {TorchLibrary.PathVariable}";
        TorchLibrary.EnsureLoaded();
        if (!cuda.is_available()) return "libtorch finds no GPU. Check with nvidia-smi that NVIDIA's driver, 570 or later, finds one";
        try
        {
            CudaRuntime.DeviceAt(0);
            return null;
        }
        catch (CudaException e)
        {
            return e.Message;
        }
    }

    /// <summary>Returns the place in words: "cuda, bfloat16 activations".</summary>
    public override string ToString() => Describe(Device, Compute);

    /// <summary>Returns a device and a dtype of activations in words.</summary>
    public static string Describe(Device device, ScalarType compute) =>
        $"{(device.type == DeviceType.CUDA ? OnCuda : OnCpu)}, {(compute == ScalarType.BFloat16 ? "bfloat16" : "float32")} activations";
}
