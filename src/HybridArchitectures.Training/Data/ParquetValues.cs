using System.Buffers.Binary;

namespace HybridArchitectures.Training.Data;

/// <summary>Reads the strings of one page. Each is valid until the next one is read.</summary>
abstract class ParquetValues
{
    public const int Plain = 0, PlainDictionary = 2, DeltaLength = 6, DeltaStrings = 7, RunsDictionary = 8;

    public abstract ReadOnlyMemory<byte> Next();

    /// <summary>Creates a reader.</summary>
    /// <param name="encoding">The encoding of strings.</param>
    /// <param name="data">The page, starting with its values.</param>
    /// <param name="count">The maximum number of values.</param>
    /// <param name="dictionary">The dictionary of the column. Null if it has none.</param>
    /// <param name="maxBytes">The maximum size of a string.</param>
    public static ParquetValues Create(
        int encoding, ReadOnlyMemory<byte> data, int count, IReadOnlyList<ReadOnlyMemory<byte>>? dictionary, int maxBytes) => encoding switch
    {
        Plain => new PlainStrings(data),
        PlainDictionary or RunsDictionary =>
        new DictionaryStrings(data, dictionary ?? throw new InvalidDataException("values of a dictionary, but no dictionary before them")),
        DeltaLength => new DeltaLengthStrings(data, count),
        DeltaStrings => new DeltaPrefixStrings(data, count, maxBytes),
        _ => throw new InvalidDataException(
        $"strings in encoding {encoding}; expected plain, a dictionary, DELTA_LENGTH_BYTE_ARRAY or DELTA_BYTE_ARRAY"),
    };

    /// <summary>Reads a dictionary. Its strings remain in <paramref name="data"/>.</summary>
    public static List<ReadOnlyMemory<byte>> ReadDictionary(ReadOnlyMemory<byte> data, int count)
    {
        if (count < 0 || 4L * count > data.Length) throw new InvalidDataException($"a dictionary of {count} strings in {data.Length} bytes");
        var strings = new PlainStrings(data);
        var result = new List<ReadOnlyMemory<byte>>(count);
        for (int i = 0; i < count; i++) result.Add(strings.Next());
        return result;
    }

    sealed class PlainStrings(ReadOnlyMemory<byte> data) : ParquetValues
    {
        int at;

        public override ReadOnlyMemory<byte> Next()
        {
            int length = data.Length - at < 4 ? -1 : BinaryPrimitives.ReadInt32LittleEndian(data.Span[at..]);
            if (length < 0 || length > data.Length - at - 4)
                throw new InvalidDataException($"a string of {length} bytes, at {at} of the {data.Length} bytes of a page");
            at += 4 + length;
            return data.Slice(at - length, length);
        }
    }

    sealed class DictionaryStrings : ParquetValues
    {
        readonly RunDecoder indices;
        readonly IReadOnlyList<ReadOnlyMemory<byte>> dictionary;
        int left, index;

        public DictionaryStrings(ReadOnlyMemory<byte> data, IReadOnlyList<ReadOnlyMemory<byte>> dictionary)
        {
            this.dictionary = dictionary;
            // a page whose values are all null may be empty
            indices = new RunDecoder(data.IsEmpty ? data : data[1..], data.IsEmpty ? 0 : data.Span[0]);
        }

        public override ReadOnlyMemory<byte> Next()
        {
            if (left == 0) left = indices.Take(int.MaxValue, out index);
            left--;
            return (uint)index < (uint)dictionary.Count ? dictionary[index]
                : throw new InvalidDataException($"string {index} of a dictionary of {dictionary.Count}");
        }
    }

    sealed class DeltaLengthStrings : ParquetValues
    {
        readonly ReadOnlyMemory<byte> data;
        readonly DeltaDecoder lengths;
        int at;

        public DeltaLengthStrings(ReadOnlyMemory<byte> data, int count)
        {
            this.data = data;
            lengths = new DeltaDecoder(data, count);
            at = lengths.End();
        }

        public override ReadOnlyMemory<byte> Next()
        {
            int length = lengths.Next();
            if (length < 0 || length > data.Length - at)
                throw new InvalidDataException($"a string of {length} bytes, at {at} of the {data.Length} bytes of a page");
            at += length;
            return data.Slice(at - length, length);
        }
    }

    sealed class DeltaPrefixStrings : ParquetValues
    {
        readonly DeltaDecoder prefixes;
        readonly DeltaLengthStrings suffixes;
        readonly int maxBytes;
        byte[] value = new byte[256];
        int length;

        public DeltaPrefixStrings(ReadOnlyMemory<byte> data, int count, int maxBytes)
        {
            prefixes = new DeltaDecoder(data, count);
            suffixes = new DeltaLengthStrings(data[prefixes.End()..], count);
            this.maxBytes = maxBytes;
        }

        public override ReadOnlyMemory<byte> Next()
        {
            int prefix = prefixes.Next();
            if (prefix < 0 || prefix > length)
                throw new InvalidDataException($"a string that shares {prefix} bytes with the one before, which has {length}");
            var suffix = suffixes.Next();
            if (suffix.Length > maxBytes - prefix)
                throw new InvalidDataException($"a string of {(long)prefix + suffix.Length} bytes; expected at most {maxBytes}");
            length = prefix + suffix.Length;
            if (length > value.Length) Array.Resize(ref value, (int)Math.Min(maxBytes, Math.Max(length, 2L * value.Length)));
            suffix.CopyTo(value.AsMemory(prefix));
            return value.AsMemory(0, length);
        }
    }
}
