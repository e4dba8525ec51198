using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>Contains the options with which a process joins the other ranks.</summary>
public sealed record CollectiveOptions
{
    /// <summary>
    /// Gets or sets the device of the model. A CUDA device without a number (or <c>cuda:0</c>) means the GPU with the number of the rank on its
    /// machine. The default, null, means the CPU.
    /// </summary>
    public Device? Device { get; init; }

    /// <summary>Gets or sets the library. The default is <see cref="CollectiveEngine.Automatic"/>.</summary>
    public CollectiveEngine Engine { get; init; }

    /// <summary>
    /// Gets or sets the time after which a rank that waits for the others throws a <see cref="CollectiveException"/>. It must be longer than the
    /// longest time in which only one rank works, such as writing a checkpoint. The default is 10 minutes.
    /// </summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Gets or sets the maximum time to wait for all ranks at the start. The default is 2 minutes.</summary>
    public TimeSpan StartTimeout { get; init; } = TimeSpan.FromMinutes(2);

    internal bool IsOnGpu => Device?.type == DeviceType.CUDA;

    internal void Check()
    {
        Require.Defined(Engine);
        Require.InRange(Timeout > TimeSpan.Zero && Timeout <= TimeSpan.FromDays(1), nameof(Timeout), Timeout, "a time above 0, at most 1 day");
        Require.InRange(StartTimeout > TimeSpan.Zero && StartTimeout <= TimeSpan.FromDays(1), nameof(StartTimeout), StartTimeout,
            "a time above 0, at most 1 day");
        Require.That(Device is null || Device.type is DeviceType.CPU or DeviceType.CUDA, nameof(Device), Device, "cpu or cuda");
        Require.That(Engine != CollectiveEngine.Nccl || IsOnGpu, nameof(Device), Device, "cuda, because the engine is NCCL");
        Require.That(Engine != CollectiveEngine.Mpi || !IsOnGpu, nameof(Device), Device, "cpu, because the engine is MPI");
    }
}
