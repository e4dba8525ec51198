namespace HybridArchitectures.Checkpoints;

/// <summary>
/// A lock between threads and processes: a file that is open without sharing. The operating system frees it when the process ends, however it ends.
/// <para>
/// 1. Open the file without sharing. If another holder has it open, the lock is taken.
/// 2. On Unix, give the open file a random time of last write and read the time back by the path. If it differs, an earlier holder has just deleted
/// the file, and
///    the lock is tried again on the new file.
/// 3. To release, delete the file and then close it. Only the holder deletes.
/// </para>
/// File systems without locks (some network shares) give no protection; the operating system says nothing about it.
/// </summary>
sealed class PathLock : IDisposable
{
    const int SharingViolation = 32, LockViolation = 33, WouldBlockLinux = 11, WouldBlockMac = 35;

    readonly string path;
    readonly FileStream file;

    PathLock(string path, FileStream file) => (this.path, this.file) = (path, file);

    /// <summary>Takes the lock if nobody has it.</summary>
    /// <param name="path">The lock's file; its folder exists.</param>
    /// <param name="conflict">What the operating system said if another holder has the lock; else null.</param>
    /// <returns>The lock, or null if another holder has it.</returns>
    /// <exception cref="IOException">The file cannot be made; not because of another holder.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be made.</exception>
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

    /// <summary>Takes the lock, after waiting for other holders.</summary>
    /// <param name="path">The lock's file; its folder exists.</param>
    /// <param name="patience">How long to wait.</param>
    /// <exception cref="IOException">Another holder kept the lock for longer, or the file cannot be made.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be made.</exception>
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
            // a file that stays is taken by the next holder
        }
        finally
        {
            file.Dispose();
        }
    }
}
