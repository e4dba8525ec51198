namespace HybridArchitectures.Training.Data;

/// <summary>
/// Reads 32-bit integers that are stored as packed differences (https://parquet.apache.org/docs/file-format/data-pages/encodings/,
/// DELTA_BINARY_PACKED).
/// </summary>
sealed class DeltaDecoder
{
    const int MaxBlock = 1 << 20;

    readonly ReadOnlyMemory<byte> data;
    readonly int perMiniature, miniatures, count;
    readonly byte[] widths;
    int at, given, value, minimum, miniature, inMiniature;
    long bit;

    /// <summary>Creates a decoder.</summary>
    /// <param name="data">The integers and the data after them.</param>
    /// <param name="maxCount">The maximum number of integers.</param>
    public DeltaDecoder(ReadOnlyMemory<byte> data, int maxCount)
    {
        this.data = data;
        uint block = ReadVarint(), parts = ReadVarint(), total = ReadVarint();
        if (block is 0 or > MaxBlock || block % 128 != 0 || parts == 0 || block % parts != 0 || block / parts % 32 != 0)
            throw new InvalidDataException(
                $"differences in blocks of {block} in {parts} parts; expected multiples of 128 and of 32 up to {MaxBlock}");
        if (total > maxCount) throw new InvalidDataException($"{total} integers; expected at most {maxCount}");
        (perMiniature, miniatures, count) = ((int)(block / parts), (int)parts, (int)total);
        widths = new byte[miniatures];
        value = ReadSigned();
        (miniature, inMiniature) = (miniatures, perMiniature);
    }

    /// <summary>Gets the number of integers.</summary>
    public int Count => count;

    /// <summary>Returns the end of the integers in the data, without reading them.</summary>
    public int End()
    {
        var decoder = new DeltaDecoder(data, count);
        for (long left = count - 1; left > 0;)
        {
            decoder.ReadBlockHeader();
            for (int i = 0; i < miniatures && left > 0; i++, left -= perMiniature) decoder.SkipMiniature(i);
        }
        return decoder.at;
    }

    /// <summary>Returns the next integer.</summary>
    public int Next()
    {
        if (given == count) throw new InvalidDataException($"{count} integers; expected more");
        if (given++ == 0) return value;
        if (inMiniature == perMiniature)
        {
            if (++miniature >= miniatures) ReadBlockHeader();
            bit = 8L * at;
            SkipMiniature(miniature);
            inMiniature = 0;
        }
        inMiniature++;
        return value = unchecked(value + minimum + Unpack(widths[miniature]));
    }

    void ReadBlockHeader()
    {
        minimum = ReadSigned();
        if (miniatures > data.Length - at) throw Ended();
        data.Span.Slice(at, miniatures).CopyTo(widths);
        at += miniatures;
        miniature = 0;
    }

    void SkipMiniature(int index)
    {
        int width = widths[index];
        if (width > 32) throw new InvalidDataException($"differences of {width} bits; expected 0 to 32");
        int bytes = perMiniature / 8 * width;
        if (bytes > data.Length - at) throw Ended();
        at += bytes;
    }

    int Unpack(int width)
    {
        var bytes = data.Span;
        ulong bits = 0;
        int first = (int)(bit >> 3), last = (int)((bit + width + 7) >> 3);
        for (int i = first; i < last; i++) bits |= (ulong)bytes[i] << 8 * (i - first);
        bits = bits >> (int)(bit & 7) & ((1ul << width) - 1);
        bit += width;
        return unchecked((int)bits);
    }

    uint ReadVarint()
    {
        var bytes = data.Span;
        uint result = 0;
        for (int shift = 0; ; shift += 7)
        {
            if (shift > 28) throw new InvalidDataException("an integer of more than 32 bits");
            if (at >= bytes.Length) throw Ended();
            result |= (uint)(bytes[at] & 0x7f) << shift;
            if (bytes[at++] < 0x80) return result;
        }
    }

    int ReadSigned()
    {
        uint result = ReadVarint();
        return (int)(result >> 1) ^ -(int)(result & 1);
    }

    InvalidDataException Ended() => new($"differences end after {data.Length} bytes; expected more");
}
