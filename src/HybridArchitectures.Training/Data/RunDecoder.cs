namespace HybridArchitectures.Training.Data;

/// <summary>
/// Reads the hybrid of repeated and packed integers of parquet (https://parquet.apache.org/docs/file-format/data-pages/encodings/, RLE) as runs, so
/// that a long run costs no more than a short one.
/// </summary>
sealed class RunDecoder
{
    readonly ReadOnlyMemory<byte> data;
    readonly int width;
    int at;
    long left, packedBit;
    int repeated;
    bool isPacked;

    /// <summary>Creates a decoder.</summary>
    /// <param name="data">The runs.</param>
    /// <param name="width">The number of bits of an integer.</param>
    public RunDecoder(ReadOnlyMemory<byte> data, int width)
    {
        if (width is < 0 or > 32) throw new InvalidDataException($"integers of {width} bits; expected 0 to 32");
        (this.data, this.width) = (data, width);
    }

    /// <summary>Reads equal integers.</summary>
    /// <param name="max">The maximum number to read, at least 1.</param>
    /// <param name="value">The integer.</param>
    /// <returns>The number of integers read, at least 1.</returns>
    public int Take(int max, out int value)
    {
        while (left == 0) NextRun();
        if (isPacked)
        {
            value = Unpack();
            left--;
            return 1;
        }
        value = repeated;
        int count = (int)Math.Min(left, max);
        left -= count;
        return count;
    }

    void NextRun()
    {
        var bytes = data.Span;
        uint header = 0;
        for (int shift = 0; ; shift += 7)
        {
            if (shift > 28 || at >= bytes.Length) throw new InvalidDataException($"runs of integers end after {at} bytes; expected more");
            header |= (uint)(bytes[at] & 0x7f) << shift;
            if (bytes[at++] < 0x80) break;
        }
        isPacked = (header & 1) != 0;
        left = isPacked ? 8L * (header >> 1) : header >> 1;
        if (isPacked)
        {
            packedBit = 8L * at;
            at = (int)Math.Min(bytes.Length, at + (long)(header >> 1) * width);      // the last run may be truncated
            return;
        }
        int size = (width + 7) / 8;
        if (size > bytes.Length - at) throw new InvalidDataException($"runs of integers end after {at} bytes; expected more");
        repeated = 0;
        for (int i = 0; i < size; i++) repeated |= bytes[at++] << 8 * i;
    }

    int Unpack()
    {
        var bytes = data.Span;
        if (packedBit + width > 8L * at) throw new InvalidDataException($"runs of integers end after {at} bytes; expected more");
        ulong bits = 0;
        int first = (int)(packedBit >> 3), last = (int)((packedBit + width + 7) >> 3);
        for (int i = first; i < last; i++) bits |= (ulong)bytes[i] << 8 * (i - first);
        int value = (int)(bits >> (int)(packedBit & 7) & ((1ul << width) - 1));
        packedBit += width;
        return value;
    }
}
