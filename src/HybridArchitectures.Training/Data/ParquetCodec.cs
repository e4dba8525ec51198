using System.Buffers.Binary;
using System.IO.Compression;
using ZstdSharp;
using ZstdSharp.Unsafe;

namespace HybridArchitectures.Training.Data;

/// <summary>
/// Decompresses pages of parquet files. A declared size is allocated only if the compressed bytes can reach it. Otherwise, memory grows with the
/// actual data.
/// </summary>
static class ParquetCodec
{
    const int Uncompressed = 0, Snappy = 1, Gzip = 2, Brotli = 4, FramedLz4 = 5, Zstandard = 6, Lz4 = 7;
    const int FirstBytes = 1 << 16;

    // three bytes represent 64 at most; one byte of a long match represents 255
    const long SnappyExpansion = 22, Lz4Expansion = 256;

    public const string Known = "UNCOMPRESSED, SNAPPY, GZIP, BROTLI, ZSTD, LZ4 or LZ4_RAW";

    public static bool IsKnown(long codec) => codec is Uncompressed or Snappy or Gzip or Brotli or FramedLz4 or Zstandard or Lz4;

    public static string NameOf(long codec) => codec == 3 ? "LZO" : $"{codec}";

    /// <summary>Decompresses a page.</summary>
    /// <param name="codec">A known codec.</param>
    /// <param name="source">The compressed bytes.</param>
    /// <param name="size">The declared size of the result, which the caller has limited.</param>
    /// <param name="maxWindow">The maximum window of Zstandard in bytes.</param>
    /// <exception cref="InvalidDataException">The bytes are damaged, or their size differs from the declared one.</exception>
    public static byte[] Decompress(int codec, ReadOnlyMemory<byte> source, int size, long maxWindow)
    {
        switch (codec)
        {
            case Uncompressed:
                if (source.Length != size) throw new InvalidDataException($"an uncompressed page of {source.Length} bytes; {size} are declared");
                return source.ToArray();
            case Snappy:
                Require(size <= SnappyExpansion * source.Length, source.Length, size);
                return FromSnappy(source.Span, size);
            case Lz4 or FramedLz4:
                Require(size <= Lz4Expansion * source.Length, source.Length, size);
                var target = new byte[size];
                // some writers declare the framed form and write the plain one
                if (codec == Lz4 || !TryFromFramedLz4(source.Span, target)) FromLz4(source.Span, target);
                return target;
        }
        using var compressed = new MemoryStream(source.ToArray(), writable: false);
        using var stream = Open(codec, compressed, maxWindow);
        return ReadAll(stream, source.Length, size);
    }

    static Stream Open(int codec, MemoryStream compressed, long maxWindow)
    {
        if (codec == Gzip) return new GZipStream(compressed, CompressionMode.Decompress);
        if (codec == Brotli) return new BrotliStream(compressed, CompressionMode.Decompress);
        var stream = new DecompressionStream(compressed);
        stream.SetParameter(ZSTD_dParameter.ZSTD_d_windowLogMax, System.Numerics.BitOperations.Log2((ulong)maxWindow));
        return stream;
    }

    static byte[] ReadAll(Stream stream, int compressed, int size)
    {
        var result = new byte[(int)Math.Min(size, 4L * compressed + FirstBytes)];
        int length = 0;
        while (length < size)
        {
            if (length == result.Length) Array.Resize(ref result, (int)Math.Min(size, 2L * result.Length));
            int got = stream.Read(result, length, result.Length - length);
            if (got == 0) throw new InvalidDataException($"a page of {length} bytes uncompressed; {size} are declared");
            length += got;
        }
        if (stream.ReadByte() >= 0) throw new InvalidDataException($"a page of more than the declared {size} bytes");
        return result;
    }

    static void Require(bool possible, int compressed, int size)
    {
        if (!possible) throw new InvalidDataException($"a page of {size} bytes is declared; its {compressed} compressed bytes cannot hold as much");
    }

