using System.Runtime.InteropServices;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>Writes the entries of a folder to the disk. Only then does a renamed file have its new name after a loss of power.</summary>
static partial class FolderSync
{
    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Flush(int descriptor);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);

    /// <summary>
    /// Waits until the entries of the folder are on the disk, and returns whether they are. Systems or file systems without this function return
    /// false (Windows writes them in order).
    /// </summary>
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
