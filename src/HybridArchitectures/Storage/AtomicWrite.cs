using System.IO.Enumeration;
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Storage;

/// <summary>
/// Writes files and folders atomically: everything is written under a temporary name in the same folder and then moved. A reader, a crash or a full
/// disk never sees a part of a file. The previous version is deleted only after the new one is in place on the disk.
/// </summary>
/// <remarks>
/// On Windows, a file cannot be replaced while another process or a mapping has it open. The write then throws an <see cref="IOException"/> or
/// <see cref="UnauthorizedAccessException"/>, and the previous version is unchanged.
/// </remarks>
public static class AtomicWrite
{
    const int MarkLength = 32;      // the length of a Guid without dashes
    static readonly TimeSpan Abandoned = TimeSpan.FromHours(1), Patience = TimeSpan.FromMinutes(2);

    /// <summary>Replaces one file.</summary>
    /// <param name="path">The file. Its folder must exist.</param>
    /// <param name="write">Writes a new file at the path that it receives.</param>
    public static void File(string path, Action<string> write)
    {
        Require.NotEmpty(path);
        ArgumentNullException.ThrowIfNull(write);
        var full = Path.GetFullPath(path);
        if (Directory.Exists(full)) throw Require.Unfit(nameof(path), $"'{path}' is a folder", "a file");
        if (!Directory.Exists(Path.GetDirectoryName(full)))
            throw new DirectoryNotFoundException($"no folder '{Path.GetDirectoryName(full)}' for '{Path.GetFileName(full)}'");
        var temporary = NextTo(full, NewMark(), "new");
        try
        {
            write(temporary);
            StorageEvents.Log.Step(full, "temporary file written");
            Retry.Briefly(() => System.IO.File.Move(temporary, full, overwrite: true));
            FolderSync.Try(Path.GetDirectoryName(full)!);
            StorageEvents.Log.Step(full, "file replaced");
            DeleteAbandonedFiles(Path.GetDirectoryName(full)!, $".{Path.GetFileName(full)}.");
        }
        catch (Exception e) when ((e is IOException or UnauthorizedAccessException) && e.Message.Contains(temporary, StringComparison.Ordinal))
        {
            System.IO.File.Delete(temporary);
            string message = e.Message.Replace(temporary, full, StringComparison.Ordinal);      // a user knows no temporary file
            throw e is IOException ? new IOException(message, e) { HResult = e.HResult } : new UnauthorizedAccessException(message, e);
        }
        catch
        {
            System.IO.File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Replaces one text file (UTF-8 without a byte order mark).</summary>
    public static void Text(string path, string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        File(path, temporary =>
        {
            using var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write);
            stream.Write(System.Text.Encoding.UTF8.GetBytes(text));
            stream.Flush(flushToDisk: true);
        });
    }

    /// <summary>Replaces one folder. Parent folders are created.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="write">Fills the new, empty folder that it receives.</param>
    /// <param name="files">
    /// The names of files that belong in the folder. The default, null, allows any. If the existing folder contains other files, which would be lost,
    /// the write is refused.
    /// </param>
    /// <remarks>
    /// Several threads and processes can replace one folder at the same time. The last exchange wins. The protocol:
    /// <para>
    /// 1. The writer fills <c>.NAME.MARK.new</c> next to the folder. The mark is unique, so writers do not collide. 2. It takes the lock
    /// <c>.NAME.lock</c> (see <see cref="PathLock"/>), which is held only for the exchange. 3. It moves the old folder to <c>.NAME.MARK.old</c> and
    /// the new one to <c>NAME</c>, deletes the old one, and releases the lock. 4. A process that dies between the two moves leaves both under
    /// temporary names. The next process that finds no <c>NAME</c> takes the lock and completes the exchange. Nothing is recovered without the lock,
    /// so an exchange in progress is never mistaken for an abandoned one.
    /// </para>
    /// </remarks>
    public static void Folder(string folder, Action<string> write, IReadOnlyCollection<string>? files = null)
    {
        Require.NotEmpty(folder);
        ArgumentNullException.ThrowIfNull(write);
        if (files is not null) Require.Items(files);
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        if (System.IO.File.Exists(full)) throw Require.Unfit(nameof(folder), $"'{folder}' is a file", "a folder");
        var parent = Path.GetDirectoryName(full)
            ?? throw Require.Unfit(nameof(folder), $"folder is '{folder}', which cannot be replaced", "a folder below another one");
        Directory.CreateDirectory(parent);
        Recover(full);
        RequireOnly(files, full, folder);
        var mark = NewMark();
        string fresh = NextTo(full, mark, "new"), old = NextTo(full, mark, "old");
        try
        {
            Directory.CreateDirectory(fresh);
            StorageEvents.Log.Step(full, "temporary folder created");
            write(fresh);
            // flush the contents, including folders, before the name says that the folder is complete
            foreach (string inner in Directory.EnumerateDirectories(fresh, "*", SearchOption.AllDirectories)) FolderSync.Try(inner);
            FolderSync.Try(fresh);
            StorageEvents.Log.Step(full, "temporary folder filled");
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
            throw Require.Unfit(nameof(folder), $"folder is '{folder}', which contains '{foreign}'",
                $"a new folder, or one with only {string.Join(", ", files!)}, because its content would be deleted");
    }

    // requires the lock of the folder
    static void Exchange(string full, string fresh, string old)
    {
        try
        {
            if (Directory.Exists(full)) Move(full, old);
            StorageEvents.Log.Step(full, "old folder moved away");
            Move(fresh, full);
        }
        catch
        {
            if (!Directory.Exists(full) && Directory.Exists(old)) Move(old, full);
            throw;
        }
        FolderSync.Try(Path.GetDirectoryName(full)!);
        StorageEvents.Log.Step(full, "folder replaced");
        TryDelete(old);
    }

    /// <summary>Takes the lock under which a folder is exchanged.</summary>
    static PathLock Lock(string full) => PathLock.Take(Path.Combine(Path.GetDirectoryName(full)!, $".{Path.GetFileName(full)}.lock"), Patience);

    /// <summary>Reads a folder while no other process exchanges it. An exchange that a dying process left unfinished is completed first.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="open">Opens the files. It should be short, because writers wait for it. Files that are open keep their contents.</param>
    /// <remarks>If the reader has no write permission, there is no lock, and <paramref name="open"/> may see files of two versions.</remarks>
    internal static T Read<T>(string folder, Func<T> open)
    {
        Require.NotEmpty(folder);
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        PathLock? held = null;
        try
        {
            if (Directory.Exists(Path.GetDirectoryName(full))) held = Lock(full);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            // the disk is read-only
        }
        using (held)
        {
            // only under the lock: the process that held it before may have died between the two moves
            if (held is not null && !Directory.Exists(full)) Complete(full);
            return open();
        }
    }

    /// <summary>Completes an exchange of <paramref name="folder"/> that a dying process left unfinished, if any.</summary>
    public static void Recover(string folder) => Exists(folder);

    /// <summary>Returns whether a folder exists, also while another process exchanges it. An unfinished exchange is completed first.</summary>
    internal static bool Exists(string folder)
    {
        Require.NotEmpty(folder);
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        if (Directory.Exists(full)) return true;
        // without leftovers, a running process may have completed its exchange since the line above
        if (!Leftovers(full, "old").Any()) return Directory.Exists(full);
        using var held = Lock(full);
        Complete(full);
        return Directory.Exists(full);
    }

    // requires the lock of the folder: an old folder that is visible now belongs to a dead process, and its new folder is complete
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

    /// <summary>Completes every exchange of a folder inside <paramref name="parent"/> that a dying process left unfinished.</summary>
    public static void RecoverAll(string parent)
    {
        Require.NotEmpty(parent);
        foreach (var path in Hidden(parent, "", ".old"))
        {
            var name = Path.GetFileName(path);
            if (name.Length > 1 + MarkLength + 5) Recover(Path.Combine(parent, name[1..^(1 + MarkLength + ".old".Length)]));
        }
    }

    /// <summary>
    /// Deletes temporary folders of dead processes inside <paramref name="parent"/>. The caller must know that no other process writes there.
    /// </summary>
    internal static void DeleteLeftovers(string parent, string prefix)
    {
        RecoverAll(parent);
        foreach (var path in Hidden(parent, prefix, ".new").Concat(Hidden(parent, prefix, ".old"))) TryDelete(path);
        foreach (var path in Hidden(parent, prefix, ".lock", folders: false)) PathLock.Try(path, out _)?.Dispose();
    }

    /// <summary>Returns the folders, or files, <c>.PREFIX...SUFFIX</c> inside a folder. Returns none if the folder does not exist.</summary>
    /// <remarks>The operating system does not get a pattern such as <c>.*.old</c>, because its meaning differs between file systems.</remarks>
    internal static string[] Hidden(string parent, string prefix, string suffix, bool folders = true) => !Directory.Exists(parent) ? [] :
        new FileSystemEnumerable<string>(parent, (ref FileSystemEntry entry) => entry.ToFullPath(), new EnumerationOptions { AttributesToSkip = 0 })
        {
            ShouldIncludePredicate = (ref FileSystemEntry entry) => entry.IsDirectory == folders
                && entry.FileName.Length > 1 + prefix.Length + suffix.Length && entry.FileName[0] == '.'
                && entry.FileName[1..].StartsWith(prefix, StringComparison.Ordinal) && entry.FileName.EndsWith(suffix, StringComparison.Ordinal),
        }.ToArray();

    /// <summary>Moves a folder. On Windows, the move is tried again for a moment while a file in it is open.</summary>
    internal static void Move(string from, string to) => Retry.Briefly(() => Directory.Move(from, to));

    /// <summary>Deletes a folder if it exists. If that is not possible now, a later write deletes it.</summary>
    internal static void TryDelete(string folder)
    {
        try
        {
            if (Directory.Exists(folder)) Retry.Briefly(() => Directory.Delete(folder, recursive: true));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // on Windows, a reader may have a file open
        }
    }

    static void DeleteAbandoned(string full)
    {
        foreach (var leftover in Leftovers(full, "new"))
        {
            try
            {
                var newest = Directory.EnumerateFileSystemEntries(leftover).Append(leftover).Max(System.IO.File.GetLastWriteTimeUtc);
                // a younger one may belong to a running process
                if (DateTime.UtcNow - newest > Abandoned) Directory.Delete(leftover, recursive: true);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // another process was faster, or has a file open
            }
        }
    }

    /// <summary>Deletes files <c>.PREFIX...SUFFIX</c> in a folder that were last written more than one hour ago by a process that died.</summary>
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
                // another process was faster, or has the file open
            }
        }
    }

    static IEnumerable<string> Leftovers(string full, string kind)
    {
        var parent = Path.GetDirectoryName(full);
        if (parent is null || !Directory.Exists(parent)) return [];
        var prefix = $".{Path.GetFileName(full)}.";
        return new FileSystemEnumerable<string>(
            parent, (ref FileSystemEntry entry) => entry.ToFullPath(), new EnumerationOptions { AttributesToSkip = 0 })
        {
            ShouldIncludePredicate = (ref FileSystemEntry entry) =>
                entry.IsDirectory && entry.FileName.Length == prefix.Length + MarkLength + 1 + kind.Length
                && entry.FileName.StartsWith(prefix, StringComparison.Ordinal) && entry.FileName.EndsWith($".{kind}", StringComparison.Ordinal),
        }.ToArray();
    }

    static string NewMark() => Guid.NewGuid().ToString("N");

    static string NextTo(string full, string mark, string kind) =>
        Path.Combine(Path.GetDirectoryName(full)!, $".{Path.GetFileName(full)}.{mark}.{kind}");
}
