using System.IO.Enumeration;
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Writes files and folders so that a reader, a crash or a full disk never meets half of one: everything is written under a temporary name in the
/// same folder
/// and then moved. What stood there before is deleted only after the new has taken its place, on the disk too.
/// On Windows, a file cannot be replaced while another process or a mapping has it open: the write then fails with <see cref="IOException"/> or
/// <see cref="UnauthorizedAccessException"/>, and what stood there stays.
/// </summary>
public static class AtomicWrite
{
    const int MarkLength = 32;      // of a Guid without dashes
    static readonly TimeSpan Abandoned = TimeSpan.FromHours(1), Patience = TimeSpan.FromMinutes(2);

    /// <summary>For tests: called between the steps of a write, each a place where a process may die.</summary>
    internal static Action? Passing;

    /// <summary>Replaces one file.</summary>
    /// <param name="path">The file; its folder exists.</param>
    /// <param name="write">Writes a new file at the path it is given.</param>
    public static void File(string path, Action<string> write)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(write);
        var full = Path.GetFullPath(path);
        if (Directory.Exists(full)) throw new ArgumentException($"'{path}' is a folder; expected a file", nameof(path));
        if (!Directory.Exists(Path.GetDirectoryName(full)))
            throw new DirectoryNotFoundException($"no folder '{Path.GetDirectoryName(full)}' to write '{Path.GetFileName(full)}' in");
        var temporary = Beside(full, NewMark(), "new");
        try
        {
            write(temporary);
            Passing?.Invoke();
            Retry.Briefly(() => System.IO.File.Move(temporary, full, overwrite: true));
            FolderSync.Try(Path.GetDirectoryName(full)!);
            Passing?.Invoke();
            DeleteAbandonedFiles(Path.GetDirectoryName(full)!, $".{Path.GetFileName(full)}.");
        }
        catch
        {
            System.IO.File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Replaces one text file (UTF-8, no byte order mark).</summary>
    public static void Text(string path, string text) => File(path, temporary =>
    {
        using var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write);
        stream.Write(System.Text.Encoding.UTF8.GetBytes(text));
        stream.Flush(flushToDisk: true);
    });

    /// <summary>Replaces one folder; the folders above it are made.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="write">Fills the new, empty folder it is given.</param>
    /// <param name="files">The names of what belongs there; null for anything. Where the old folder holds something else, which would go with it,
    /// the write is refused.</param>
    /// <remarks>
    /// Several threads and processes may replace one folder at the same time; the last exchange wins. The protocol:
    /// <para>
    /// 1. The writer fills <c>.NAME.MARK.new</c> next to the folder. The mark is unique, so writers do not meet.
    /// 2. It takes the lock <c>.NAME.lock</c> (see <see cref="PathLock"/>), which is held for the exchange only.
    /// 3. It moves the old folder to <c>.NAME.MARK.old</c> and the new one to <c>NAME</c>, deletes the old one and releases the lock.
    /// 4. A process that dies between the two moves leaves both under temporary names. Whoever next finds no <c>NAME</c> takes the lock and completes
    ///    the exchange. Nothing is recovered without the lock, so a live exchange is never taken for an abandoned one.
    /// </para>
    /// </remarks>
    public static void Folder(string folder, Action<string> write, IReadOnlyCollection<string>? files = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentNullException.ThrowIfNull(write);
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        if (System.IO.File.Exists(full)) throw new ArgumentException($"'{folder}' is a file; expected a folder", nameof(folder));
        var parent = Path.GetDirectoryName(full) ?? throw new ArgumentException($"'{folder}' cannot be replaced", nameof(folder));
        Directory.CreateDirectory(parent);
        Recover(full);
        RequireOnly(files, full, folder);
        var mark = NewMark();
        string fresh = Beside(full, mark, "new"), old = Beside(full, mark, "old");
        try
        {
            Directory.CreateDirectory(fresh);
            Passing?.Invoke();
            write(fresh);
            // what is in it, folders in it too, before its name says that it is whole
            foreach (string inner in Directory.EnumerateDirectories(fresh, "*", SearchOption.AllDirectories)) FolderSync.Try(inner);
            FolderSync.Try(fresh);
            Passing?.Invoke();
            using var held = Lock(full);
            Complete(full);
            RequireOnly(files, full, folder);
            Exchange(full, fresh, old);
            DeleteAbandoned(full);
        }
        catch
        {
            TryDelete(fresh);
            throw;
        }
    }

