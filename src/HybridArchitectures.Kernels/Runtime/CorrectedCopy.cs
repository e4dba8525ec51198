using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Loads a copy of TorchSharp's native library that is corrected for an older libstdc++ (Linux).
/// <para>
/// The copy is written to memory of this process, or otherwise to a new file in a folder, which is removed as soon as it is loaded. The library is
/// loaded through the handle with which it was written. No other file can therefore take its place, and nothing that another process created is ever
/// loaded.
/// </para>
/// </summary>
static partial class CorrectedCopy
{
    /// <summary>Represents memory in a list of places.</summary>
    public const string Memory = "memory";

    // the iostream initialiser of GCC 13 has this version; it is in the symbol table but never called
    static readonly string[] UnusedVersions = ["GLIBCXX_3.4.31", "GLIBCXX_3.4.32"];

    // the number of a closed handle, and with it its name in /proc, could be used for another file
    static readonly List<SafeHandle> Loaded = [];

    [LibraryImport("libc", EntryPoint = "memfd_create", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int CreateMemoryFile(string name, uint flags);

    /// <summary>Loads the corrected copy of <paramref name="original"/>.</summary>
    /// <exception cref="DllNotFoundException">The file cannot be corrected, or no place allows the copy to be loaded.</exception>
    public static nint Load(string original)
    {
        var bytes = File.ReadAllBytes(original);
        if (ElfVersionNeeds.Weaken(bytes, UnusedVersions) == 0)
            throw new DllNotFoundException(
                $"{original} cannot be loaded, and not for the libstdc++ version it names; 'ldd {original}' shows what this system lacks.");
        return Load(bytes, Path.GetFileName(original), [Memory, NativeNames.CacheFolder, Path.GetTempPath()], NativeLibrary.Load);
    }

    /// <summary>Loads a library from the first of <paramref name="locations"/> that allows it.</summary>
    /// <param name="library">The bytes of the library.</param>
    /// <param name="fileName">Its name.</param>
    /// <param name="locations">Folders, or <see cref="Memory"/>.</param>
    /// <param name="load">Loads the library at a path; throws an exception if the system refuses.</param>
    internal static nint Load(byte[] library, string fileName, IReadOnlyList<string> locations, Func<string, nint> load)
    {
        var refusals = new List<string>();
        foreach (var location in locations)
        {
            try
            {
                return location == Memory ? FromMemory(library, fileName, load) : FromFolder(library, fileName, location, load);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or DllNotFoundException or EntryPointNotFoundException)
            {
                refusals.Add($"{location} ({e.Message.Split('\n')[0].TrimEnd('.')})");
            }
        }
        throw new DllNotFoundException($"The corrected copy of {fileName} cannot be loaded from any of {string.Join(", ", refusals)}. "
            + "Let HYBRID_CACHE_PATH name a folder that can be written and that lies on a file system with execution allowed (mounted without "
            + "'noexec').");
    }

    static nint FromMemory(byte[] library, string fileName, Func<string, nint> load)
    {
        const uint CloseOnExec = 1;
        int descriptor = CreateMemoryFile(fileName, CloseOnExec);
        if (descriptor < 0) throw new IOException($"memfd_create: {Marshal.GetLastPInvokeErrorMessage()}");
        return Load(new SafeFileHandle(descriptor, ownsHandle: true), library, load);
    }

    static nint FromFolder(byte[] library, string fileName, string folder, Func<string, nint> load)
    {
        Directory.CreateDirectory(folder);
        var path = Path.Combine(folder, $"{fileName}.{Environment.ProcessId}.{Guid.NewGuid():N}");
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.ReadWrite, Share = FileShare.Read | FileShare.Delete };
        if (!OperatingSystem.IsWindows()) options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        var stream = new FileStream(path, options);
        try
        {
            return Load(stream.SafeFileHandle, library, load);
        }
        finally
        {
            File.Delete(path);
        }
    }

    static nint Load(SafeFileHandle handle, byte[] library, Func<string, nint> load)
    {
        try
        {
            RandomAccess.Write(handle, library, 0);
            var loaded = load($"/proc/self/fd/{handle.DangerousGetHandle()}");
            lock (Loaded) Loaded.Add(handle);
            return loaded;
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }
}
