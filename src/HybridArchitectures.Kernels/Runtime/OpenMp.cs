using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Limits how long the OpenMP threads of libtorch wait for work and for each other without sleeping.
/// <para>
/// The usual default is milliseconds (GNU: 300,000 iterations of a loop; LLVM and Intel: 200 ms). A waiting thread occupies its core. On a core that
/// is shared with other programs, it prevents the thread for which it waits from running. A limit near the time of a sleep and a wake-up costs little
/// on a quiet machine.
/// </para>
/// </summary>
static partial class OpenMp
{
    /// <summary>Specifies the iterations of the waiting loop of GNU OpenMP, about 40 ns each on current processors.</summary>
    public const string SpinCount = "1000";

    /// <summary>Specifies the waiting time of LLVM and Intel OpenMP, in milliseconds.</summary>
    public const string BlockTime = "1";

    /// <summary>Specifies the variables with which a user sets the waiting time. If one is set, nothing is changed.</summary>
    public static readonly string[] Chosen = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"];

    /// <summary>
    /// Limits the waiting time if the user has not set it. Call it before libtorch is loaded, because its OpenMP library reads the environment at
    /// that time.
    /// </summary>
    public static void BoundWaiting()
    {
        if (Array.Exists(Chosen, name => Environment.GetEnvironmentVariable(name) is not null)) return;
        Set("GOMP_SPINCOUNT", SpinCount);
        Set("KMP_BLOCKTIME", BlockTime);
    }

    // except on Windows, .NET changes only its own copy of the environment
    static void Set(string name, string value)
    {
        if (OperatingSystem.IsWindows()) Environment.SetEnvironmentVariable(name, value);
        else _ = SetNative(name, value, 0);
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetNative(string name, string value, int overwrite);
}
