namespace HybridArchitectures.Storage;

/// <summary>
/// Implements a lock between threads and processes: a file that is open without sharing. The operating system releases it when the process ends.
/// <para>
/// 1. Open the file without sharing. If another holder has it open, the lock is taken. 2. On Unix, set the last write time of the open file to a
/// random value, and read it back by the path. If it differs, an earlier holder has just deleted the file, and the lock is tried again with the new
/// file. 3. To release the lock, delete the file and then close it. Only the holder deletes it.
/// </para>
/// File systems without locks (some network shares) provide no protection, and the operating system does not report that.
/// </summary>
sealed class PathLock : IDisposable
{
    const int SharingViolation = 32, LockViolation = 33, WouldBlockLinux = 11, WouldBlockMac = 35;

    readonly string path;
    readonly FileStream file;

    PathLock(string path, FileStream file) => (this.path, this.file) = (path, file);

    /// <summary>Takes the lock if it is free.</summary>
    /// <param name="path">The file of the lock. Its folder must exist.</param>
    /// <param name="conflict">The error of the operating system if another holder has the lock, or null.</param>
    /// <returns>The lock, or null if another holder has it.</returns>
    /// <exception cref="IOException">The file cannot be created for a reason other than another holder.</exception>
    /// <exception cref="UnauthorizedAccessException">Access to the file is denied.</exception>
    public static PathLock? Try(string path, out IOException? conflict)
    {
        conflict = null;
        while (true)
        {
            FileStream file;
            try
            {
                var options = OperatingSystem.IsWindows() ? FileOptions.DeleteOnClose : FileOptions.None;
                file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1, options);
            }
            catch (IOException e) when (IsConflict(e))
            {
                conflict = e;
                return null;
            }
            if (OperatingSystem.IsWindows() || IsStill(path, file)) return new PathLock(path, file);
            file.Dispose();
        }
    }

    /// <summary>Takes the lock and waits for other holders.</summary>
    /// <param name="path">The file of the lock. Its folder must exist.</param>
    /// <param name="patience">The maximum time to wait.</param>
    /// <exception cref="IOException">Another holder kept the lock for a longer time, or the file cannot be created.</exception>
    /// <exception cref="UnauthorizedAccessException">Access to the file is denied.</exception>
    public static PathLock Take(string path, TimeSpan patience)
    {
        long began = Environment.TickCount64;
        while (true)
        {
            var held = Retry.Briefly(() => Try(path, out _));
            if (held is not null) return held;
            if (Environment.TickCount64 - began > patience.TotalMilliseconds)
                throw new IOException($"'{path}' has been locked by another process or thread for {patience.TotalSeconds:0} s");
            Thread.Sleep(Random.Shared.Next(1, 20));
        }
    }

    static bool IsConflict(IOException e) => e is not (FileNotFoundException or DirectoryNotFoundException or PathTooLongException)
        && (OperatingSystem.IsWindows() ? (e.HResult & 0xFFFF) is SharingViolation or LockViolation
            : e.HResult == (OperatingSystem.IsMacOS() ? WouldBlockMac : WouldBlockLinux));

    static bool IsStill(string path, FileStream file)
    {
        File.SetLastWriteTimeUtc(file.SafeFileHandle, new DateTime(2000, 1, 1, 0, 0, 0, DateTimeKind.Utc)
            .AddTicks(Random.Shared.NextInt64(TimeSpan.TicksPerDay * 7000)));
        return File.GetLastWriteTimeUtc(file.SafeFileHandle) == File.GetLastWriteTimeUtc(path);
    }

    /// <summary>Releases the lock.</summary>
    public void Dispose()
    {
        try
        {
            if (!OperatingSystem.IsWindows() && !file.SafeFileHandle.IsClosed) File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // a remaining file is taken by the next holder
        }
        finally
        {
            file.Dispose();
        }
    }
}