    static void RequireOnly(IReadOnlyCollection<string>? files, string full, string folder)
    {
        var there = files is not null && Directory.Exists(full) ? Directory.EnumerateFileSystemEntries(full).Select(Path.GetFileName) : [];
        if (there.FirstOrDefault(name => !files!.Contains(name)) is { } foreign)
            throw new ArgumentException(
                $"'{folder}' holds '{foreign}', which saving there would take away; "
                + $"expected a new folder, or one with only {string.Join(", ", files!)}", nameof(folder));
    }

    // only under the folder's lock
    static void Exchange(string full, string fresh, string old)
    {
        try
        {
            if (Directory.Exists(full)) Move(full, old);
            Passing?.Invoke();
            Move(fresh, full);
        }
        catch
        {
            if (!Directory.Exists(full) && Directory.Exists(old)) Move(old, full);
            throw;
        }
        FolderSync.Try(Path.GetDirectoryName(full)!);
        Passing?.Invoke();
        TryDelete(old);
    }

    /// <summary>Takes the lock under which a folder is exchanged.</summary>
    static PathLock Lock(string full) => PathLock.Take(Path.Combine(Path.GetDirectoryName(full)!, $".{Path.GetFileName(full)}.lock"), Patience);

    /// <summary>Reads a folder while nobody exchanges it, after completing an exchange that a dying process left half done.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="open">Opens the files. It should be short: writers wait for it. What is read later through open files stays what it was.</param>
    /// <remarks>In a place where the reader may not write there is no lock, and <paramref name="open"/> may meet files of two versions.</remarks>
    internal static T Read<T>(string folder, Func<T> open)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        Recover(folder);
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        PathLock? held = null;
        try
        {
            if (Directory.Exists(Path.GetDirectoryName(full))) held = Lock(full);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            // a disk that cannot be written
        }
        using (held) return open();
    }

    /// <summary>Completes an exchange of <paramref name="folder"/> that a dying process left half done; does nothing otherwise.</summary>
    public static void Recover(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        if (Directory.Exists(full) || !Leftovers(full, "old").Any()) return;
        using var held = Lock(full);
        Complete(full);
    }

    // only under the folder's lock: an old one that is seen now is of a dead process, and it was set aside only when its new one was complete
    static void Complete(string full)
    {
        foreach (var old in Leftovers(full, "old").OrderByDescending(Directory.GetLastWriteTimeUtc))
        {
            if (!Directory.Exists(full))
            {
                var fresh = old[..^"old".Length] + "new";
                Move(Directory.Exists(fresh) ? fresh : old, full);
            }
            TryDelete(old);
        }
    }

    /// <summary>Completes every exchange of a folder inside <paramref name="parent"/> that a dying process left half done.</summary>
    public static void RecoverAll(string parent)
    {
        ArgumentException.ThrowIfNullOrEmpty(parent);
        foreach (var path in Hidden(parent, "", ".old"))
        {
            var name = Path.GetFileName(path);
            if (name.Length > 1 + MarkLength + 5) Recover(Path.Combine(parent, name[1..^(1 + MarkLength + ".old".Length)]));
        }
    }

    /// <summary>Deletes what dying processes left of the folders inside <paramref name="parent"/>; only for who knows that no other process writes there.</summary>
    internal static void DeleteLeftovers(string parent, string prefix)
    {
        RecoverAll(parent);
        foreach (var path in Hidden(parent, prefix, ".new").Concat(Hidden(parent, prefix, ".old"))) TryDelete(path);
        foreach (var path in Hidden(parent, prefix, ".lock", folders: false)) PathLock.Try(path, out _)?.Dispose();
    }

    /// <summary>The folders, or files, <c>.PREFIX...SUFFIX</c> inside a folder; none where the folder does not exist.</summary>
    /// <remarks>A pattern such as <c>.*.old</c> is not passed to the system: what it means differs between file systems.</remarks>
    internal static string[] Hidden(string parent, string prefix, string suffix, bool folders = true) => !Directory.Exists(parent) ? [] :
        new FileSystemEnumerable<string>(parent, (ref FileSystemEntry entry) => entry.ToFullPath(), new EnumerationOptions { AttributesToSkip = 0 })
        {
            ShouldIncludePredicate = (ref FileSystemEntry entry) => entry.IsDirectory == folders
                && entry.FileName.Length > 1 + prefix.Length + suffix.Length && entry.FileName[0] == '.'
                && entry.FileName[1..].StartsWith(prefix, StringComparison.Ordinal) && entry.FileName.EndsWith(suffix, StringComparison.Ordinal),
        }.ToArray();

    /// <summary>Moves a folder; on Windows again for a moment while a file in it is open.</summary>
    internal static void Move(string from, string to) => Retry.Briefly(() => Directory.Move(from, to));

    /// <summary>Deletes a folder if it is there. What cannot be deleted now is deleted by a later write.</summary>
    internal static void TryDelete(string folder)
    {
        try
        {
            if (Directory.Exists(folder)) Retry.Briefly(() => Directory.Delete(folder, recursive: true));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // on Windows a reader may have a file open
        }
    }

    static void DeleteAbandoned(string full)
    {
        foreach (var leftover in Leftovers(full, "new"))
        {
            try
            {
                var newest = Directory.EnumerateFileSystemEntries(leftover).Append(leftover).Max(System.IO.File.GetLastWriteTimeUtc);
                if (DateTime.UtcNow - newest > Abandoned) Directory.Delete(leftover, recursive: true);     // a younger one may be another process at work
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // another process was quicker, or has a file open
            }
        }
    }

    /// <summary>
    /// Deletes files <c>.PREFIX...SUFFIX</c> in a folder that were last written more than an hour ago, such as a dead writer leaves.
    /// </summary>
    static void DeleteAbandonedFiles(string parent, string prefix)
    {
        foreach (var path in new FileSystemEnumerable<string>(parent, (ref FileSystemEntry entry) => entry.ToFullPath(),
            new EnumerationOptions { AttributesToSkip = 0 })
        {
            ShouldIncludePredicate = (ref FileSystemEntry entry) => !entry.IsDirectory
                && entry.FileName.Length == prefix.Length + MarkLength + ".new".Length
                && entry.FileName.StartsWith(prefix, StringComparison.Ordinal) && entry.FileName.EndsWith(".new", StringComparison.Ordinal),
        })
        {
            try
            {
                if (DateTime.UtcNow - System.IO.File.GetLastWriteTimeUtc(path) > Abandoned) System.IO.File.Delete(path);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // another process was quicker, or has the file open
            }
        }
    }

    static IEnumerable<string> Leftovers(string full, string kind)
    {
        var parent = Path.GetDirectoryName(full);
        if (parent is null || !Directory.Exists(parent)) return [];
        var prefix = $".{Path.GetFileName(full)}.";
        return new FileSystemEnumerable<string>(parent, (ref FileSystemEntry entry) => entry.ToFullPath(), new EnumerationOptions { AttributesToSkip = 0 })
        {
            ShouldIncludePredicate = (ref FileSystemEntry entry) => entry.IsDirectory && entry.FileName.Length == prefix.Length + MarkLength + 1 + kind.Length
                && entry.FileName.StartsWith(prefix, StringComparison.Ordinal) && entry.FileName.EndsWith($".{kind}", StringComparison.Ordinal),
        }.ToArray();
    }

    static string NewMark() => Guid.NewGuid().ToString("N");

    static string Beside(string full, string mark, string kind) => Path.Combine(Path.GetDirectoryName(full)!, $".{Path.GetFileName(full)}.{mark}.{kind}");
}
