namespace HybridArchitectures.Training;

/// <summary>The part of a stream that is being looked at, with its position in lines and bytes. It grows as far as one document may.</summary>
sealed class ByteWindow(CompressedSource source, int maxBytes) : IDisposable
{
    const int FirstBytes = 1 << 16;

    byte[] buffer = new byte[Math.Min(FirstBytes, maxBytes)];
    int start, end;

    /// <summary>The bytes from the current position on that have been read.</summary>
    public ReadOnlySpan<byte> Bytes => buffer.AsSpan(start, end - start);

    /// <summary>The current position in the uncompressed stream.</summary>
    public long Offset { get; private set; }

    /// <summary>The number of the line at the current position, from 1.</summary>
    public long Line { get; private set; } = 1;

    /// <summary>Whether no more bytes follow those of <see cref="Bytes"/>.</summary>
    public bool IsComplete { get; private set; }

    /// <summary>Whether <see cref="Bytes"/> are as many as a document may have.</summary>
    public bool IsFull => end - start == maxBytes;

    /// <summary>Reads more bytes behind those that are there.</summary>
    /// <returns>Whether there were more. False at the end and where the window is full.</returns>
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

    /// <summary>Moves the position on.</summary>
    public void Advance(int count)
    {
        Line += Bytes[..count].Count((byte)'\n');
        start += count;
        Offset += count;
    }

    /// <summary>Moves behind a byte order mark, if one is here.</summary>
    public void SkipMark()
    {
        while (end - start < 3 && Read()) { }
        if (Bytes.StartsWith("\uFEFF"u8)) Advance(3);
    }

    public void Dispose() => source.Dispose();
}
