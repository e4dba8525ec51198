using System.IO.Enumeration;
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Writing so that a reader, a crash or a full disk never meets half a file or half a folder: everything is written beside its place under a temporary name
/// and then moved. What stood there before is deleted only after the new has taken its place, on the disk too.
/// </summary>
public static class AtomicWrite
{
    const int MarkLength = 32;      // of a Guid without dashes
    static readonly TimeSpan Abandoned = TimeSpan.FromHours(1);

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
            System.IO.File.Move(temporary, full, overwrite: true);
            FolderSync.Try(Path.GetDirectoryName(full)!);
            Passing?.Invoke();
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
    /// A folder cannot be exchanged in one step everywhere, so the old one is set aside first. A process that dies between the two moves leaves both under
    /// temporary names, and <see cref="Recover"/>, which runs before every write and load, completes the exchange.
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
        DeleteAbandoned(full);
        var there = files is not null && Directory.Exists(full) ? Directory.EnumerateFileSystemEntries(full).Select(Path.GetFileName) : [];
        if (there.FirstOrDefault(name => !files!.Contains(name)) is { } foreign)
            throw new ArgumentException(
                $"'{folder}' holds '{foreign}', which saving there would take away; "
                + $"expected a new folder, or one with only {string.Join(", ", files!)}", nameof(folder));
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
            if (Directory.Exists(full)) Directory.Move(full, old);
            Passing?.Invoke();
            Directory.Move(fresh, full);
            FolderSync.Try(parent);
            Passing?.Invoke();
        }
        catch
        {
            if (!Directory.Exists(full) && Directory.Exists(old)) Directory.Move(old, full);
            if (Directory.Exists(fresh)) Directory.Delete(fresh, recursive: true);
            throw;
        }
        if (Directory.Exists(old)) Directory.Delete(old, recursive: true);
    }

    /// <summary>Completes an exchange of <paramref name="folder"/> that a dying process left half done; does nothing otherwise.</summary>
    public static void Recover(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        if (Directory.Exists(full)) return;
        // the old one is set aside only when the new one is complete
        foreach (var old in Leftovers(full, "old").OrderByDescending(Directory.GetLastWriteTimeUtc))
        {
            var fresh = old[..^"old".Length] + "new";
            Directory.Move(Directory.Exists(fresh) ? fresh : old, full);
            if (Directory.Exists(old)) Directory.Delete(old, recursive: true);
            return;
        }
    }

    /// <summary>Completes every exchange of a folder inside <paramref name="parent"/> that a dying process left half done.</summary>
    public static void RecoverAll(string parent)
    {
        ArgumentException.ThrowIfNullOrEmpty(parent);
        if (!Directory.Exists(parent)) return;
        foreach (var path in Directory.GetDirectories(parent, ".*.old"))
        {
            var name = Path.GetFileName(path);
            if (name.Length > 1 + MarkLength + 5) Recover(Path.Combine(parent, name[1..^(1 + MarkLength + ".old".Length)]));
        }
    }

    /// <summary>Deletes what dying processes left of the folders inside <paramref name="parent"/>; only for who knows that no other process writes there.</summary>
    internal static void DeleteLeftovers(string parent, string prefix)
    {
        RecoverAll(parent);
        foreach (var path in Directory.GetDirectories(parent, $".{prefix}*"))
            if (Path.GetFileName(path) is { } name && (name.EndsWith(".new", StringComparison.Ordinal) || name.EndsWith(".old", StringComparison.Ordinal)))
                Directory.Delete(path, recursive: true);
    }

    static void DeleteAbandoned(string full)
    {
        foreach (var leftover in Leftovers(full, "new").Concat(Leftovers(full, "old")))
        {
            try
            {
                var newest = Directory.EnumerateFileSystemEntries(leftover).Append(leftover).Max(System.IO.File.GetLastWriteTimeUtc);
                if (DateTime.UtcNow - newest > Abandoned) Directory.Delete(leftover, recursive: true);     // a younger one may be another process at work
            }
            catch (IOException)
            {
                // another process was quicker
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
