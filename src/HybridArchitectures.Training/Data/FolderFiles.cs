namespace HybridArchitectures.Training.Data;

/// <summary>
/// Lists the files of a folder and its subfolders. Links are followed. A file or folder that several paths lead to is listed once, under its path
/// without links if there is one, so that no text is in the training texts and in the held-out texts.
/// </summary>
sealed class FolderFiles
{
    const int MaxLinks = 40;        // as Linux follows at most

    static readonly EnumerationOptions Everything = new()
    {
        IgnoreInaccessible = false,
        AttributesToSkip = FileAttributes.Hidden | FileAttributes.System,
    };

    readonly List<(string Path, string Name)> files = [];
    readonly List<OmittedFile> omitted = [];
    readonly HashSet<string> seen = new(OperatingSystem.IsLinux() ? StringComparer.Ordinal : StringComparer.OrdinalIgnoreCase);
    readonly Queue<(string Path, string Name)> links = new();

    public FolderFiles(string folder)
    {
        Visit(folder, "", Resolve(Path.GetFullPath(folder)) ?? throw new DirectoryNotFoundException($"no folder '{folder}'"));
        while (links.TryDequeue(out var link)) Follow(link.Path, link.Name);
        files.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name));
    }

    /// <summary>
    /// Gets the files, in the ordinal order of their names. A name is the path relative to the folder, with <c>/</c> on every system.
    /// </summary>
    public IReadOnlyList<(string Path, string Name)> Files => files;

    /// <summary>Gets the links and the folders that were not followed.</summary>
    public IReadOnlyList<OmittedFile> Omitted => omitted;

    void Visit(string folder, string prefix, string resolved)
    {
        if (!seen.Add(resolved)) return;
        List<FileSystemInfo> entries;
        try
        {
            entries = [.. new DirectoryInfo(folder).EnumerateFileSystemInfos("*", Everything).OrderBy(entry => entry.Name, StringComparer.Ordinal)];
        }
        catch (UnauthorizedAccessException) when (prefix.Length > 0)
        {
            omitted.Add(new(prefix.TrimEnd('/'), "the folder may not be read"));
            return;
        }
        foreach (var entry in entries)
        {
            string name = prefix + entry.Name, target = Path.Combine(resolved, entry.Name);
            if (entry.LinkTarget is not null) links.Enqueue((entry.FullName, name));
            else if (entry is DirectoryInfo) Visit(entry.FullName, name + '/', target);
            else if (seen.Add(target)) files.Add((entry.FullName, name));
            else omitted.Add(new(name, "the file is read under another name"));
        }
    }

    // after the folders without links, so that a path without links comes first
    void Follow(string path, string name)
    {
        if (Resolve(path) is not { } target) omitted.Add(new(name, "the target of the link does not exist"));
        else if (seen.Contains(target)) omitted.Add(new(name, "the target of the link is read under another name"));
        else if (Directory.Exists(target)) Visit(path, name + '/', target);
        else
        {
            seen.Add(target);
            files.Add((path, name));
        }
    }

    // the path without links; null where a link leads nowhere or in a circle
    static string? Resolve(string path, int depth = 0)
    {
        if (depth > MaxLinks) return null;
        if (Path.GetDirectoryName(path) is not { } parent) return path;
        if (Resolve(parent, depth) is not { } folder) return null;
        string own = Path.Combine(folder, Path.GetFileName(path));
        FileSystemInfo entry = Directory.Exists(own) ? new DirectoryInfo(own) : new FileInfo(own);
        if (entry.LinkTarget is { } target) return Resolve(Path.GetFullPath(target, folder), depth + 1);
        return entry.Exists ? own : null;
    }
}
