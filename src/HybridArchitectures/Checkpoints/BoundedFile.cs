namespace HybridArchitectures.Checkpoints;

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
    /// <exception cref="InvalidDataException">The path is no regular file, or the file is empty or larger than <paramref name="maxBytes"/>.</exception>
    public static byte[] Read(string path, long maxBytes)
    {
        RegularFile.Require(path);
        long bytes = RegularFile.Describe(path).Bytes;
        // some files of the system's own have no length and yet content
        if (bytes == 0) throw new InvalidDataException($"{path}: the file is empty; expected 1 to {maxBytes} bytes");
        if (bytes > maxBytes) throw new InvalidDataException($"{path}: the file has {bytes} bytes; expected at most {maxBytes}");
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
        var content = new byte[bytes];
        int length = stream.ReadAtLeast(content, content.Length, throwOnEndOfStream: false);
        return length == content.Length ? content : content[..length];
    }
}
