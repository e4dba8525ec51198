using System.Runtime.InteropServices;

namespace HybridArchitectures.Storage;

/// <summary>
/// Distinguishes regular files from folders, named pipes, sockets and devices before a file is opened, because opening a pipe waits, and a device may
/// be endless.
/// </summary>
static unsafe partial class RegularFile
{
    const int TypeMask = 0xf000, Pipe = 0x1000, CharacterDevice = 0x2000, Folder = 0x4000, BlockDevice = 0x6000, Regular = 0x8000, Socket = 0xc000;
    const int CurrentFolder = -100;         // AT_FDCWD
    const uint TypeOnly = 1;                // STATX_TYPE
    const int StatBytes = 512;              // both structures are smaller

    /// <summary>Checks that a path is a regular file or a link to one.</summary>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    /// <exception cref="InvalidDataException">The path is a folder, a named pipe, a socket or a device.</exception>
    public static void Require(string path)
    {
        if (Kind(path) is { } kind) throw new InvalidDataException($"{path}: this is {kind}; expected a regular file");
        if (!File.Exists(path)) throw new FileNotFoundException($"no file '{path}'", path);
    }

    /// <summary>Returns whether a path is a regular file or a link to one.</summary>
    public static bool Is(string path) => Kind(path) is null && File.Exists(path);

    /// <summary>Returns the size and the time of the last change of a file. For a link, these are those of the target.</summary>
    /// <exception cref="FileNotFoundException">The file does not exist, or the target of the link does not.</exception>
    public static (long Bytes, DateTime ChangedUtc) Describe(string path)
    {
        var file = new FileInfo(path);
        // .NET describes the link itself, whose size is the length of its path
        if (file.LinkTarget is not null && file.ResolveLinkTarget(returnFinalTarget: true) is FileInfo target) file = target;
        return (file.Length, file.LastWriteTimeUtc);
    }

    static string? Kind(string path)
    {
        if (Directory.Exists(path)) return "a folder";
        if (!File.Exists(path)) return null;
        if (OperatingSystem.IsWindows()) return File.GetAttributes(path).HasFlag(FileAttributes.Device) ? "a device" : null;
        return (Mode(path) & TypeMask) switch
        {
            Pipe => "a named pipe",
            CharacterDevice => "a character device",
            Folder => "a folder",
            BlockDevice => "a block device",
            Socket => "a socket",
            _ => null,
        };
    }

    // a system without the call treats every file as regular
    static int Mode(string path)
    {
        var stat = stackalloc byte[StatBytes];
        try
        {
            if (OperatingSystem.IsLinux() && StatLinux(CurrentFolder, path, 0, TypeOnly, stat) == 0) return *(ushort*)(stat + 28);
            if (OperatingSystem.IsMacOS() && RuntimeInformation.ProcessArchitecture == Architecture.Arm64 && StatMac(path, stat) == 0)
                return *(ushort*)(stat + 4);
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
        }
        return Regular;
    }

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatLinux(int folder, string path, int flags, uint mask, byte* result);

    [LibraryImport("libc", EntryPoint = "stat", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int StatMac(string path, byte* result);
}
