namespace HybridArchitectures.Storage;

/// <summary>Reads whole files up to a maximum size.</summary>
static class BoundedFile
{
    /// <summary>Specifies the maximum size of a tokenizer file: 128 MiB. Published files have up to 40 MB.</summary>
    public const long MaxTokenizerBytes = 128 << 20;

    /// <summary>Specifies the maximum size of a configuration or chat template: 16 MiB.</summary>
    public const long MaxConfigBytes = 16 << 20;

    /// <summary>The maximum size of a design, of the state of a run, of a benchmark or of another text that is read as a whole: 256 MiB.</summary>
    public const long MaxTextBytes = 256 << 20;

    /// <summary>Reads a text in UTF-8, or in the encoding of its byte order mark.</summary>
    /// <inheritdoc cref="Read"/>
    public static string ReadText(string path, long maxBytes)
    {
        using var reader = new StreamReader(new MemoryStream(Read(path, maxBytes)));
        return reader.ReadToEnd();
    }

    /// <summary>Reads a file.</summary>
    /// <param name="path">The path of the file.</param>
    /// <param name="maxBytes">The maximum size of the file in bytes.</param>
    /// <exception cref="FileNotFoundException">The file does not exist.</exception>
    /// <exception cref="InvalidDataException">
    /// The path is not a regular file, or the file is empty or larger than <paramref name="maxBytes"/>.
    /// </exception>
    public static byte[] Read(string path, long maxBytes)
    {
        RegularFile.Require(path);
        long bytes = RegularFile.Describe(path).Bytes;
        // some system files have no length but have content
        if (bytes == 0) throw new InvalidDataException($"{path}: the file is empty; expected 1 to {maxBytes} bytes");
        if (bytes > maxBytes) throw new InvalidDataException($"{path}: the file has {bytes} bytes; expected at most {maxBytes}");
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
        var content = new byte[bytes];
        int length = stream.ReadAtLeast(content, content.Length, throwOnEndOfStream: false);
        return length == content.Length ? content : content[..length];
    }
}
