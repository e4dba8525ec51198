using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Brings a folder's entries to the disk: a file that has been renamed into it is under its new name after a loss of power only then.</summary>
static partial class FolderSync
{
    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Flush(int descriptor);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);

    /// <summary>Waits until the folder's entries are on the disk; true if they are. A wish where the system or the file system knows no such thing (Windows writes them in their order).</summary>
    public static bool Try(string folder)
    {
        if (!OperatingSystem.IsLinux() && !OperatingSystem.IsMacOS()) return false;
        int descriptor = Open(folder, 0);
        if (descriptor < 0) return false;
        try
        {
            return Flush(descriptor) == 0;
        }
        finally
        {
            _ = Close(descriptor);
        }
    }
}
