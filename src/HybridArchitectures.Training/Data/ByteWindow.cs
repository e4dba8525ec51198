namespace HybridArchitectures.Training.Data;

/// <summary>
/// Represents the part of a stream that is being read, with its position in lines and bytes. It grows up to the maximum size of a document.
/// </summary>
sealed class ByteWindow(CompressedSource source, int maxBytes) : IDisposable
{
    const int FirstBytes = 1 << 16;

    byte[] buffer = new byte[Math.Min(FirstBytes, maxBytes)];
    int start, end;

    /// <summary>Gets the bytes that have been read, from the current position on.</summary>
    public ReadOnlySpan<byte> Bytes => buffer.AsSpan(start, end - start);

    /// <summary>Gets the current position in the uncompressed stream.</summary>
    public long Offset { get; private set; }

    /// <summary>Gets the number of the line at the current position, counted from 1.</summary>
    public long Line { get; private set; } = 1;

    /// <summary>Gets whether no bytes follow those of <see cref="Bytes"/>.</summary>
    public bool IsComplete { get; private set; }

    /// <summary>Gets whether <see cref="Bytes"/> has the maximum size of a document.</summary>
    public bool IsFull => end - start == maxBytes;

    /// <summary>Reads more bytes after the present ones.</summary>
    /// <returns>Whether there were more. False at the end, and if the window is full.</returns>
    public bool Read()
    {
        if (IsComplete || IsFull) return false;
        if (end == buffer.Length)
        {
            if (start > 0)
            {
                Bytes.CopyTo(buffer);
                (start, end) = (0, end - start);
            }
            if (end > buffer.Length / 2) Array.Resize(ref buffer, (int)Math.Min(2L * buffer.Length, maxBytes));
        }
        int got = source.Read(buffer.AsSpan(end));
        end += got;
        IsComplete = got == 0;
        return got > 0;
    }

    /// <summary>Advances the position.</summary>
    public void Advance(int count)
    {
        Line += Bytes[..count].Count((byte)'\n');
        start += count;
        Offset += count;
    }

    /// <summary>Skips a byte order mark at the position, if there is one.</summary>
    public void SkipMark()
    {
        while (end - start < 3 && Read()) { }
        if (Bytes.StartsWith("\uFEFF"u8)) Advance(3);
    }

    public void Dispose() => source.Dispose();
}
