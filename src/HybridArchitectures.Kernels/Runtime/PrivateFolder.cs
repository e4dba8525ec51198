using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Opens a folder whose files this process can trust, because only its user can have written them.
/// <list type="number">
/// <item>On Linux the folder is opened, and must be a folder of this user and no symbolic link. Write access of other users is removed.</item>
/// <item>All files are reached through the open folder, so that replacing the folder has no effect.</item>
/// <item>A file is read only if it is a regular file of this user that nobody else can write.</item>
/// <item>On other systems, the access rights of the user's folder are relied on.</item>
/// </list>
/// </summary>
sealed partial class PrivateFolder : IDisposable
{
    const UnixFileMode Mine = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    const UnixFileMode WritableByOthers = UnixFileMode.GroupWrite | UnixFileMode.OtherWrite;

    readonly SafeFileHandle? handle;

    PrivateFolder(string path, SafeFileHandle? handle)
    {
        this.handle = handle;
        Path = handle is null ? path : $"/proc/self/fd/{handle.DangerousGetHandle()}";
    }

    /// <summary>Gets the path under which files are reached until disposal.</summary>
    public string Path { get; }

    /// <summary>Opens a folder, and creates it if it does not exist.</summary>
    /// <exception cref="UnauthorizedAccessException">The folder belongs to another user, or is a symbolic link.</exception>
    /// <exception cref="IOException">The folder cannot be created or opened.</exception>
    public static PrivateFolder Open(string path)
    {
        path = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(path));
        if (OperatingSystem.IsWindows()) Directory.CreateDirectory(path);
        else Directory.CreateDirectory(path, Mine);
        if (!OperatingSystem.IsLinux()) return new(path, null);
        int descriptor = OpenFile(path, DirectoryNoFollow);
        if (descriptor < 0) throw new UnauthorizedAccessException($"{path} cannot be opened as a folder: {Marshal.GetLastPInvokeErrorMessage()}");
        var handle = new SafeFileHandle(descriptor, ownsHandle: true);
        try
        {
            RequireOwner(handle, path);
            if (File.GetUnixFileMode(handle) != Mine) File.SetUnixFileMode(handle, Mine);
            return new(path, handle);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Returns the contents of a file.</summary>
    /// <exception cref="UnauthorizedAccessException">Another user may have written the file.</exception>
    /// <exception cref="IOException">The file does not exist or is not readable.</exception>
    public byte[] Read(string name)
    {
        var path = System.IO.Path.Combine(Path, name);
        // a reader must not prevent another process from replacing the file (Windows)
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
        if (OperatingSystem.IsLinux())
        {
            RequireOwner(file, path);
            if ((File.GetUnixFileMode(file) & WritableByOthers) != 0) throw new UnauthorizedAccessException($"{path} can be written by other users");
        }
        var bytes = new byte[RandomAccess.GetLength(file)];
        int read = 0;
        for (int more; read < bytes.Length && (more = RandomAccess.Read(file, bytes.AsSpan(read), read)) > 0;) read += more;
        return read == bytes.Length ? bytes : bytes[..read];
    }

    /// <summary>Writes a file under a temporary name and moves it into place.</summary>
    /// <exception cref="IOException">The file is not writable.</exception>
    public void Write(string name, params ReadOnlySpan<byte[]> parts)
    {
        var path = System.IO.Path.Combine(Path, name);
        var temporary = $"{path}.{Environment.ProcessId}.{Guid.NewGuid():N}";
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows()) options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        try
        {
            using (var stream = new FileStream(temporary, options))
                foreach (var part in parts) stream.Write(part);
            File.Move(temporary, path, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    public void Dispose() => handle?.Dispose();

    static void RequireOwner(SafeFileHandle file, string path)
    {
        const int EmptyPath = 0x1000;
        const uint UserAndKind = 0x1 | 0x8;
        Span<byte> status = stackalloc byte[256];
        if (Status(file, "", EmptyPath, UserAndKind, status) != 0) throw new IOException($"{path}: statx: {Marshal.GetLastPInvokeErrorMessage()}");
        uint owner = MemoryMarshal.Read<uint>(status[20..]);
        if (owner != User()) throw new UnauthorizedAccessException($"{path} belongs to user {owner}; expected user {User()}, who runs this process");
    }

    // O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    static int DirectoryNoFollow => RuntimeInformation.ProcessArchitecture is Architecture.Arm64 or Architecture.Arm ? 0x8C000 : 0xB0000;

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int OpenFile(string path, int flags);

    // the structure of the kernel, the same on every processor; the owner is at byte 20
    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int Status(SafeFileHandle folder, string path, int flags, uint mask, Span<byte> status);

    [LibraryImport("libc", EntryPoint = "geteuid")]
    private static partial uint User();
}