    // https://github.com/google/snappy/blob/main/format_description.txt
    static byte[] FromSnappy(ReadOnlySpan<byte> source, int size)
    {
        int declared = 0, at = 0;
        for (int shift = 0; ; shift += 7)
        {
            if (shift > 28 || at == source.Length) throw new InvalidDataException("a Snappy page without its size");
            declared |= (source[at] & 0x7f) << shift;
            if (source[at++] < 0x80) break;
        }
        if (declared != size) throw new InvalidDataException($"a Snappy page says that it has {declared} bytes; {size} are declared");
        var target = new byte[size];
        int written = 0;
        while (at < source.Length)
        {
            int tag = source[at++], kind = tag & 3;
            int extra = kind != 0 ? (kind == 3 ? 4 : kind) : Math.Max(0, (tag >> 2) - 59);
            if (extra > source.Length - at) throw new InvalidDataException($"a Snappy page that ends inside the element at {at - 1}");
            int value = LittleEndian(source.Slice(at, extra));
            at += extra;
            int length = kind == 0 ? (extra > 0 ? value : tag >> 2) + 1 : kind == 1 ? (tag >> 2 & 7) + 4 : (tag >> 2) + 1;
            if (length <= 0 || length > size - written) throw new InvalidDataException($"a Snappy page that is longer than its {size} bytes");
            if (kind == 0)
            {
                if (length > source.Length - at) throw new InvalidDataException("a Snappy page that ends inside its text");
                source.Slice(at, length).CopyTo(target.AsSpan(written));
                at += length;
            }
            else CopyMatch(target, written, kind == 1 ? (tag >> 5 << 8) | value : value, length);
            written += length;
        }
        return written == size ? target : throw new InvalidDataException($"a Snappy page of {written} bytes; {size} are declared");
    }

    static int LittleEndian(ReadOnlySpan<byte> bytes)
    {
        int value = 0;
        for (int i = 0; i < bytes.Length; i++) value |= bytes[i] << 8 * i;
        return value;
    }

    static void CopyMatch(Span<byte> target, int written, int distance, int length)
    {
        if (distance <= 0 || distance > written) throw new InvalidDataException($"a match {distance} bytes back, where {written} are written");
        if (distance >= length) target.Slice(written - distance, length).CopyTo(target[written..]);
        else
            for (int i = written; i < written + length; i++) target[i] = target[i - distance];
    }

    // the framing of Hadoop: the size of a block and its compressed size, 32 bits each (big-endian), and then the block
    static bool TryFromFramedLz4(ReadOnlySpan<byte> source, Span<byte> target)
    {
        while (source.Length >= 8)
        {
            uint size = BinaryPrimitives.ReadUInt32BigEndian(source), compressed = BinaryPrimitives.ReadUInt32BigEndian(source[4..]);
            if (size > target.Length || compressed > source.Length - 8) return false;
            FromLz4(source.Slice(8, (int)compressed), target[..(int)size]);
            source = source[(8 + (int)compressed)..];
            target = target[(int)size..];
        }
        return source.IsEmpty && target.IsEmpty;
    }

    // https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
    static void FromLz4(ReadOnlySpan<byte> source, Span<byte> target)
    {
        int size = target.Length;
        int at = 0, written = 0;
        while (at < source.Length)
        {
            int token = source[at++];
            int literals = Lz4Length(source, ref at, token >> 4);
            if (literals > source.Length - at || literals > size - written)
                throw new InvalidDataException($"an LZ4 page that is longer than its {size} bytes");
            source.Slice(at, literals).CopyTo(target[written..]);
            at += literals;
            written += literals;
            if (at == source.Length) break;     // the last sequence has no match
            if (source.Length - at < 2) throw new InvalidDataException("an LZ4 page that ends inside a match");
            int distance = BinaryPrimitives.ReadUInt16LittleEndian(source[at..]);
            at += 2;
            int length = Lz4Length(source, ref at, token & 15);
            if (length > size - written - 4) throw new InvalidDataException($"an LZ4 page that is longer than its {size} bytes");
            CopyMatch(target, written, distance, length + 4);
            written += length + 4;
        }
        if (written != size) throw new InvalidDataException($"an LZ4 page of {written} bytes; {size} are declared");
    }

    static int Lz4Length(ReadOnlySpan<byte> source, ref int at, int length)
    {
        if (length < 15) return length;
        for (int part = 255; part == 255;)
        {
            if (at == source.Length) throw new InvalidDataException("an LZ4 page that ends inside a length");
            length = checked(length + (part = source[at++]));
        }
        return length;
    }
}
