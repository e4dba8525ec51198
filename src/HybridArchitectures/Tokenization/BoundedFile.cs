namespace HybridArchitectures.Tokenization;

/// <summary>Reads whole files up to a stated size.</summary>
static class BoundedFile
{
    /// <summary>The largest tokenizer file that is read: 128 MiB. Published ones have up to 40 MB.</summary>
    public const long MaxTokenizerBytes = 128 << 20;

    /// <summary>The largest configuration or chat template that is read: 16 MiB.</summary>
    public const long MaxConfigBytes = 16 << 20;

    /// <summary>Reads a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="maxBytes">The largest file that is read.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is empty, no regular file, or larger than <paramref name="maxBytes"/>.</exception>
    public static byte[] Read(string path, long maxBytes)
    {
        var file = new FileInfo(path);
        // the length of a link is that of its path
        if (file.Exists && file.LinkTarget is not null) file = (file.ResolveLinkTarget(returnFinalTarget: true) as FileInfo) ?? file;
        if (!file.Exists) throw new FileNotFoundException($"no file '{path}'", path);
        // pipes and devices have no length; to open a pipe would wait for its writer
        if (file.Length == 0) throw new InvalidDataException($"{path}: the file is empty or no regular file; expected 1 to {maxBytes} bytes");
        if (file.Length > maxBytes) throw new InvalidDataException($"{path}: the file has {file.Length} bytes; expected at most {maxBytes}");
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        var content = new byte[file.Length];
        int length = stream.ReadAtLeast(content, content.Length, throwOnEndOfStream: false);
        return length == content.Length ? content : content[..length];
    }
}
