using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// How long libtorch's OpenMP threads wait for work and for each other without sleeping.
/// <para>
/// The usual default is milliseconds (GNU: 300,000 turns of a loop; LLVM and Intel: 200 ms). A thread that waits so holds its core, and on a core shared with
/// other programs it keeps the very thread from running that it waits for. A bound near the time of a sleep and a wake-up costs little on a quiet machine.
/// </para>
/// </summary>
static partial class OpenMp
{
    /// <summary>Turns of the waiting loop of GNU's OpenMP, about 40 ns each on current processors.</summary>
    public const string SpinCount = "1000";

    /// <summary>The waiting time of LLVM's and Intel's OpenMP, in milliseconds.</summary>
    public const string BlockTime = "1";

    /// <summary>Variables by which a user chooses; one that is set leaves everything to them.</summary>
    public static readonly string[] Chosen = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"];

    /// <summary>Bounds the waiting where the user has chosen nothing. It must precede the loading of libtorch, whose OpenMP library reads the environment then.</summary>
    public static void BoundWaiting()
    {
        if (Array.Exists(Chosen, name => Environment.GetEnvironmentVariable(name) is not null)) return;
        Set("GOMP_SPINCOUNT", SpinCount);
        Set("KMP_BLOCKTIME", BlockTime);
    }

    // .NET changes its own copy of the environment alone, except on Windows
    static void Set(string name, string value)
    {
        if (OperatingSystem.IsWindows()) Environment.SetEnvironmentVariable(name, value);
        else _ = SetNative(name, value, 0);
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetNative(string name, string value, int overwrite);
}
